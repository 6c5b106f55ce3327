"""One value of one row, as the model reads it. Plain Python: a row from the outside must not cost a frame."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime

_EPOCH = date(1970, 1, 1).toordinal()
_TRUE, _FALSE = {"true", "yes", "t", "y"}, {"false", "no", "f", "n"}


def number_of(value: object) -> float:
    """The number that `value` is; NaN when it is none, is not finite, or there is none."""
    if isinstance(value, int | float):  # booleans are 1 and 0
        number = float(value) if abs(value) < 1e300 else math.nan
        return number if math.isfinite(number) else math.nan
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE or word in _FALSE:
            return float(word in _TRUE)
        try:
            number = float(word)
        except ValueError:
            return math.nan
        return number if math.isfinite(number) else math.nan
    try:
        number = float(value)  # type: ignore[arg-type]  # numpy's scalars, decimals
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def word_of(value: object) -> str | None:
    """The category that `value` is; None where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "True" if value else "False"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return text if text and text not in {"nan", "NaT", "<NA>", "None"} else None


def day_of(value: object) -> float:
    """Days since 1970 (with their fraction) of a date, a moment, or the ISO 8601 text of one; NaN for none.

    A moment of another zone counts at UTC; one without a zone as it is.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            return math.nan
    if isinstance(value, datetime):
        if value != value:  # noqa: PLR0124 - pandas' NaT, which is a datetime
            return math.nan
        if value.tzinfo is not None:
            value = value.astimezone(UTC)
        whole = value.toordinal() - _EPOCH
        return whole + (value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6) / 86_400
    if isinstance(value, date):
        return float(value.toordinal() - _EPOCH)
    return math.nan
