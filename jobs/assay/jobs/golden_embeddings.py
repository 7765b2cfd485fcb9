"""The embeddings of a golden set: those it keeps, else those a store has observed, else made here from its images.

Knows where an embedding may come from, and when one may not be used. Does not know scores. Without Ray: golden sets
have thousands of images, not billions.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from assay.jobs.binding import Binding, check_binding
from assay.jobs.embedding_lookup import find_embeddings
from assay.jobs.forgotten import unerased
from assay.jobs.image_embedder import ImageEmbedder
from assay.jobs.store import Store
from assay.platform.errors import GoldenError
from assay.platform.golden import GoldenSet
from assay.platform.release import Release
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage

UNIT = 0.01
"""How far the length of an embedding may be from 1; rounding to float16 moves it by less than 0.001."""
MAX_NAMED = 10

Progress = Callable[[int, int], None]
"""Told how many images of how many have their embedding, or none to be had."""


def no_progress(_done: int, _total: int) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class GoldenEmbeddings:
    """A golden set's embeddings, row for row. A row without one has zero views, and its uri stands in `missing`.

    For `over_views` take the rows that have some: `over_views(scores, found.starts[found.seen])`.
    """

    embeddings: npt.NDArray[np.float16]  # [views, dim], unit length
    starts: npt.NDArray[np.int64]  # [n]: where each row's views begin
    missing: tuple[str, ...]
    reasons: tuple[str, ...] = ()
    """Why each of `missing` is, in its order."""

    @property
    def seen(self) -> npt.NDArray[np.int64]:
        """The places of the rows that have an embedding."""
        return np.flatnonzero(np.diff(np.append(self.starts, len(self.embeddings))))

    def refuse_missing(self) -> None:
        """Stop when an image is missing.

        Raises:
            GoldenError: naming the first few, and why.
        """
        if not self.missing:
            return
        told = [f"{uri}: {why}" for uri, why in islice(zip(self.missing, self.reasons, strict=True), MAX_NAMED)]
        more = [f"and {len(self.missing) - MAX_NAMED:,} more"] if len(self.missing) > MAX_NAMED else []
        raise GoldenError(
            f"{len(self.missing):,} of {len(self.starts):,} images of the golden set cannot be had",
            where=self.missing[0],
            why="\n       ".join([*told, *more]),
            fix="name the store that observed them, take them out, or go on without them: --allow-missing",
        )


def embed_golden(
    golden: GoldenSet, release: Release, storage: Storage, store: str | None = None, progress: Progress = no_progress
) -> GoldenEmbeddings:
    """The embeddings of a golden set's images under a release's encoder.

    Raises:
        GoldenError: it keeps embeddings of another encoder, or damaged ones.
        SpecError: there is no such store.
        StoreVersionError: the store was observed with another encoder.
        StorageError, BucketError, CredentialsError: what fails for every image alike.
    """
    found = _kept(golden, release)
    images = list(zip(golden.uris, golden.etags, strict=True))
    if store is not None and len(found) < len(golden):
        found |= _observed(images, found, release, Store.open(storage, store))
    progress(len(found), len(golden))
    left = [row for row in range(len(golden)) if row not in found]
    reasons: dict[int, str] = {}
    if left:
        refs = [ImageRef(*images[row], 0) for row in left]
        embedder = ImageEmbedder(storage, release)
        made = embedder.embed(refs, lambda done: progress(len(golden) - len(left) + done, len(golden)))
        for row, one in zip(left, made, strict=True):
            if one.fault is None:
                found[row] = one.embeddings
            else:
                reasons[row] = f"{one.fault.kind.value} {one.fault.detail}".strip()
    return _joined(found, reasons, golden.uris, release.manifest.encoder.dim)


def _joined(
    found: dict[int, npt.NDArray[np.float16]], reasons: dict[int, str], uris: Sequence[str], dim: int
) -> GoldenEmbeddings:
    nothing = np.empty((0, dim), np.float16)
    parts = [found.get(row, nothing) for row in range(len(uris))]
    counts = np.array([len(part) for part in parts], np.int64)
    missing = tuple(uris[row] for row in sorted(reasons))
    why = tuple(reasons[row] for row in sorted(reasons))
    return GoldenEmbeddings(np.concatenate([nothing, *parts]), np.cumsum(counts) - counts, missing, why)


def _kept(golden: GoldenSet, release: Release) -> dict[int, npt.NDArray[np.float16]]:
    """The embeddings in the golden set's own column."""
    kept = {row: cell for row, cell in enumerate(golden.table["embedding"].to_pylist()) if cell is not None}
    pinned, said = release.manifest.encoder, golden.encoder or "one not named (no assay.encoder in the metadata)"
    if kept and golden.encoder != pinned.digest:
        raise GoldenError(
            "this golden set's embeddings are not of the release's encoder",
            where=f"release {release.id}",
            why=f"made by encoder {said}, needed {pinned.digest}",
            fix="leave the column `embedding` out, or use a release with that encoder",
        )
    return {row: _matrix(cell, golden.uris[row], pinned.dim) for row, cell in kept.items()}


def _matrix(cell: bytes, uri: str, dim: int) -> npt.NDArray[np.float16]:
    """An embedding as float16[views, dim].

    Raises:
        GoldenError: it is of another width, not finite, or not of unit length.
    """
    numbers = np.frombuffer(cell, "<f2").astype(np.float16, copy=False)
    why = ""
    if not len(numbers) or len(numbers) % dim:
        why = f"{len(numbers)} numbers; this encoder makes {dim} for each view"
    elif not np.isfinite(numbers).all():
        why = "it holds what is no number"
    else:
        lengths = np.linalg.norm(numbers.reshape(-1, dim).astype(np.float64), axis=1)
        worst = float(lengths[np.abs(lengths - 1).argmax()])
        why = f"its length is {worst:.3g}, not 1" if abs(worst - 1) > UNIT else ""
    if why:
        fix = "leave this cell null, so that the image is looked up or encoded again"
        raise GoldenError("an embedding of the golden set is damaged", where=uri, why=why, fix=fix)
    return numbers.reshape(-1, dim)


def _observed(
    images: Sequence[tuple[str, str]], known: Collection[int], release: Release, store: Store
) -> dict[int, npt.NDArray[np.float16]]:
    """What a store has of the images that are not `known`."""
    encoder = release.manifest.encoder
    check_binding(store, Binding.of(release))
    with unerased(store):
        # What was mapped from another encoder's embeddings says nothing of how good this one is.
        cells = find_embeddings(store, [one for row, one in enumerate(images) if row not in known], mapped=False)
    rows = ((row, image) for row, image in enumerate(images) if row not in known and image in cells)
    return {row: _matrix(cells[image], image[0], encoder.dim) for row, image in rows}
