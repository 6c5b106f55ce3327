"""Every class that a stored model may be made of. What is not named here is never imported, let alone built.

The list is explicit: scikit-learn's and LightGBM's own classes that were looked at, and ours. A capability that brings
estimators of its own names them here, class by class.
"""

from __future__ import annotations

_GRADIENT_BOOSTING = "sklearn.ensemble._hist_gradient_boosting"

OURS = frozenset(
    {
        "tasks.train.calibration.Calibrator",
        "tasks.train.clusters.Centres",
        "tasks.train.encoding.TableEncoder",
        "tasks.train.estimators.Blend",
        "tasks.train.estimators.HistGradientBoosting",
        "tasks.train.estimators.LightGBM",
        "tasks.train.estimators.LinearModel",
        "tasks.train.intervals.ConformalIntervals",
        "tasks.train.model.TrainedModel",
        "tasks.valuation.features.PropertyFeatures",
        "tasks.valuation.intervals.TimeAwareIntervals",
        "tasks.valuation.land.LandValues",
        "tasks.valuation.market_model.Ledger",
        "tasks.valuation.market_model.MarketModel",
        "tasks.valuation.model.ValuationModel",
        "tasks.valuation.neighbours.Neighbourhood",
        "tasks.valuation.price_index.PriceIndex",
        "tasks.valuation.ranges.Ranges",
        "tasks.valuation.trees.Trees",
    }
)

LIBRARIES = frozenset(
    {
        f"{_GRADIENT_BOOSTING}.binning._BinMapper",
        f"{_GRADIENT_BOOSTING}.gradient_boosting.HistGradientBoostingClassifier",
        f"{_GRADIENT_BOOSTING}.gradient_boosting.HistGradientBoostingRegressor",
        f"{_GRADIENT_BOOSTING}.predictor.TreePredictor",
        "sklearn._loss._loss.CyHalfBinomialLoss",
        "sklearn._loss._loss.CyHalfMultinomialLoss",
        "sklearn._loss._loss.CyHalfSquaredError",
        "sklearn._loss.link.IdentityLink",
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.link.MultinomialLogit",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn._loss.loss.HalfMultinomialLoss",
        "sklearn._loss.loss.HalfSquaredError",
        "sklearn.preprocessing._label.LabelEncoder",
    }
)

_NUMBERS = ("bool", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")

PLAIN = frozenset(
    {
        *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple", "NoneType")),
        *(f"numpy.{name}" for name in (*_NUMBERS, "ndarray")),
        "numpy.random._generator.Generator",
        "numpy.random._pcg64.PCG64",
    }
)

TRUSTED = OURS | LIBRARIES | PLAIN

LOADERS = frozenset(
    {
        "CachedNode", "DictNode", "JsonNode", "ListNode", "LossNode", "NdArrayNode", "ObjectNode",
        "RandomGeneratorNode", "TupleNode", "TypeNode",
    }
)  # fmt: skip
"""The parts of skops that may read a model: none that calls functions, methods, operators or constructors by name."""
