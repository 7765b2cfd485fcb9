from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.calibration import (
    CHANGED,
    Calibration,
    IsotonicCurve,
    LabelCalibration,
    PlattCurve,
    fit_curve,
)
from assay.platform.errors import ReleaseError
from assay.platform.release import Release, bundled_release
from assay.platform.scoring import Scorer

Doubles = np.ndarray[tuple[int], np.dtype[np.float64]]


def drawn(
    seed: int, images: int, prevalence: float = 0.3
) -> tuple[Doubles, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Raw scores that overstate: the truth is the square of the score, but for labels that are rare."""
    rng = np.random.default_rng(seed)
    raw = rng.beta(0.6, 0.6 * (1 - prevalence) / prevalence, images).astype(np.float32).astype(np.float64)
    return raw, rng.random(images) < raw**2


def error(score: Doubles, truth: Doubles, bins: int = 15) -> float:
    """Expected calibration error over bins of equal size."""
    parts = np.array_split(np.argsort(score), bins)
    return float(sum(len(part) * abs(score[part].mean() - truth[part].mean()) for part in parts) / len(score))


@pytest.mark.parametrize(("images", "method"), [(6000, "isotonic"), (400, "platt")])
def test_probabilities_are_learned(images: int, method: str) -> None:
    raw, present = drawn(0, images)
    curve = fit_curve(raw, present, np.ones(images))
    assert not isinstance(curve, str)
    assert curve.method == method
    other, _ = drawn(1, 20_000)
    assert error(curve(other), other**2) < 0.05 < error(other, other**2)


def test_on_composed_pictures_the_error_is_at_most_a_twentieth() -> None:
    """Real scores of the bundled encoder, each label with over 400 positives; half of the pictures teach."""
    data = np.load(Path(__file__).parents[1] / "data" / "composed_scores.npz")
    for column, label in enumerate(data["labels"]):
        known = data["truth"][:, column] >= 0
        raw, present = data["scores"][known, column].astype(np.float64), data["truth"][known, column] == 1
        half = np.random.default_rng(column).random(len(raw)) < 0.5
        curve = fit_curve(raw[half], present[half], np.ones(half.sum()))
        assert not isinstance(curve, str), label
        assert present.sum() >= 400
        assert error(curve(raw[~half]), present[~half]) <= 0.05, label


@settings(derandomize=True, max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([100, 300, 3000]), st.floats(0.05, 0.5))
def test_curves_rise_strictly_and_stay_within_0_and_1(seed: int, images: int, prevalence: float) -> None:
    raw, present = drawn(seed, images, prevalence)
    curve = fit_curve(raw, present, np.random.default_rng(seed).uniform(1, 5, images))
    if isinstance(curve, str):
        return
    score = curve(np.linspace(0.001, 0.999, 999))
    assert (np.diff(score) > 0).all()
    assert score[0] > 0
    assert score[-1] < 1


def test_pools_without_the_label_are_no_proof_of_zero() -> None:
    raw = np.concatenate([np.linspace(0.01, 0.4, 300), np.linspace(0.6, 0.99, 300)])
    curve = fit_curve(raw, raw > 0.5, np.ones(600))
    assert isinstance(curve, IsotonicCurve)
    assert 0 < curve(np.array([0.2]))[0] < 0.01
    assert 0.99 < curve(np.array([0.8]))[0] < 1


def test_integer_weights_are_repeated_images() -> None:
    raw, present = drawn(3, 1500)
    weights = np.random.default_rng(0).integers(1, 4, 1500)
    one = fit_curve(raw, present, weights.astype(np.float64))
    other = fit_curve(np.repeat(raw, weights), np.repeat(present, weights), np.ones(weights.sum()))
    assert isinstance(one, IsotonicCurve)
    assert isinstance(other, IsotonicCurve)
    inside = np.linspace(0.2, 0.8, 50)
    np.testing.assert_allclose(one(inside), other(inside), atol=1e-9)


@pytest.mark.parametrize(
    ("present", "why"),
    [(np.arange(500) < 12, "12 images have it"), (np.arange(500) < 495, "5 have not"), (np.arange(500) < 250, "rank")],
)
def test_too_little_or_useless_data_makes_no_curve(
    present: np.ndarray[tuple[int], np.dtype[np.bool_]], why: str
) -> None:
    curve = fit_curve(np.linspace(0.1, 0.9, 500), present, np.ones(500))
    assert isinstance(curve, str)
    assert why in curve


def test_only_labels_with_a_curve_change_and_parents_stay_above_their_children() -> None:
    release = Release.load(bundled_release())
    scorer = release.raw_scorer()
    wide = np.random.default_rng(0).normal(size=(500, scorer.dim))
    some = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float16)
    calibration = calibrated_like(scorer, {"blades": PlattCurve(slope=0.5, offset=1.0)})
    raw, found = scorer.score(some), scorer.calibrated(calibration).score(some)
    place = {label: column for column, label in enumerate(scorer.labels)}
    changed = {label for label, column in place.items() if (raw.labels[:, column] != found.labels[:, column]).any()}
    assert changed == {"blades", "weapons"}
    assert (found.labels[:, place["weapons"]] >= found.labels[:, place["blades"]]).all()
    raised = found.labels[:, place["weapons"]] > raw.labels[:, place["weapons"]]
    assert (found.concepts[raised, place["weapons"]] == found.concepts[raised, place["blades"]]).all()
    assert (scorer.calibrated(calibration).from_raw(raw.labels) == found.labels).all()


def calibrated_like(scorer: Scorer, curves: dict[str, PlattCurve]) -> Calibration:
    about = {"positives": 30, "negatives": 30, "golden": "g", "bound_to": "b"}
    return Calibration(labels={label: LabelCalibration(curve=curve, **about) for label, curve in curves.items()})


def test_what_no_longer_holds_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    curve = PlattCurve(slope=1, offset=0)
    about = {"curve": curve, "positives": 30, "negatives": 30, "golden": "g"}
    labels = {name: LabelCalibration(**about, bound_to=name) for name in ("kept", "reworded", "gone")}
    whole = Calibration(labels=labels, uncalibrated={"poor": "too little", "left": "too little"})
    found = whole.valid({"kept": "kept", "reworded": "other", "poor": "x"})
    assert set(found.labels) == {"kept"}
    assert found.uncalibrated == {"reworded": CHANGED, "poor": "too little"}
    path = tmp_path_factory.mktemp("calibration") / "calibration.json"
    path.write_text(found.text())
    assert Calibration.read(path) == found
    path.write_text(found.text()[:-20])
    with pytest.raises(ReleaseError, match=r"calibrate the release again"):
        Calibration.read(path)
