"""Groups in a table without a target: how many there are, how clear they are, and whether they would be found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from blocks.errors import ConfigurationError
from tasks.train.encoding import Matrix, TableEncoder
from tasks.train.families import CLUSTERING, check_families

NOISE = -1
_MOST_SCORED = 5_000
_STABILITY_DRAWS = 8
_MOST_CLUSTERS = 10
_LEAST_ROWS = 20


class Centres:
    """Clusters as places that new rows are nearest to.

    Args:
        centres: shape (k, columns of the matrix).
        reach: how far a row may be from each of them, shape (k,); further off is noise, `-1`.
    """

    def __init__(self, encoder: TableEncoder, centres: Matrix, reach: NDArray[np.float64]) -> None:
        self.encoder = encoder
        self.centres = centres
        self.reach = reach

    def fit(self, frame: pd.DataFrame, y: Any = None, sample_weight: Any = None) -> Self:
        """Has learned already; the same."""
        return self

    def predict(self, frame: pd.DataFrame) -> NDArray[np.intp]:
        """The cluster of each row, shape (n,); -1: none of them."""
        return self._nearest(self.encoder.transform(frame))

    def predict_rows(self, rows: Sequence[Mapping[str, object]]) -> NDArray[np.intp]:
        """The same for plain rows."""
        return self._nearest(self.encoder.transform_rows(rows))

    def _nearest(self, matrix: Matrix) -> NDArray[np.intp]:
        squares = (matrix**2).sum(axis=1)[:, None] - 2 * matrix @ self.centres.T + (self.centres**2).sum(axis=1)
        nearest = squares.argmin(axis=1)
        distance = np.sqrt(np.maximum(squares[np.arange(len(matrix)), nearest], 0.0))
        return np.where(distance <= self.reach[nearest], nearest, NOISE)


@dataclass(frozen=True)
class Clustering:
    """One way to cut a table."""

    family: str
    parameters: dict[str, Any]
    count: int
    """Clusters, without noise."""
    silhouette: float
    """-1 to 1 (Rousseeuw, 1987), of the rows that belong to a cluster."""
    stability: float
    """Mean adjusted Rand index of the same cut on two halves, on the rows of neither: 1 when found again (Lange et
    al., 2004)."""
    noise: float
    """Share of rows that belong to none."""
    labels: NDArray[np.intp]
    model: Centres

    @property
    def score(self) -> float:
        """What the choice goes by: clear, and found again, and of most rows."""
        return self.silhouette * max(0.0, self.stability) * (1.0 - self.noise)


def clusterings(frame: pd.DataFrame, families: Sequence[str], seed: int) -> list[Clustering]:
    """Every way that is tried, best first.

    Args:
        frame: the features, n rows.
        families: `kmeans`, `hdbscan`, or both.
        seed: of everything that is drawn.

    Raises:
        ConfigurationError: there are too few rows, or a family is not known.
    """
    if len(frame) < _LEAST_ROWS:
        raise ConfigurationError(
            f"{len(frame)} rows are too few to find groups in; give {_LEAST_ROWS} or more.", component="train"
        )
    check_families("clustering", families)
    from threadpoolctl import threadpool_limits  # noqa: PLC0415

    encoder = TableEncoder("linear")
    matrix = encoder.fit_transform(frame, None, seed)
    found: list[Clustering] = []
    # The cuts are many and small: what threads cost is more than what they bring, above all on a busy machine.
    with threadpool_limits(limits=1):
        for family in families or CLUSTERING:
            cuts = (_cut(family, one, encoder, matrix, seed) for one in _settings(family, len(frame)))
            found += [one for one in cuts if one is not None]
    if not found:
        raise ConfigurationError("no groups were found: all rows are alike, or noise.", component="train")
    return sorted(found, key=lambda one: -one.score)


def _settings(family: str, count: int) -> list[dict[str, Any]]:
    if family == "kmeans":
        return [{"clusters": number} for number in range(2, min(_MOST_CLUSTERS, count // 5) + 1)]
    sizes = sorted({max(5, count // share) for share in (100, 50, 20, 10)})
    return [{"least_size": size} for size in sizes]


def _cut(
    family: str, parameters: dict[str, Any], encoder: TableEncoder, matrix: Matrix, seed: int
) -> Clustering | None:
    from sklearn.metrics import adjusted_rand_score, silhouette_score  # noqa: PLC0415

    labels = _labels(family, parameters, matrix, seed)
    kept = labels != NOISE
    count = len(np.unique(labels[kept]))
    if count < 2 or count >= kept.sum():
        return None
    generator = np.random.default_rng(seed)
    scored = np.flatnonzero(kept)
    if len(scored) > _MOST_SCORED:
        scored = np.sort(generator.choice(scored, _MOST_SCORED, replace=False))
    if len(np.unique(labels[scored])) < 2:
        return None
    again = []
    for _ in range(_STABILITY_DRAWS):
        order = generator.permutation(len(matrix))
        third = len(matrix) // 3
        one, other, judged = order[:third], order[third : 2 * third], order[2 * third :]
        cuts = [
            _centres(encoder, matrix[part], _labels(family, parameters, matrix[part], seed)) for part in (one, other)
        ]
        if any(cut is None for cut in cuts):
            again.append(0.0)
            continue
        first, second = (cut._nearest(matrix[judged]) for cut in cuts if cut is not None)  # noqa: SLF001
        again.append(float(adjusted_rand_score(first, second)))
    model = _centres(encoder, matrix, labels)
    if model is None:
        return None
    return Clustering(
        family, parameters, count, float(silhouette_score(matrix[scored], labels[scored])), float(np.mean(again)),
        float(1 - kept.mean()), labels, model,
    )  # fmt: skip


def _labels(family: str, parameters: dict[str, Any], matrix: Matrix, seed: int) -> NDArray[np.intp]:
    from sklearn.cluster import HDBSCAN, KMeans  # noqa: PLC0415

    if family == "kmeans":
        clusters = min(parameters["clusters"], len(matrix))
        found = KMeans(clusters, n_init=4, random_state=seed).fit(matrix)
    else:
        found = HDBSCAN(min_cluster_size=max(2, min(parameters["least_size"], len(matrix) // 3)), copy=True).fit(matrix)
    return np.asarray(found.labels_, np.intp)


def _centres(encoder: TableEncoder, matrix: Matrix, labels: NDArray[np.intp]) -> Centres | None:
    known = [one for one in np.unique(labels) if one != NOISE]
    if not known:
        return None
    centres = np.stack([matrix[labels == one].mean(axis=0) for one in known])
    noise = bool((labels == NOISE).any())
    reach = np.array(
        [
            1.1 * float(np.linalg.norm(matrix[labels == one] - centre, axis=1).max()) if noise else np.inf
            for one, centre in zip(known, centres, strict=True)
        ]
    )
    return Centres(encoder, centres, reach)
