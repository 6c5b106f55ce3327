"""The whole reference of a version: its columns' profile, and how it did on rows that it had not seen. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.drift import Profile, Sketch
from tasks.drift.estimate import loss_model, outlook
from tasks.drift.performance import loss_reference
from tasks.drift.profile import column_profile, profile
from tasks.drift.sketch import sketch

if TYPE_CHECKING:
    import pandas as pd


def reference(
    frame: pd.DataFrame,
    held_out: pd.DataFrame | None = None,
    truth: pd.Series | npt.NDArray[np.generic] | None = None,
    *,
    leave_out: Collection[str] = (),
) -> Profile:
    """What is kept with a version at training.

    Args:
        frame: the features of the rows that it learned from.
        held_out: what it said of rows that it had not seen, as `Predictor.predict_frame` does: `prediction`; `low` and
            `high` of numbers, `probability_CLASS` of classes.
        truth: what came true of those rows, one each.
        leave_out: columns of `frame` that are not compared, such as the time.
    """
    kept = profile(frame, leave_out=leave_out)
    if held_out is None or truth is None or not len(held_out):
        return kept
    import pandas as pd  # noqa: PLC0415

    wanted = pd.Series(np.asarray(truth), index=held_out.index)
    kept = kept.model_copy(update={"prediction": column_profile(held_out["prediction"])})
    confidence = confidences(held_out)
    if confidence is not None:
        wrong = (held_out["prediction"].astype(str) != wanted.astype(str)).to_numpy(dtype=float)
        return kept.model_copy(update={"performance": loss_reference(wrong, "error_rate", confidences=confidence)})
    said = held_out["prediction"].to_numpy(dtype=float)
    errors = np.abs(said - wanted.to_numpy(dtype=float, na_value=np.nan))
    usable = np.isfinite(errors)
    if not usable.any():
        return kept
    widths = half_widths(held_out)
    return kept.model_copy(
        update={
            "performance": loss_reference(errors[usable], "absolute_error"),
            "expected_loss": loss_model(said[usable], None if widths is None else widths[usable], errors[usable]),
        }
    )


def held_out_frame(
    said: npt.NDArray[np.float64],
    ends: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None,
    classes: Sequence[object] = (),
) -> pd.DataFrame:
    """What was said of n held-out rows, as `Predictor.predict_frame` gives it.

    Args:
        said: numbers, shape (n,), or the probabilities of `classes`, shape (n, classes).
        ends: of the intervals of numbers.
        classes: in the order of probabilities.
    """
    import pandas as pd  # noqa: PLC0415

    if classes:
        names = np.array([str(one) for one in classes], dtype=object)
        shares = {f"probability_{name}": said[:, place] for place, name in enumerate(names)}
        return pd.DataFrame({"prediction": names[said.argmax(axis=1)], **shares})
    bounds = {} if ends is None else {"low": ends[0], "high": ends[1]}
    return pd.DataFrame({"prediction": said, **bounds})


def window_sketch(frame: pd.DataFrame, said: pd.DataFrame | None, known: Profile) -> Sketch:
    """The sketch of rows and of what was said of them, as `Predictor.predict_frame` does; None: nothing was."""
    if said is None:
        return sketch(frame, known)
    counted = sketch(frame, known, predictions=said["prediction"])
    confidence = confidences(said)
    if confidence is not None:
        return counted.model_copy(update={"outlook": outlook(confidences=confidence)})
    if known.expected_loss is None:
        return counted
    seen = outlook(
        model=known.expected_loss, predicted=said["prediction"].to_numpy(dtype=float), half_widths=half_widths(said)
    )
    return counted.model_copy(update={"outlook": seen})


def confidences(said: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    """The probability of the class that was chosen, row by row; None where there are no probabilities."""
    names = [name for name in said.columns if str(name).startswith("probability_")]
    return said[names].to_numpy(dtype=float).max(axis=1) if names else None


def half_widths(said: pd.DataFrame) -> npt.NDArray[np.float64] | None:
    """Half of the width of each interval; None where there are none."""
    if not {"low", "high"} <= set(said.columns):
        return None
    return np.asarray((said["high"].to_numpy(dtype=float) - said["low"].to_numpy(dtype=float)) / 2)
