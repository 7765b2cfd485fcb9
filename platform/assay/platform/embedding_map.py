"""A map from one encoder's embeddings to another's, learnt from images that both have seen.

Knows least squares and how well a map carries over to images it was not learnt from. Does not know encoders, images or
decisions: whether a map is good enough for anything is for who uses it (`assay.jobs.migration_agreement`).

    mapped(e) = unit(centre_new + (e - centre_old) . matrix)

Embeddings of an image-text encoder share a large common direction, so both sides are centred first. Two ways to the
matrix are tried, by cross-validation over whole groups of near-duplicates:
- ridge regression, its penalty in multiples of the mean variance of a direction: the least squared error, and all
  there is to say if there is more than a rotation between the two;
- the rotation (with as few degrees of freedom as may be) that carries one side nearest to the other: the orthogonal
  Procrustes problem. It wins where images are few and the two encoders are of one family.
The way with the least squared error on images left out is taken. All sums are float64.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from assay.platform.errors import StorageError

PENALTIES = tuple(10.0**power for power in range(-6, 1))
FOLDS = 5

Halves = npt.NDArray[np.float16]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Kind = Literal["ridge", "rotation"]


@dataclass(frozen=True, slots=True)
class EmbeddingMap:
    """See the module. It is applied in float32, embedding by embedding."""

    matrix: Floats  # [old dim, new dim]
    centre_old: Floats  # [old dim]
    centre_new: Floats  # [new dim]

    def apply(self, embeddings: Halves) -> Halves:
        """Map embeddings[n, old dim]; float16[n, new dim], unit length, or zero where nothing comes out."""
        wide = (embeddings.astype(np.float32) - self.centre_old) @ self.matrix + self.centre_new
        length = np.linalg.norm(wide, axis=1, keepdims=True)
        unit: Floats = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)
        return unit.astype(np.float16)

    def to_bytes(self) -> bytes:
        """The map as a safetensors file."""
        parts = {"matrix": self.matrix, "centre_old": self.centre_old, "centre_new": self.centre_new}
        return safetensors.numpy.save({name: np.ascontiguousarray(part) for name, part in parts.items()})

    @classmethod
    def of_bytes(cls, data: bytes, where: str) -> "EmbeddingMap":
        """Read what `to_bytes` wrote.

        Raises:
            StorageError: it is damaged.
        """
        try:
            return cls(**safetensors.numpy.load(data))
        except (safetensors.SafetensorError, TypeError) as error:
            fix = "restore it from a backup, or remove the new store and begin again"
            raise StorageError("a map cannot be read", where=where, why=str(error), fix=fix) from error


@dataclass(frozen=True, slots=True)
class Fit:
    """A map, how it was found, and what it makes of the embeddings it was learnt from when their own fold is left
    out."""

    map: EmbeddingMap
    kind: Kind
    penalty: float
    """Of a ridge; 0 for a rotation."""
    error: float
    """Mean squared distance between mapped and true unit vectors, on images left out: 2 - 2 cos."""
    left_out: Halves  # [n, new dim]


@dataclass(frozen=True, slots=True)
class _Moments:
    """Sums over pairs: how many, of each side, of the old side's squares, and of the products."""

    count: int
    old: Doubles  # [old dim]
    new: Doubles  # [new dim]
    squares: Doubles  # [old dim, old dim]
    products: Doubles  # [old dim, new dim]

    @classmethod
    def of(cls, old: Doubles, new: Doubles) -> "_Moments":
        return cls(len(old), old.sum(axis=0), new.sum(axis=0), old.T @ old, old.T @ new)

    def without(self, other: "_Moments") -> "_Moments":
        return _Moments(
            self.count - other.count,
            self.old - other.old,
            self.new - other.new,
            self.squares - other.squares,
            self.products - other.products,
        )

    def maps(self) -> Iterator[tuple[Kind, float, EmbeddingMap]]:
        """Every map to try, in an order that does not depend on the data."""
        old, new = self.old / self.count, self.new / self.count
        squares = self.squares / self.count - np.outer(old, old)
        products = self.products / self.count - np.outer(old, new)
        values, vectors = np.linalg.eigh(squares)
        turned = vectors.T @ products
        mean = float(values.clip(0).mean()) or 1.0
        for penalty in PENALTIES:
            matrix = vectors @ (turned / (values.clip(0) + penalty * mean)[:, None])
            yield "ridge", penalty, _narrowed(matrix, old, new)
        left, _, right = np.linalg.svd(products, full_matrices=False)
        yield "rotation", 0.0, _narrowed(left @ right, old, new)


def _narrowed(matrix: Doubles, old: Doubles, new: Doubles) -> EmbeddingMap:
    return EmbeddingMap(matrix.astype(np.float32), old.astype(np.float32), new.astype(np.float32))


def fit_map(old: Halves, new: Halves, groups: Ids) -> Fit:
    """The map that carries old[n, old dim] to new[n, new dim] best; pairs of one of `groups`, int64[n], stay together.

    Raises:
        ValueError: fewer than two groups.
    """
    folds = _folds(groups)
    wide_old, wide_new = old.astype(np.float64), new.astype(np.float64)
    whole = _Moments.of(wide_old, wide_new)
    parts = [np.flatnonzero(folds == fold) for fold in range(int(folds.max()) + 1)]
    errors = np.zeros(len(PENALTIES) + 1)
    found = [np.empty((len(old), new.shape[1]), np.float16) for _ in errors]
    for part in parts:
        rest = whole.without(_Moments.of(wide_old[part], wide_new[part]))
        for way, (_, _, one) in enumerate(rest.maps()):
            found[way][part] = one.apply(old[part])
            errors[way] += ((found[way][part].astype(np.float64) - wide_new[part]) ** 2).sum()
    best = int(errors.argmin())
    kind, penalty, chosen = list(whole.maps())[best]
    return Fit(chosen, kind, penalty, float(errors[best] / len(old)), found[best])


def _folds(groups: Ids) -> Ids:
    """A fold for each pair: whole groups, dealt out in the order of a fixed shuffle."""
    names, places = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError("a map needs two groups of images, one to learn from and one to be left out")
    dealt = np.random.default_rng(0).permutation(len(names)) % min(FOLDS, len(names))
    found: Ids = dealt[places].astype(np.int64)
    return found
