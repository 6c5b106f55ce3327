"""What the sales around a property say about its location.

Only sales that were fit are neighbours, and no sale of the property itself: what a model sees of its own rows is then
what it will see of others, and no price leaks into its own features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_NEAREST = 60
_REACHES = (0.15, 0.4, 1.0)  # kilometres
_COUNTS = (5, 15, 40)
_TINY = 1e-9
_BATCH = 20_000

NAMES = (
    *(f"location value within {reach:g} km" for reach in _REACHES),
    *(f"sales within {reach:g} km" for reach in _REACHES),
    *(f"location value of {count} neighbours" for count in _COUNTS),
    "spread of neighbours",
    "price per area of neighbours",
    "price of alike neighbours",
    "location value of alike neighbours",
    "alike neighbours",
)


class Neighbourhood:
    """Statistics of the nearest sales. Of arrays, so that it can be stored; its tree is built when it is needed."""

    def fit(self, place: Matrix, own: Vector, line: Matrix, log_price: Vector, log_area: Vector) -> Neighbourhood:
        """Keep the sales.

        Args:
            place: east and north in kilometres, shape (n, 2).
            own: a number for each property, shape (n,); below 0: unknown.
            line: scaled features without location, shape (n, p), for likeness and a first line.
            log_price: adjusted for time, shape (n,).
            log_area: shape (n,).
        """
        moments = line.T @ line + 1.0 * np.eye(line.shape[1])
        self.centre = float(log_price.mean())
        self.slopes = np.linalg.solve(moments, line.T @ (log_price - self.centre))
        self.place, self.own = place, own
        self.features = line
        self.log_price = log_price
        self.residual = log_price - self.centre - line @ self.slopes
        self.per_area = log_price - log_area
        return self

    def statistics(self, place: Matrix, own: Vector, line: Matrix) -> Matrix:
        """Of each property, shape (n, len(NAMES))."""
        parts = [
            self._batch(place[at : at + _BATCH], own[at : at + _BATCH], line[at : at + _BATCH])
            for at in range(0, len(place), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, len(NAMES)))

    def nearest_km(self, place: Matrix) -> Vector:
        """How far the nearest sale is, in kilometres."""
        found: Vector = self._tree().query(place, k=1)[0]
        return found

    def _batch(self, place: Matrix, own: Vector, line: Matrix) -> Matrix:
        distance, rows = self._tree().query(place, k=min(_NEAREST, len(self.place)))
        distance, rows = distance.reshape(len(place), -1), rows.reshape(len(place), -1)
        others = np.where((self.own[rows] == own[:, None]) & (own[:, None] >= 0), 0.0, 1.0)
        residual = self.residual[rows]
        columns: list[Vector] = []
        masses: list[Vector] = []
        for reach in _REACHES:
            weight = others * np.exp(-0.5 * (distance / reach) ** 2) + others * _TINY
            mass = np.maximum(weight.sum(1), 1e-300)
            columns.append((weight * residual).sum(1) / mass)
            masses.append(np.log(mass))
        columns += masses
        spread = np.zeros(len(place))
        for count in _COUNTS:
            weight = np.where(np.cumsum(others, 1) > count, 0.0, others)
            mass = np.maximum(weight.sum(1), 1)
            middle = (weight * residual).sum(1) / mass
            columns.append(middle)
            if count == 15:
                spread = np.sqrt((weight * (residual - middle[:, None]) ** 2).sum(1) / mass)
        columns.append(spread)
        near = np.where((np.cumsum(others, 1) <= 12) & (others > 0), self.per_area[rows], np.nan)
        near[~np.isfinite(near).any(1), 0] = 0.0
        columns.append(np.nanmedian(near, axis=1))
        unlike = ((line[:, None, :] - self.features[rows]) ** 2).mean(2)
        weight = others * np.exp(-unlike) * np.exp(-0.5 * (distance / 0.8) ** 2) + others * _TINY
        mass = np.maximum(weight.sum(1), 1e-300)
        columns.append((weight * self.log_price[rows]).sum(1) / mass)
        columns.append((weight * residual).sum(1) / mass)
        columns.append(np.log(mass))
        return np.column_stack(columns)

    def _tree(self) -> Any:
        found = self.__dict__.get("_built")
        if found is None:
            from scipy.spatial import cKDTree  # noqa: PLC0415

            found = self.__dict__["_built"] = cKDTree(self.place)
        return found

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_built"}
