"""Prices of homes: Ames (10-fold) and King County (10-fold by property, and out of time), with intervals.

The peers are what one would otherwise fit, on the logarithm of the price in the same run and on the same rows: a ridge
on scaled and one-hot columns, scikit-learn's HistGradientBoosting and LightGBM, both as they come. Ours has two sets of
parameters, for many sales and for few, and takes the one for the number that it is given; nothing is chosen on what is
judged. Out of time, everybody learns from the first 85 % of the sales and is judged by the last 15 %; ours has
calibrated its intervals on the 15 % before those. The peers' intervals are split conformal ones: the residuals of a
random fifth of what they learn from.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMRegressor
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks._training_data import ames, king_county, plain  # noqa: E402
from models.training import Columns  # noqa: E402
from models.valuation import Market  # noqa: E402
from tasks.train.splits import splits_for  # noqa: E402
from tasks.valuation.backtest import COVERAGES, backtest, windows_of  # noqa: E402
from tasks.valuation.market import frame_of  # noqa: E402
from tasks.valuation.model import ValuationModel  # noqa: E402
from tasks.valuation.ratio_study import cod, mki, prb, prd  # noqa: E402

OURS = "lama value"
SEED = 20_261_128
QUICK = {"rounds": 250, "learning_rate": 0.1}
Rows = np.ndarray[Any, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="within 45 seconds: fewer sales, folds and trees")
    parser.add_argument("--data", choices=("ames", "king-county"), action="append", help="only these sales")
    asked = parser.parse_args()
    warnings.filterwarnings("ignore", message="X does not have valid feature names")
    chosen = asked.data or ["ames", "king-county"]
    results: dict[str, Any] = {}
    with threadpool_limits(1):  # one core for everybody
        if "ames" in chosen:
            results["ames, 10-fold"] = folds(*ames(), drop=("price", "PID"), quick=asked.quick)
        if "king-county" in chosen:
            table, market = king_county()
            results["king county, 10-fold by property"] = folds(table, market, drop=("price", "id"), quick=asked.quick)
            results["king county, out of time"] = out_of_time(table, market, quick=asked.quick)
    show(results, quick=asked.quick)


def folds(table: pd.DataFrame, market: Market, *, drop: tuple[str, ...], quick: bool) -> dict[str, Any]:
    """Everybody on the same folds, grouped by property."""
    frame = frame_of(table, market)
    features = frame.drop(columns="price")
    price = frame["price"].to_numpy(np.float64)
    splits = splits_for(frame, Columns(target="price", group="property"), 10, SEED)
    if quick:
        splits = splits[:1]
    peers = plain(table, market, drop)
    ways: dict[str, Any] = {}
    for name, values, seconds in each(features, peers, price, [(s.train, s.test) for s in splits], quick=quick):
        rows = np.concatenate([split.test for split in splits])
        ways[name] = measures(values[rows], price[rows]) | {"seconds": round(seconds, 1)}
        print(f"{market.name:12} {name:24} log RMSE {ways[name]['log_rmse']:.4f}  {seconds:.0f} s", flush=True)
    return {"rows": len(frame), "folds": len(splits), "ways": ways}


def each(
    features: pd.DataFrame, peers: pd.DataFrame, price: Rows, splits: Sequence[tuple[Rows, Rows]], *, quick: bool
) -> Any:
    """Name, values of all rows that were judged, and seconds, of each way."""
    for name, make in PEERS.items():
        began = time.perf_counter()
        values = np.full(len(price), np.nan)
        for train, test in splits:
            values[test] = np.exp(make().fit(peers.iloc[train], np.log(price[train])).predict(peers.iloc[test]))
        yield name, values, time.perf_counter() - began
    began = time.perf_counter()
    values = np.full(len(price), np.nan)
    for train, test in splits:
        model = ValuationModel(SEED, **(QUICK if quick else {})).fit(features.iloc[train], price[train])
        values[test] = model.predict(features.iloc[test])
    yield OURS, values, time.perf_counter() - began


def out_of_time(table: pd.DataFrame, market: Market, *, quick: bool) -> dict[str, Any]:
    """The past predicts the future: 70 % to learn, 15 % to choose and calibrate, 15 % to judge."""
    frame = frame_of(table, market)
    if quick:
        frame = frame.sample(6000, random_state=SEED).reset_index()
        table, frame = table.iloc[frame["index"]].reset_index(drop=True), frame.drop(columns="index")
    price = frame["price"].to_numpy(np.float64)
    windows = windows_of(frame)
    peers = plain(table, market, ("price", "id"))
    ways: dict[str, Any] = {}
    both = np.concatenate([windows.train, windows.validation])
    test = windows.test
    for name, make in PEERS.items():
        began = time.perf_counter()
        model = make().fit(peers.iloc[both], np.log(price[both]))
        values = np.exp(model.predict(peers.iloc[test]))
        seconds = time.perf_counter() - began
        ways[name] = measures(values, price[test]) | {"seconds": round(seconds, 1)}
        early = make().fit(peers.iloc[windows.train], np.log(price[windows.train])).predict(peers.iloc[test])
        ways[f"{name}, first 70 % only"] = measures(np.exp(early), price[test])
        ways[name] |= split_conformal(make, peers, price, both, test)
    began = time.perf_counter()
    candidates: Sequence[Mapping[str, Any]] = (QUICK if quick else {},)
    judged = backtest(frame, seed=SEED, candidates=candidates, windows=windows)
    seconds = time.perf_counter() - began
    ways[OURS] = measures(judged.values, judged.prices) | {"seconds": round(seconds, 1)}
    for cover in judged.study.coverage:
        level = f"{round(100 * cover.nominal)}"
        ways[OURS][f"coverage_{level}"] = round(cover.rolling, 4)
        ways[OURS][f"coverage_{level}_frozen"] = round(cover.found, 4)
        ways[OURS][f"width_{level}"] = round(cover.median_width, 4)
    ways[f"{OURS}, level kept up to date"] = measures(judged.rolling, judged.prices)
    return {"rows": len(frame), "judged": len(test), "split": windows.split, "ways": ways}


def split_conformal(
    make: Callable[[], Any], frame: pd.DataFrame, price: Rows, rows: Rows, test: Rows
) -> dict[str, float]:
    """Coverage and median width of the usual intervals: residuals of a random fifth."""
    held = np.random.default_rng(SEED).random(len(rows)) < 0.2
    model = make().fit(frame.iloc[rows[~held]], np.log(price[rows[~held]]))
    scores = np.abs(np.log(price[rows[held]]) - model.predict(frame.iloc[rows[held]]))
    off = np.abs(np.log(price[test]) - model.predict(frame.iloc[test]))
    told = {}
    for nominal in COVERAGES:
        reach = float(np.quantile(scores, min(1.0, nominal * (1 + 1 / len(scores)))))
        told[f"coverage_{round(100 * nominal)}"] = round(float(np.mean(off <= reach)), 4)
        told[f"width_{round(100 * nominal)}"] = round(float(2 * np.sinh(reach)), 4)
    return told


def measures(values: Rows, prices: Rows) -> dict[str, float]:
    return {
        "log_rmse": round(float(np.sqrt(np.mean(np.log(values / prices) ** 2))), 4),
        "mae": round(float(np.mean(np.abs(values - prices))), 0),
        "mdape": round(float(np.median(np.abs(values / prices - 1))), 4),
        "median_ratio": round(float(np.median(values / prices)), 4),
        "cod": round(cod(values, prices), 2),
        "prd": round(prd(values, prices), 3),
        "prb": round(prb(values, prices), 3),
        "mki": round(mki(values, prices), 3),
    }


def ridge() -> Any:

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", min_frequency=5)
    return make_pipeline(
        make_column_transformer(
            (numbers, make_column_selector(dtype_include="number")),
            (words, make_column_selector(dtype_exclude="number")),
        ),
        RidgeCV(np.logspace(-1, 3, 9)),
    )


def histogram() -> Any:

    return HistGradientBoostingRegressor(random_state=SEED, categorical_features="from_dtype")


def lightgbm() -> Any:

    return LGBMRegressor(random_state=SEED, verbose=-1, n_jobs=1)


PEERS: Mapping[str, Callable[[], Any]] = {"ridge": ridge, "HistGradientBoosting": histogram, "LightGBM": lightgbm}


def show(results: Mapping[str, Any], *, quick: bool) -> None:
    columns = ("log_rmse", "mae", "mdape", "median_ratio", "cod", "prd", "prb", "mki", "seconds")
    for case, result in results.items():
        print(f"\n{case}: {result['rows']:,} sales")
        print(f"  {'':40}" + "".join(f"{name.replace('_', ' '):>14}" for name in columns))
        for name, way in result["ways"].items():
            print(f"  {name:40}" + "".join(f"{way.get(column, ''):>14}" for column in columns))
        for name, way in result["ways"].items():
            if "coverage_80" in way:
                held = ", ".join(f"{level} %: {way[f'coverage_{level}']:.1%} (width {way[f'width_{level}']:.0%})"
                                 for level in (68, 80, 90))  # fmt: skip
                print(f"  intervals of {name:27} {held}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory {peak:.0f} MiB\n")
    first = next(iter(results.values()))["ways"]
    print(json.dumps({
        "benchmark": "training",
        "unit": "RMSE of log price",
        "ours": first[OURS]["log_rmse"],
        "peers": {name: first[name]["log_rmse"] for name in PEERS},
        "ratio": {name: round(first[name]["log_rmse"] / first[OURS]["log_rmse"], 3) for name in PEERS},
        "detail": {
            "cases": results, "quick": quick, "peak_mib": round(peak), "cores": os.cpu_count(),
            "load_average": [round(one, 1) for one in os.getloadavg()],
        },
    }))  # fmt: skip


if __name__ == "__main__":
    main()
