"""The sample of a migration: images of a store that are encoded again, so that there is both an old and a new embedding
of each.

Knows which images are drawn (as for a golden set: more where decisions are made), how they are split, and which views
of the two encoders are the same look at an image. Does not know what is learnt from them (`embedding_map.py`), nor what
is decided (`migration_agreement.py`).
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.embedding_lookup import find_observed, was_mapped
from assay.jobs.golden_sample import draw_sample, split_groups
from assay.jobs.image_embedder import ImageEmbedder
from assay.jobs.judged import Judged, Verdicts
from assay.jobs.near_duplicates import group_duplicates
from assay.jobs.priority_sample import Sample
from assay.jobs.store import Store
from assay.platform.errors import BucketError, SpecError
from assay.platform.faults import OK
from assay.platform.feeder import Embedded
from assay.platform.release import Release
from assay.platform.rows import OBSERVATIONS, ImageRef
from assay.platform.spec import Spec

LEAST = 16
"""Images on each side of the split, at least; promises need many more."""
SAME_BOX = 0.02
"""How far the edges of two views may lie apart, in fractions of the picture, that are one look: encoders of other input
sizes round otherwise."""

Halves = npt.NDArray[np.float16]
Doubles = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
View = Mapping[str, object]
Tell = Callable[[int, int], None]
"""Told how many images of how many were encoded."""


class DrawSpec(Spec):
    """Which images are encoded again."""

    sample: int = Field(4000, ge=64, description="images to encode again, half to learn from and half to test on")
    seed: int = Field(0, description="another seed draws another sample; the same draws the same")
    duplicate_cosine: float = Field(
        0.98,
        gt=0,
        le=1,
        description="images whose old embeddings are this near are on the same side of the split, and count as one",
    )


class SampledFacts(BaseModel):
    """What was drawn, and what became of it."""

    model_config = ConfigDict(frozen=True)

    population: int
    """Images of the store that were readable and judged."""
    drawn: int
    mapped_before: int
    """Of those drawn: left out, since their embeddings were mapped from yet another encoder's."""
    missing: dict[str, int]
    """Of those drawn: could not be encoded again, by fault."""
    encoded: int
    learnt_from: int
    tested_on: int
    near_duplicates: int
    """Images that are in a group with another one."""
    fetched_bytes: int
    seconds: float
    """For fetching, decoding and encoding, after the encoder was loaded."""
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Twins:
    """Images with both embeddings; views of one image follow on each other, `…_starts` is where they begin."""

    old: Halves  # [old views, old dim]
    old_starts: Ids  # [images]
    new: Halves  # [new views, new dim]
    new_starts: Ids  # [images]
    weights: Doubles  # [images]: how many each stands for
    groups: Ids  # [images]: near-duplicates have one number

    def part(self, images: npt.NDArray[np.bool_]) -> "Twins":
        """Some of the images."""
        old, old_starts = _part(self.old, self.old_starts, images)
        new, new_starts = _part(self.new, self.new_starts, images)
        return Twins(old, old_starts, new, new_starts, self.weights[images], self.groups[images])

    def by_old_view(self) -> Ids:
        """The group of each old view."""
        found: Ids = np.repeat(self.groups, np.diff(np.append(self.old_starts, len(self.old))))
        return found


def _part(views: Halves, starts: Ids, images: npt.NDArray[np.bool_]) -> tuple[Halves, Ids]:
    counts = np.diff(np.append(starts, len(views)))
    left = counts[images]
    return views[np.repeat(images, counts)], np.cumsum(left) - left


@dataclass(frozen=True, slots=True)
class Pairs:
    """The sample: its images, which of them are to test on, and which old view is the same look as which new one."""

    twins: Twins
    is_test: npt.NDArray[np.bool_]  # [images]
    same_image: Ids  # [pairs]
    same_old: Ids  # [pairs]: a row of `twins.old`
    same_new: Ids  # [pairs]: a row of `twins.new`

    def looks(self, *, test: bool) -> tuple[Halves, Halves, Ids]:
        """Old and new embeddings of the same looks, and their groups: of images to test on, or to learn from."""
        mine = self.is_test[self.same_image] == test
        groups = self.twins.groups[self.same_image[mine]]
        return self.twins.old[self.same_old[mine]], self.twins.new[self.same_new[mine]], groups


@dataclass(frozen=True, slots=True)
class _Found:
    """One drawn image as the store has it."""

    ref: ImageRef
    views: Sequence[View]
    embeddings: Halves
    weight: float


def sample_pairs(
    store: Store, judged: Judged, embedder: ImageEmbedder, spec: DrawSpec, tell: Tell
) -> tuple[Pairs, SampledFacts]:
    """Draw images, encode them again, and pair old with new.

    Raises:
        SpecError: nothing was judged, or too few images can be had.
        StorageError, CredentialsError: what fails for every image alike.
    """
    readable = Verdicts.by(store, judged, pc.field("outcome") == OK)
    sample = draw_sample(readable, _thresholds(judged.release), spec.sample, spec.seed, lambda _rows: None)
    found, mapped_before = _look_up(store, sample, judged.release.manifest.encoder.dim)
    made, seconds = _encode(store, found, embedder, tell)
    missing = Counter(one.fault.kind.value for one in made if one.fault is not None)
    both = [(old, new) for old, new in zip(found, made, strict=True) if new.fault is None]
    pairs = _paired([old for old, _ in both], [new for _, new in both], spec)
    tested, counts = int(pairs.is_test.sum()), np.bincount(pairs.twins.groups, minlength=1)
    facts = SampledFacts(
        population=sample.population,
        drawn=len(sample.images),
        mapped_before=mapped_before,
        missing=dict(sorted(missing.items())),
        encoded=len(both),
        learnt_from=len(both) - tested,
        tested_on=tested,
        near_duplicates=int(counts[counts > 1].sum()),
        fetched_bytes=sum(old.ref.size for old, _ in both),
        seconds=round(seconds, 3),
        images_per_second=round(len(both) / max(seconds, 1e-9), 2),
    )
    _refuse_too_few(store, facts, pairs)
    return pairs, facts


def _thresholds(release: Release) -> dict[str, dict[str, float]]:
    """The thresholds of each label, by policy and action: what flags under any policy is drawn more often."""
    found: dict[str, dict[str, float]] = {}
    for name in release.manifest.policies:
        for label, edges in Judged(release, release.policy(name)).thresholds().items():
            found.setdefault(label, {}).update({f"{name} {action}": edge for action, edge in edges.items()})
    return found


def _look_up(store: Store, sample: Sample, dim: int) -> tuple[list[_Found], int]:
    """Those drawn whose embeddings an encoder made, in the order of uris; and how many were mapped."""
    observed = find_observed(store, sample.images, ["size", "views", "embedding", "signals"])
    found: list[_Found] = []
    mapped = 0
    for image, weight in zip(sample.images, sample.weights.tolist(), strict=True):
        row = observed.get(image)
        if row is None:
            continue
        if was_mapped(row["signals"]):
            mapped += 1
            continue
        old = np.frombuffer(row["embedding"], "<f2").astype(np.float16, copy=False).reshape(-1, dim)
        found.append(_Found(ImageRef(*image, row["size"]), row["views"], old, weight))
    return sorted(found, key=lambda one: (one.ref.uri, one.ref.etag)), mapped


def _encode(store: Store, found: Sequence[_Found], embedder: ImageEmbedder, tell: Tell) -> tuple[list[Embedded], float]:
    if not found:
        return [], 0.0
    size = embedder.release.preprocess.size
    embedder.encoder.encode_images(np.zeros((1, size, size, 3), np.uint8))  # what comes first is slow
    began = time.monotonic()
    try:
        made = embedder.embed([one.ref for one in found], lambda done: tell(done, len(found)))
    except BucketError as error:
        raise _nothing_to_sample(store, f"{error.what}: {error.why}") from error
    return made, time.monotonic() - began


def _refuse_too_few(store: Store, facts: SampledFacts, pairs: Pairs) -> None:
    if not facts.encoded:
        lost = ", ".join(f"{kind} {count:,}" for kind, count in facts.missing.items())
        mapped = f"{facts.mapped_before:,} have mapped embeddings themselves" if facts.mapped_before else ""
        raise _nothing_to_sample(store, f"of {facts.drawn:,} images drawn: {', '.join(filter(None, [lost, mapped]))}")
    looks = [len(np.unique(pairs.looks(test=test)[2])) for test in (False, True)]
    if min(looks) < LEAST:
        raise SpecError(
            "too few images could be encoded again",
            where=store.shown,
            why=f"{looks[0]} to learn from and {looks[1]} to test on that are no near-duplicates, and have a view that "
            f"both encoders take; at least {LEAST} of each are needed ({facts.near_duplicates:,} of {facts.encoded:,} "
            "are near-duplicates)",
            fix="draw more with --sample, say what is a duplicate with --duplicate-cosine, or encode all again: a "
            "backfill into a new store",
        )


def _nothing_to_sample(store: Store, why: str) -> SpecError:
    return SpecError(
        "there is nothing to sample: the images cannot be fetched",
        where=store.shown,
        why=why,
        fix="a map is learnt from images that are encoded again: give access to them; the old store still re-audits",
    )


def _paired(found: Sequence[_Found], made: Sequence[Embedded], spec: DrawSpec) -> Pairs:
    same = [*_same_views([one.views for one in found], _as_stored(made))]
    old_starts, new_starts = _starts([len(one.views) for one in found]), _starts([len(one.views) for one in made])
    places = np.array([(row, old_starts[row] + a, new_starts[row] + b) for row, a, b in same], np.int64).reshape(-1, 3)
    dims = [found[0].embeddings.shape[1], made[0].embeddings.shape[1]] if found else [1, 1]
    firsts = np.array([one.embeddings[0] for one in found], np.float16).reshape(-1, dims[0])
    groups = group_duplicates(firsts, spec.duplicate_cosine)
    twins = Twins(
        old=np.concatenate([np.empty((0, dims[0]), np.float16), *(one.embeddings for one in found)]),
        old_starts=old_starts,
        new=np.concatenate([np.empty((0, dims[-1]), np.float16), *(one.embeddings for one in made)]),
        new_starts=new_starts,
        weights=np.array([one.weight for one in found]),
        groups=groups,
    )
    is_test = np.array([side == "test" for side in split_groups(groups, 0.5, spec.seed)], np.bool_)
    return Pairs(twins, is_test, *places.T)


def _starts(counts: Sequence[int]) -> Ids:
    each = np.array(counts, np.int64)
    found: Ids = np.cumsum(each) - each
    return found


def _as_stored(made: Sequence[Embedded]) -> list[Sequence[View]]:
    """Views as the table would have them: in float32."""
    rows = [[view.row() for view in one.views] for one in made]
    found: list[Sequence[View]] = pa.array(rows, OBSERVATIONS.field("views").type).to_pylist()
    return found


def _same_views(old: Sequence[Sequence[View]], new: Sequence[Sequence[View]]) -> Iterator[tuple[int, int, int]]:
    """Image, old view and new view, for every new view that is the same look as an old one."""
    for row, (before, after) in enumerate(zip(old, new, strict=True)):
        for place, one in enumerate(after):
            like = next((at for at, other in enumerate(before) if _is_same(one, other)), None)
            if like is not None:
                yield row, like, place


def _is_same(one: View, other: View) -> bool:
    if one["kind"] != other["kind"]:
        return False
    sides = [(one[name], other[name]) for name in ("x0", "y0", "x1", "y1", "time_s")]
    return all(a == b or (isinstance(a, float) and isinstance(b, float) and abs(a - b) <= SAME_BOX) for a, b in sides)
