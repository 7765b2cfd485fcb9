"""Drawing a golden set from a store: images for people to label, what each stands for, and what it is for.

Knows the two passes over a release's verdicts, and the split that keeps near-duplicates on one side. Does not know how
shares (`score_bands.py`) and weights (`priority_sample.py`) come about. What is written has no score, no picture and no
embedding: reviewers are not led, and labels marked `no_evidence` leave nothing but a uri.

Memory: a histogram of 130 KB for each label, twice the sample, and a batch of verdicts; whatever the size of the store.
"""

import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from assay.jobs.embedding_lookup import find_embeddings
from assay.jobs.forgotten import unerased
from assay.jobs.judged import Judged, Verdicts, find_release, judged_by
from assay.jobs.near_duplicates import group_duplicates
from assay.jobs.priority_sample import Image, PrioritySample, Sample
from assay.jobs.release_choice import ChosenFacts, RegistryChoice, origins_of
from assay.jobs.report_trace import leave_trace_of
from assay.jobs.score_bands import CODES, ScoreBands, codes_of
from assay.jobs.store import Store
from assay.jobs.tally import explode_scores
from assay.platform.disk import write_file
from assay.platform.document import did_you_mean
from assay.platform.errors import SpecError
from assay.platform.faults import OK
from assay.platform.golden import GoldenSet
from assay.platform.golden_file import bytes_of, refuse_existing
from assay.platform.golden_rows import GoldenRow, Reviews, Split
from assay.platform.release import Release
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.registry.place import RegistrySpec

Tell = Callable[[int], None]
"""Told how many verdicts were read."""


class SampleSpec(Spec):
    """Which store, how many images, and how they are split."""

    store: str = Field(kw_only=False, description="the store")
    out: Path = Field(kw_only=False, description="the golden set to write, Parquet")
    images: int = Field(ge=2, description="how many images to draw")
    release: str | None = Field(
        None,
        description="whose scores guide the draw: id in the store, directory or models:/…; unset: the latest run's",
    )
    policy: str | None = Field(
        None, description="policy whose thresholds guide the draw; unset: one that judged the store"
    )
    labels: tuple[str, ...] = Field((), description="labels to be filled in; unset: all of the release's library")
    test_share: float = Field(0.5, gt=0, lt=1, description="of the images, what is kept for tests")
    duplicate_cosine: float = Field(
        0.95, gt=0, le=1, description="images whose embeddings are this near are on the same side of the split"
    )
    seed: int = Field(0, description="another seed draws another sample; the same draws the same")
    replace: bool = Field(False, description="write over a golden set that is there")
    trace: bool = Field(True, description="say in the store where the file lies, so that `assay forget` finds it")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")
    registry: RegistryChoice = RegistrySpec()


class SampleFacts(ChosenFacts, frozen=True):
    """What was drawn."""

    golden: str
    digest: str
    images: int
    population: int
    """Images of the store that were readable and judged: what the weights sum to, but for chance."""
    weights: float
    """The sum of all weights."""
    greatest_weight: float
    splits: dict[str, int]
    near_duplicates: int
    """Images that are in a group with another one of the sample."""
    labels: int
    release: str
    policy: str


def build_sample(spec: SampleSpec, tell: Tell = lambda _rows: None) -> SampleFacts:
    """Draw a golden set from a store and write it, labels to be filled in.

    Raises:
        SpecError: there is no store, the release judged nothing in it, labels are unknown, or the file is there.
        CommitError: an erasure is under way or was cut off.
        StorageError: committed rows cannot be read, or the file cannot be written.
    """
    refuse_existing(spec.out, spec.replace)
    store = Store.open(Storage(spec.storage), spec.store)
    with unerased(store):
        chosen = find_release(store, spec.release, spec.registry)
        judged = judged_by(store, chosen.release, spec.policy)
        labels = labels_to_ask(judged, spec.labels)
        readable = Verdicts.by(store, judged, pc.field("outcome") == OK)
        thresholds = {label: judged.thresholds()[label] for label in labels}
        sample = draw_sample(readable, thresholds, spec.images, spec.seed, tell)
        groups = group_images(store, judged.release, sample.images, spec.duplicate_cosine)
        splits = split_groups(groups, spec.test_share, spec.seed)
        golden = GoldenSet.of(_reviews(sample, splits, labels))
        content = bytes_of(golden.table)
        if spec.trace:
            leave_trace_of(store, golden.uris, {spec.out: content})
    write_file(spec.out, content, if_absent=False)
    _, counts = np.unique(groups, return_counts=True)
    return SampleFacts(
        golden=str(spec.out),
        digest=golden.digest,
        images=len(golden),
        population=sample.population,
        weights=float(sample.weights.sum()),
        greatest_weight=float(sample.weights.max()),
        splits={split: splits.count(split) for split in sorted(set(splits))},
        near_duplicates=int(counts[counts > 1].sum()),
        labels=len(labels),
        release=judged.release.id,
        policy=judged.policy.name,
        origins=origins_of(release=chosen),
    )


def labels_to_ask(judged: Judged, wanted: Sequence[str]) -> tuple[str, ...]:
    """The labels to be filled in: those wanted, or all.

    Raises:
        SpecError: the release's library has no such label.
    """
    known = judged.release.library().labels
    for label in wanted:
        if label not in known:
            library = judged.release.library().name
            why = f"library {library!r} has no active label {label!r}{did_you_mean(label, known)}"
            where = f"release {judged.release.id}"
            raise SpecError("unknown label", where=where, why=why, fix="name one of its labels")
    return tuple(sorted(set(wanted))) or tuple(known)


def draw_sample(
    verdicts: Verdicts, thresholds: Mapping[str, Mapping[str, float]], images: int, seed: int, tell: Tell
) -> Sample:
    """So many images, in two passes: how scores are spread, then who is drawn. `thresholds`: of each label, by action.

    Raises:
        SpecError: there are no verdicts.
        StorageError: committed rows cannot be read.
    """
    histograms = {label: np.zeros(CODES, np.int64) for label in thresholds}
    population = read = 0
    for batch, scored in _scored(verdicts, ["scores"]):
        population += batch.num_rows
        for label, (_, codes) in scored.items():
            if label in histograms:
                histograms[label] += np.bincount(codes, minlength=CODES)
        tell(read := read + batch.num_rows)
    if not population:
        fix = "look at `assay report`: every image has a fault"
        raise SpecError(
            "there is nothing to draw from", where=verdicts.store, why="no readable image was judged", fix=fix
        )
    edges = {label: tuple(both.values()) for label, both in thresholds.items()}
    bands, sample = ScoreBands.of(histograms, edges, population), PrioritySample(images, seed)
    for batch, scored in _scored(verdicts, ["uri", "etag", "scores"]):
        shares = np.full(batch.num_rows, bands.everywhere)
        for label, (rows, codes) in scored.items():
            if label in histograms:
                bands.add_to(shares, rows, label, codes)
        sample.add(list(zip(batch["uri"].to_pylist(), batch["etag"].to_pylist(), strict=True)), shares)
        tell(read := read + batch.num_rows)
    return sample.end()


Scored = Mapping[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
"""For each label the rows that have a score for it, and its codes."""


def _scored(verdicts: Verdicts, columns: list[str]) -> Iterator[tuple[pa.RecordBatch, Scored]]:
    for batch in verdicts.batches(columns):
        entries, scores = explode_scores(batch["scores"])
        codes = codes_of(scores)
        mine = ((name, entries.of(name)) for name in entries.names)
        yield batch, {name: (entries.rows[which], codes[which]) for name, which in mine}


def group_images(store: Store, release: Release, images: Sequence[Image], cosine: float) -> npt.NDArray[np.int64]:
    """Near-duplicates by the first view of each image, which is the whole picture."""
    found, dim = find_embeddings(store, images), release.manifest.encoder.dim
    first = np.zeros((len(images), dim), np.float16)
    for row, image in enumerate(images):
        if image in found:
            first[row] = np.frombuffer(found[image], "<f2", dim)
    return group_duplicates(first, cosine)


def split_groups(groups: npt.NDArray[np.int64], test_share: float, seed: int) -> list[Split]:
    """A side for each image: whole groups, in random order, go to the test until it has its share."""
    names, counts = np.unique(groups, return_counts=True)
    order = np.random.default_rng([abs(seed), 1]).permutation(len(names))
    before = np.cumsum(counts[order]) - counts[order]
    test = set(names[order][before + counts[order] / 2 <= test_share * len(groups)].tolist())
    return ["test" if group in test else "calibrate" for group in groups.tolist()]


def _reviews(sample: Sample, splits: Sequence[Split], labels: tuple[str, ...]) -> Reviews:
    now = datetime.datetime.now(datetime.UTC)
    drawn = zip(sample.images, sample.weights.tolist(), splits, strict=True)
    rows = (GoldenRow(uri=uri, etag=etag, time=now, weight=weight, split=split) for (uri, etag), weight, split in drawn)
    return Reviews(tuple(rows), labels)
