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
    """A map, how it was found, and the maps that were learnt without one fold each."""

    map: EmbeddingMap
    kind: Kind
    penalty: float
    """Of a ridge; 0 for a rotation."""
    error: float
    """Mean squared distance between mapped and true unit vectors, on images left out: 2 - 2 cos."""
    without: tuple[EmbeddingMap, ...]
    folds: dict[int, int]
    """The fold of each group."""

    def apply_without(self, embeddings: Halves, groups: Ids) -> Halves:
        """Map embeddings[n, old dim] of groups[n] that the map was learnt from, each by a map learnt without its group:
        so much as the map knows of others."""
        found = np.empty((len(embeddings), len(self.map.centre_new)), np.float16)
        folds = np.array([self.folds[group] for group in groups.tolist()], np.int64)
        for fold, one in enumerate(self.without):
            found[folds == fold] = one.apply(embeddings[folds == fold])
        return found


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


def fit_map(old: Halves, new: Halves, groups: Ids, also: Ids | None = None) -> Fit:
    """The map that carries old[n, old dim] to new[n, new dim] best; pairs of one of `groups`, int64[n], stay together.

    `also` are groups without a pair that `Fit.apply_without` may be asked about.

    Raises:
        ValueError: there are pairs of fewer than two groups.
    """
    folds = _folds(groups, groups if also is None else np.append(groups, also))
    of_pair = np.array([folds[group] for group in groups.tolist()], np.int64)
    wide_old, wide_new = old.astype(np.float64), new.astype(np.float64)
    whole = _Moments.of(wide_old, wide_new)
    errors = np.zeros(len(PENALTIES) + 1)
    without: list[list[EmbeddingMap]] = []
    for fold in range(int(of_pair.max()) + 1):
        part = np.flatnonzero(of_pair == fold)
        without.append([one for _, _, one in whole.without(_Moments.of(wide_old[part], wide_new[part])).maps()])
        errors += [((one.apply(old[part]) - wide_new[part]) ** 2).sum() for one in without[-1]]
    best = int(errors.argmin())
    kind, penalty, chosen = list(whole.maps())[best]
    return Fit(chosen, kind, penalty, float(errors[best] / len(old)), tuple(maps[best] for maps in without), folds)


def _folds(learnt: Ids, groups: Ids) -> dict[int, int]:
    """A fold for each group, dealt out in the order of a fixed shuffle; every fold has some that are learnt from."""
    names = np.unique(learnt)
    if len(names) < 2:
        raise ValueError("a map needs two groups of images, one to learn from and one to be left out")
    others = np.setdiff1d(groups, names)
    shuffled = np.concatenate([np.random.default_rng(0).permutation(names), others])
    dealt = np.arange(len(shuffled)) % min(FOLDS, len(names))
    return dict(zip(shuffled.tolist(), dealt.tolist(), strict=True))
