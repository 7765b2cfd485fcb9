"""Drawing images for people to look at, so that they tell how much violating content was left unflagged.

Knows the two passes over a release's verdicts. Does not know how strata are cut and weighed
(`assay.platform.stratification`), nor how a draw is remembered (`prevalence_draw.py`). What is written has no score, no
stratum and no picture: reviewers are not led.

Every image has a number of its own. It is drawn for a label if the number is less than its stratum's rate, so one image
serves many labels, and a greater draw with the same seed draws the same images and more.

Memory: three histograms of 130 KB for each label, twice the sample, and a batch of verdicts; whatever the size of the
store.
"""

import datetime
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from assay.jobs.forgotten import unerased
from assay.jobs.golden_sample import labels_to_ask
from assay.jobs.judged import Judged, Verdicts, find_release, judged_by
from assay.jobs.prevalence_draw import PARTS, SLICE, Draw, DrawnStratum, LabelDraw, Scan, own_seed
from assay.jobs.priority_sample import Image, PrioritySample, Sample
from assay.jobs.release_choice import ChosenFacts, RegistryChoice, origins_of
from assay.jobs.report_trace import leave_trace_of
from assay.jobs.score_bands import CODES
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store, new_run
from assay.platform.disk import write_file
from assay.platform.errors import SpecError
from assay.platform.faults import OK
from assay.platform.golden import GoldenSet
from assay.platform.golden_file import bytes_of, refuse_existing
from assay.platform.golden_rows import GoldenRow, Reviews
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.stratification import Doubles, Stratum, allocate, scores_by_rank, stratify
from assay.registry.place import RegistrySpec

UNSCORED = 1e-9
"""The share of an image without a score for any label: it has to be above 0."""
Tell = Callable[[int], None]
"""Told how many verdicts were read."""


class PrevalenceSampleSpec(Spec):
    """Which store, how many images, and of which labels."""

    store: str = Field(kw_only=False, description="the store")
    out: Path = Field(kw_only=False, description="the golden set to write, Parquet")
    images: int = Field(ge=10, description="how many images people will look at")
    release: str | None = Field(
        None, description="release that judged: id in the store, directory or models:/…; unset: the latest run's"
    )
    policy: str | None = Field(None, description="policy that judged; unset: one that judged the store")
    labels: tuple[str, ...] = Field((), description="labels to be filled in; unset: all of the release's library")
    answered: Path | None = Field(None, description="golden set: what it says of images drawn again is kept")
    seed: int = Field(0, description="another seed draws other images; the same draws the same")
    replace: bool = Field(False, description="write over a golden set that is there")
    trace: bool = Field(True, description="say in the store where the file lies, so that `assay forget` finds it")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")
    registry: RegistryChoice = RegistrySpec()


class LabelDrawFacts(BaseModel, frozen=True):
    """What was drawn for one label."""

    strata: int
    passed: int
    """Images that no rule flagged."""
    flagged: int
    """Images that the label's own rule flagged."""
    expected: float
    """Images drawn for it, but for chance."""
    is_calibrated: bool


class PrevalenceSampleFacts(ChosenFacts, frozen=True):
    """What was drawn."""

    golden: str
    digest: str
    draw: str
    images: int
    answered: int
    """Images that keep what was said of them before."""
    population: int
    """Images of the store that were readable and judged."""
    labels: dict[str, LabelDrawFacts]
    release: str
    policy: str


def sample_prevalence(spec: PrevalenceSampleSpec, tell: Tell = lambda _rows: None) -> PrevalenceSampleFacts:
    """Draw a score-stratified sample from a store and write it, labels to be filled in.

    Raises:
        SpecError: there is no store, the release judged nothing in it, labels are unknown, or the file is there.
        CommitError: an erasure is under way or was cut off.
        StorageError: committed rows cannot be read, or the file cannot be written.
    """
    refuse_existing(spec.out, spec.replace)
    before = {} if spec.answered is None else _said_before(spec.answered)
    store = Store.open(Storage(spec.storage), spec.store)
    with unerased(store):
        chosen = find_release(store, spec.release, spec.registry)
        judged = judged_by(store, chosen.release, spec.policy)
        asked = labels_to_ask(judged, spec.labels)
        # Before the rows are opened: what is committed in between is of later, and must not count as judged.
        shards = store.verdicts.table().shards(judged.partition)
        scan = Scan.of(judged, Verdicts.by(store, judged, pc.field("outcome") == OK), asked)
        strata = _stratify(scan, judged, spec, tell)
        rates = {label: _rates(one, spec.images) for label, one in strata.items()}
        sample = _sample(scan, _drawn(strata, rates, judged), spec, tell)
        labels = _drawn(strata, {label: rate * sample.edge for label, rate in rates.items()}, judged)
        draw = _record(judged, shards, sample, labels, spec.seed)
        golden = GoldenSet.of(_reviews(sample, draw, before))
        content = bytes_of(golden.table)
        if spec.trace:
            leave_trace_of(store, golden.uris, {spec.out: content})
        draw.write(store)
    write_file(spec.out, content, if_absent=False)
    return PrevalenceSampleFacts(
        golden=str(spec.out),
        digest=golden.digest,
        draw=draw.name,
        images=len(golden),
        answered=sum(image in before for image in sample.images),
        population=sample.population,
        labels={label: _facts(one) for label, one in draw.labels.items()},
        release=draw.release,
        policy=draw.policy,
        origins=origins_of(release=chosen),
    )


def _record(judged: Judged, shards: ShardRanges, sample: Sample, labels: dict[str, LabelDraw], seed: int) -> Draw:
    return Draw(
        name=new_run(),
        release=judged.release.id,
        policy=judged.policy.name,
        seed=seed,
        images=len(sample.images),
        population=sample.population,
        shards=tuple(zip(shards.starts.tolist(), shards.stops.tolist(), strict=True)),
        labels=labels,
    )


def _said_before(path: Path) -> dict[Image, GoldenRow]:
    rows = (GoldenRow.model_validate(row) for row in GoldenSet.read(path).table.to_pylist())
    return {row.image: row for row in rows if row.labels}


def _stratify(scan: Scan, judged: Judged, spec: PrevalenceSampleSpec, tell: Tell) -> dict[str, tuple[Stratum, ...]]:
    """The first pass: each label's strata, from how its scores are spread."""
    histograms = {label: np.zeros((len(PARTS), CODES), np.int64) for label in scan.edges}
    read = 0
    for batch, scored in scan.batches([]):
        for label, one in scored.items():
            places = one.parts * CODES + one.codes
            histograms[label] += np.bincount(places, minlength=len(PARTS) * CODES).reshape(-1, CODES)
        tell(read := read + batch.num_rows)
    if not read:
        fix = "look at `assay report`: every image has a fault"
        raise SpecError("there is nothing to draw from", where=spec.store, why="no readable image was judged", fix=fix)
    calibrated = judged.release.calibration().labels
    found = {}
    for label, counts in histograms.items():
        scores = CODE_SCORES if label in calibrated else scores_by_rank(counts.sum(axis=0))
        found[label] = stratify(dict(zip(PARTS, counts, strict=True)), scores)
    return found


def _code_scores() -> Doubles:
    """The score in the middle of each code's, float64[CODES]."""
    middle = (np.arange(CODES, dtype=np.uint32) << 16) + np.uint32(0x8000)
    return np.minimum(middle.view(np.float32), 1).astype(np.float64)


CODE_SCORES = _code_scores()


def _rates(strata: tuple[Stratum, ...], size: int) -> Doubles:
    """How much of each stratum is drawn when all images are drawn for this label."""
    return allocate(strata, size) / np.array([one.images for one in strata], np.float64)


def _drawn(
    strata: Mapping[str, tuple[Stratum, ...]], rates: Mapping[str, Doubles], judged: Judged
) -> dict[str, LabelDraw]:
    calibrated = judged.release.calibration().labels
    return {
        label: LabelDraw(
            strata=tuple(map(DrawnStratum.of, some, rates[label].tolist())), is_calibrated=label in calibrated
        )
        for label, some in strata.items()
    }


def _sample(scan: Scan, labels: Mapping[str, LabelDraw], spec: PrevalenceSampleSpec, tell: Tell) -> Sample:
    """The second pass: who is drawn. An image is wanted as much as the label that wants it most does."""
    sample, rates = (
        PrioritySample(spec.images, own_seed(spec.seed)),
        {label: one.rates for label, one in labels.items()},
    )
    for batch, scored in scan.batches(["uri", "etag"]):
        shares = np.full(batch.num_rows, UNSCORED)
        for label, one in scored.items():
            wanted = rates[label][labels[label].place(one.parts, one.codes)]
            shares[one.rows] = np.maximum(shares[one.rows], wanted)
        sample.add(list(zip(batch["uri"].to_pylist(), batch["etag"].to_pylist(), strict=True)), shares)
        tell(sample.population)
    return sample.end()


def _reviews(sample: Sample, draw: Draw, before: Mapping[Image, GoldenRow]) -> Reviews:
    now, rows = datetime.datetime.now(datetime.UTC), []
    for image, weight in zip(sample.images, sample.weights.tolist(), strict=True):
        row = before.get(image) or GoldenRow(uri=image[0], etag=image[1], time=now)
        # For tests: a sample that says what the release misses is no sample to tune it on.
        slices = {**row.slices, SLICE: draw.name}
        rows.append(row.model_copy(update={"weight": weight, "split": "test", "slices": slices, "embedding": None}))
    return Reviews(tuple(rows), tuple(draw.labels))


def _facts(label: LabelDraw) -> LabelDrawFacts:
    images = {part: sum(one.images for one in label.strata if one.part is part) for part in PARTS}
    return LabelDrawFacts(
        strata=len(label.strata),
        passed=images[PARTS[0]],
        flagged=images[PARTS[1]],
        expected=sum(one.images * one.rate for one in label.strata),
        is_calibrated=label.is_calibrated,
    )
