"""Calibrating a release: from confirmed truth to probabilities, and to thresholds that keep what its policies promise.

Knows the order of things and what is told of it. Does not know how a curve is fitted (`calibration.py`), how a
threshold is found (`operating_point.py`), nor where embeddings come from (`golden_embeddings.py`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.golden_embeddings import GoldenEmbeddings, Progress, embed_golden, no_progress
from assay.jobs.recorded import RecordChoice, RecordedFacts, recorded, refuse_unrecordable
from assay.jobs.release_choice import RegistryChoice, choose_release, origins_of
from assay.jobs.run_summary import summary_of_calibration
from assay.platform.calibration import Calibration, LabelCalibration, fit_curve
from assay.platform.errors import SpecError
from assay.platform.golden import GoldenSet
from assay.platform.operating_point import Evidence, choose
from assay.platform.policy import Policy
from assay.platform.promise import LabelPoints, OperatingPoint, OperatingPoints, Target
from assay.platform.release import Release
from assay.platform.release_build import add_measured
from assay.platform.scoring import Scorer, over_views
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.registry.place import RegistrySpec

SPLIT = "calibrate"
"""Rows of a golden set that are learned from; the others are left to `assay evaluate`."""


class CalibrateSpec(Spec):
    """What is calibrated, with which truth."""

    out: Path = Field(kw_only=False, description="where the calibrated release is written")
    release: str = Field("starter", description="the release: a directory, models:/…, or starter")
    golden: str = Field(description="golden set, Parquet: images with confirmed truth")
    store: str | None = Field(None, description="a store that has observed these images; unset: they are read again")
    slices: tuple[str, ...] = Field((), description="slices in each of which every promise must hold by itself")
    allow_missing: bool = Field(False, description="go on without images that are gone or broken")
    storage: StorageSpec = Field(StorageSpec(), description="object storage of images and store")
    registry: RegistryChoice = RegistrySpec()
    record: RecordChoice = False


class PromiseFacts(BaseModel):
    """One promise that a policy asks for, and what came of it."""

    model_config = ConfigDict(frozen=True)

    policy: str
    label: str
    action: str
    promise: str
    threshold: float | None
    bound: float | None
    """What is certain of the share promised."""
    flagged: int
    positives: int
    why_not: str = ""


class CalibrateFacts(RecordedFacts, frozen=True):
    """What was learned."""

    release: str
    directory: str
    images: int
    missing: int
    calibrated: dict[str, str]
    """The kind of curve, by label."""
    uncalibrated: dict[str, str]
    """Why not, by label."""
    promises: tuple[PromiseFacts, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """Golden images that were seen: raw scores[n, labels], truth[n, labels] (1, 0, or -1), weights and slices."""

    raw: npt.NDArray[np.float32]
    truth: npt.NDArray[np.int8]
    weights: npt.NDArray[np.float64]
    slices: Mapping[str, npt.NDArray[np.str_]]

    def evidence(self, scores: npt.NDArray[np.float32], column: int) -> tuple[Evidence, npt.NDArray[np.bool_]]:
        """What is known of one label, and of which images."""
        known = self.truth[:, column] >= 0
        present = self.truth[known, column] == 1
        return Evidence(scores[known, column].astype(np.float64), present, self.weights[known]), known


def calibrate(spec: CalibrateSpec, progress: Progress = no_progress) -> CalibrateFacts:
    """Fit each label's curve, find each policy's thresholds, and write the release again with both.

    Raises:
        SpecError: the golden set cannot be read, does not fit the release, or lacks images.
    """
    refuse_unrecordable(spec)
    chosen = choose_release(spec.release, spec.registry)
    release = chosen.release
    scorer = release.raw_scorer()
    golden = GoldenSet.read(spec.golden, scorer.labels).only(SPLIT)
    seen = embed_golden(golden, release, Storage(spec.storage), spec.store, progress)
    if not spec.allow_missing:
        seen.refuse_missing()
    truth = gather_truth(golden, seen, scorer, spec.slices, spec.golden)
    calibration = fit_calibration(truth, scorer, release, golden.digest)
    points = find_points(truth, scorer.calibrated(calibration), release, calibration, golden.digest)
    made = add_measured(release, spec.out, calibration, points)
    facts = CalibrateFacts(
        release=made.id,
        directory=str(spec.out),
        images=len(truth.raw),
        missing=len(seen.missing),
        calibrated={label: one.curve.method for label, one in calibration.labels.items()},
        uncalibrated=calibration.uncalibrated,
        promises=tuple(_facts(made, points)),
        origins=origins_of(release=chosen),
    )
    return recorded(facts, spec, lambda: summary_of_calibration(facts, spec, (release, made), golden.digest))


def gather_truth(
    golden: GoldenSet, seen: GoldenEmbeddings, scorer: Scorer, slices: tuple[str, ...], where: str
) -> Truth:
    """Raw scores beside the truth, for the images that were seen."""
    rows = seen.seen
    known = golden.slices()
    unknown = sorted(set(slices) - set(known))
    if unknown:
        why = f"its slices are: {', '.join(sorted(known)) or 'none'}"
        raise SpecError(f"no slice {unknown[0]!r} in the golden set", where=where, why=why, fix="name one of these")
    raw, _ = over_views(scorer.score(seen.embeddings).labels, seen.starts[rows])
    truth = golden.truth(scorer.labels)[rows]
    return Truth(raw, truth, golden.weights[rows], {name: known[name][rows] for name in slices})


def fit_calibration(truth: Truth, scorer: Scorer, release: Release, golden: str) -> Calibration:
    """Every label's curve, or why it has none."""
    labels: dict[str, LabelCalibration] = {}
    uncalibrated: dict[str, str] = {}
    bindings = release.bindings()
    for column, label in enumerate(scorer.labels):
        known, _ = truth.evidence(truth.raw, column)
        curve = fit_curve(known.scores, known.present, known.weights)
        positives = int(known.present.sum())
        if isinstance(curve, str):
            uncalibrated[label] = curve
            continue
        labels[label] = LabelCalibration(
            curve=curve,
            positives=positives,
            negatives=len(known.present) - positives,
            golden=golden,
            bound_to=bindings[label],
        )
    return Calibration(labels=labels, uncalibrated=uncalibrated)


def find_points(
    truth: Truth, scorer: Scorer, release: Release, calibration: Calibration, golden: str
) -> OperatingPoints:
    """Every policy's operating points."""
    scores = scorer.from_raw(truth.raw)
    bound = calibration.point_bindings(release.bindings(), release.library())
    found: dict[str, dict[str, LabelPoints]] = {}
    for policy in policies_of(release):
        found[policy.name] = {
            label: _label_points(truth, scores, scorer.labels.index(label), targets, (golden, bound[label]))
            for label, targets in policy.targets(scorer.labels).items()
        }
    return OperatingPoints(policies=found)


def policies_of(release: Release) -> list[Policy]:
    """All policies of a release."""
    return [release.policy(name) for name in release.manifest.policies]


def _label_points(
    truth: Truth, scores: npt.NDArray[np.float32], column: int, targets: Mapping[str, Target], made_of: tuple[str, str]
) -> LabelPoints:
    evidence, known = truth.evidence(scores, column)
    slices = dict(_slices(truth, known))
    golden, bound_to = made_of
    said: dict[str, OperatingPoint | str] = {}
    for action, target in targets.items():
        choice = choose(evidence, target, slices)
        if isinstance(choice, str):
            said[f"why_no_{action}"] = choice
            continue
        said[action] = OperatingPoint(
            threshold=choice.threshold,
            target=target,
            estimate=choice.estimate,
            bound=choice.bound,
            images=len(evidence.scores),
            positives=int(evidence.present.sum()),
            flagged=choice.flagged,
            slices=tuple(slices),
            golden=golden,
            bound_to=bound_to,
        )
    return LabelPoints.model_validate(said)


def _slices(truth: Truth, known: npt.NDArray[np.bool_]) -> Iterator[tuple[str, npt.NDArray[np.bool_]]]:
    for name, values in truth.slices.items():
        for value in sorted(set(values[known]) - {""}):
            yield f"{name}={value}", values[known] == value


def _facts(release: Release, points: OperatingPoints) -> Iterator[PromiseFacts]:
    for policy in policies_of(release):
        for label, targets in policy.targets(tuple(release.library().labels)).items():
            held = points.of(policy.name)[label]
            for action, target in targets.items():
                point: OperatingPoint | None = getattr(held, action)
                yield PromiseFacts(
                    policy=policy.name,
                    label=label,
                    action=action,
                    promise=str(target),
                    threshold=point.threshold if point else None,
                    bound=point.bound if point else None,
                    flagged=point.flagged if point else 0,
                    positives=point.positives if point else 0,
                    why_not=getattr(held, f"why_no_{action}"),
                )
