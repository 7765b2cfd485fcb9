"""A store of verdicts on images that exist by name only, with known truth: scores of `weapons` are probabilities, those
of `gambling` only rank. What a golden set asks for can be filled in from it.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.special import expit

from assay.jobs.datafile import write_verdicts
from assay.jobs.release_copy import keep_release
from assay.jobs.store import Store
from assay.platform.calibration import Calibration, LabelCalibration, PlattCurve
from assay.platform.encoder import EncoderSpec
from assay.platform.golden import GoldenSet
from assay.platform.golden_file import bytes_of, read_reviews
from assay.platform.golden_rows import Reviews, Truth
from assay.platform.promise import OperatingPoints
from assay.platform.release import Release, bundled_release
from assay.platform.release_build import ReleaseSpec, add_measured, build_release
from assay.platform.rows import VERDICTS
from assay.platform.storage import Storage
from tests.store_doubles import data_file, new_store, refs_of

LABELS = ("weapons", "gambling")
PER_SHARD = 4_000
POLICY = """\
assay_policy: 1
name: tavern
labels:
  weapons: {review: 0.3}
  gambling: {review: 0.7}
"""


def tavern(folder: Path) -> Release:
    """A release around the hash encoder, of which only the label `weapons` is calibrated."""
    folder.mkdir()
    (folder / "tavern.yaml").write_text(POLICY)
    parts = {"library": bundled_release() / "library.yaml", "policies": (folder / "tavern.yaml",)}
    build_release(
        folder / "plain", ReleaseSpec.model_validate({"name": "tavern", "encoder": EncoderSpec(model="hash"), **parts})
    )
    plain = Release.load(folder / "plain")
    weapons = LabelCalibration(
        curve=PlattCurve(slope=1, offset=0),
        positives=50,
        negatives=50,
        golden="g",
        bound_to=plain.bindings()["weapons"],
    )
    return add_measured(plain, folder / "release", Calibration(labels={"weapons": weapons}), OperatingPoints())


@dataclass
class JudgedStore:
    """The store at `place`; `truth` of each image by uri, for each of `LABELS`."""

    place: Path
    release: Release
    seed: int = 0
    truth: dict[str, tuple[bool, bool]] = field(default_factory=dict)
    shards: int = 0

    @property
    def store(self) -> Store:
        return Store.open(Storage(), str(self.place))

    def uris(self, shard: int) -> list[str]:
        return [uri for uri in self.truth if uri.startswith(f"s3://b/{shard}/")]

    def add_shard(self, release: str | None = None) -> None:
        """Judge `PER_SHARD` more images; the last ten of them are faults."""
        rng, number = np.random.default_rng([self.seed, self.shards]), self.shards
        refs = refs_of(PER_SHARD, f"s3://b/{number}/")
        logits = rng.normal(-5, 1.5, (PER_SHARD, 2))
        true = rng.random((PER_SHARD, 2)) < expit(logits)
        scores = np.stack([expit(logits[:, 0]), expit(logits[:, 1] / 3 + 1)], axis=1).astype(np.float32)
        self.truth |= {ref.uri: (bool(a), bool(b)) for ref, (a, b) in zip(refs, true.tolist(), strict=True)}
        outcomes = ["ok"] * (PER_SHARD - 10) + ["CORRUPT"] * 10
        store, partition = self.store, {"release": release or self.release.id, "policy": "tavern"}
        columns = {
            "shard": pa.array([number] * PER_SHARD),
            "uri": [ref.uri for ref in refs],
            "etag": [ref.etag for ref in refs],
            "outcome": outcomes,
            "action": np.where((scores >= np.array([0.3, 0.7], np.float32)).any(axis=1), "review", "pass").tolist(),
            "findings": [None] * PER_SHARD,
            "scores": _maps(scores, outcomes),
            "release": [partition["release"]] * PER_SHARD,
            "policy": ["tavern"] * PER_SHARD,
        }
        file = write_verdicts(store.storage, store.uri, number, pa.table(columns, schema=VERDICTS))
        store.verdicts.commit([data_file(file, PER_SHARD, [number], partition)])
        self.shards += 1

    def fill_in(self, golden: Path, filled: Path, labels: Sequence[str] = LABELS) -> GoldenSet:
        """A golden set with the truth filled in for `labels`."""
        reviews, now = read_reviews(golden), datetime.datetime.now(datetime.UTC)
        rows = []
        for row in reviews.rows:
            here = zip(LABELS, self.truth[row.uri], strict=True)
            said = {label: Truth.PRESENT if has else Truth.ABSENT for label, has in here if label in labels}
            rows.append(row.model_copy(update={"labels": said, "reviewer": "ana", "time": now}))
        golden_set = GoldenSet.of(Reviews(tuple(rows), reviews.asked))
        filled.write_bytes(bytes_of(golden_set.table))
        return golden_set


def _maps(scores: npt.NDArray[np.float32], outcomes: Sequence[str]) -> list[list[tuple[str, float]] | None]:
    return [
        list(zip(LABELS, row, strict=True)) if outcome == "ok" else None
        for row, outcome in zip(scores.tolist(), outcomes, strict=True)
    ]


def judged_by(release: Release, place: Path, shards: int = 2, seed: int = 0) -> JudgedStore:
    """A store of `shards` shards."""
    store = new_store(Storage(), place)
    keep_release(store, release)
    store.write_run("run-1", {"run": "run-1", "release": release.id, "policy": "tavern"})
    found = JudgedStore(place, release, seed)
    for _ in range(shards):
        found.add_shard()
    return found
