import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.errors import PolicyError
from assay.platform.library import SemanticLibrary
from assay.platform.policy import ACTIONS, Action, Policy
from assay.platform.promise import LabelPoints, OperatingPoint, Target
from assay.platform.release import bundled_release

TEXT = """\
assay_policy: 1
name: mine
default: {review: 0.8}
labels:
  weapons: {review: {recall: 0.9, otherwise: 0.5}, block: {precision: 0.95}}
  alcohol: {block: 0.7}
"""
LABELS = ["alcohol", "money", "weapons"]
LIBRARY = SemanticLibrary.load(bundled_release() / "library.yaml")


def point(threshold: float, **target: float) -> OperatingPoint:
    about = {"estimate": 0.97, "bound": 0.95, "images": 900, "positives": 300, "flagged": 200}
    return OperatingPoint(threshold=threshold, target=Target(**target), **about, golden="g", bound_to="b")


POINTS = {"weapons": LabelPoints(review=point(0.3, recall=0.9), block=point(0.6, precision=0.95))}


def actions(scores: list[float], points: dict[str, LabelPoints] | None = None, text: str = TEXT) -> list[Action]:
    ranks = Policy.load(text, LIBRARY).decide(np.array([scores], np.float32), LABELS, points)
    return [ACTIONS[rank] for rank in ranks[0]]


def test_thresholds_are_reached_at_equality() -> None:
    assert actions([0.7, 0.8, 0.6], POINTS) == ["review", "review", "block"]
    assert actions([0.69, 0.79, 0.59], POINTS) == ["pass", "pass", "review"]
    assert actions([0.0, 0.0, 0.29], POINTS) == ["pass", "pass", "pass"]


def test_without_an_operating_point_nothing_is_blocked() -> None:
    assert actions([1.0, 1.0, 1.0]) == ["review", "review", "review"]
    assert actions([0.0, 0.0, 0.5]) == ["pass", "pass", "review"]
    assert actions([0.0, 0.0, 0.49]) == ["pass", "pass", "pass"]
    only_block = {"weapons": LabelPoints(block=POINTS["weapons"].block)}
    assert actions([0.0, 0.0, 0.5], only_block) == ["pass", "pass", "review"]
    assert actions([0.0, 0.0, 0.6], only_block) == ["pass", "pass", "block"]


def test_a_point_that_keeps_another_promise_counts_for_nothing() -> None:
    stricter = TEXT.replace("precision: 0.95", "precision: 0.99")
    assert actions([0.0, 0.0, 0.9], POINTS, stricter) == ["pass", "pass", "review"]
    patient = TEXT.replace("otherwise: 0.5", "otherwise: 0.9")
    assert actions([0.0, 0.0, 0.3], POINTS, patient) == ["pass", "pass", "review"], "what held before it is no promise"


def test_a_score_that_is_no_number_is_never_passed() -> None:
    assert actions([float("nan")] * 3, POINTS).count(Action.PASS) == 0


def test_labels_without_a_rule_are_not_judged() -> None:
    policy = Policy.load(TEXT.replace("default: {review: 0.8}\n", ""), LIBRARY)
    assert policy.decide(np.ones((1, 3), np.float32), LABELS, POINTS).tolist() == [[1, 0, 2]]


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6))
def test_a_higher_score_never_has_a_milder_action(values: list[float]) -> None:
    low = np.array(values[:3], np.float32)
    high = np.maximum(low, np.array(values[3:], np.float32))
    ranks = Policy.load(TEXT).decide(np.stack([low, high]), LABELS, POINTS)
    assert (ranks[1] >= ranks[0]).all()


@settings(derandomize=True, max_examples=50)
@given(st.floats(0.01, 1), st.floats(0.01, 1), st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_raising_a_threshold_never_flags_more(one: float, other: float, values: list[float]) -> None:
    low, high = sorted((one, other))
    found = [
        Policy.load(TEXT).decide(
            np.array([values], np.float32),
            LABELS,
            {"weapons": LabelPoints(review=point(at, recall=0.9), block=point(at, precision=0.95))},
        )
        for at in (low, high)
    ]
    assert (found[1] <= found[0]).all()


def test_targets_are_what_calibration_has_to_find() -> None:
    wanted = Policy.load(TEXT, LIBRARY).targets(LABELS)
    assert wanted == {"weapons": {"review": Target(recall=0.9, otherwise=0.5), "block": Target(precision=0.95)}}


def test_errors_name_lines_and_the_nearest_label() -> None:
    text = TEXT.replace("weapons:", "wepons:").replace("block: 0.7", "block: 1.7, review: 0") + "on_flaut: pass\n"
    with pytest.raises(PolicyError) as caught:
        Policy.load(text, LIBRARY)
    assert str(caught.value) == (
        "<text> does not hold together: 4 problems\n"
        "  where: <text>:5\n"
        "  why: line 5: library 'starter' has no active label 'wepons'; did you mean 'weapons'?\n"
        "       line 6: labels.alcohol.block.threshold: input should be less than or equal to 1, not 1.7\n"
        "       line 6: labels.alcohol.review.threshold: input should be greater than 0, not 0\n"
        "       line 7: unknown key 'on_flaut' in the document; did you mean 'on_fault'?\n"
        "  fix: mend the lines named, then load the policy again"
    )


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("{precision: 0.9, recall: 0.9}", "a target needs one of precision, recall and reviews_per_day"),
        ("{reviews_per_day: 100}", "reviews_per_day and images_per_day go together"),
        ("{precison: 0.9}", "did you mean 'precision'?"),
        ("{precision: 1.0}", "input should be less than 1, not 1.0"),
        ("often", "input should be a valid number, unable to parse string as a number, not 'often'"),
    ],
)
def test_promises_that_mean_nothing(wanted: str, why: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Policy.load(TEXT.replace("{block: 0.7}", f"{{review: {wanted}}}"), LIBRARY)
    assert "line 6" in caught.value.why
    assert why in caught.value.why


def test_a_retired_label_is_called_so() -> None:
    library = SemanticLibrary.load(
        (bundled_release() / "library.yaml")
        .read_text()
        .replace("      alcohol:\n", "      alcohol:\n        status: retired\n")
    )
    with pytest.raises(PolicyError) as caught:
        Policy.load(TEXT, library)
    assert caught.value.why == "line 6: label 'alcohol' is retired in library 'starter': it is not scored"


def test_review_above_block() -> None:
    with pytest.raises(PolicyError, match=r"does not hold") as caught:
        Policy.load(TEXT.replace("{block: 0.7}", "{review: 0.95, block: 0.9}"))
    assert caught.value.why == "line 6: labels.alcohol: review (0.95) is above block (0.9)"
    with pytest.raises(PolicyError) as caught:
        Policy.load(TEXT.replace("{block: 0.7}", "{}"))
    assert caught.value.why == "line 6: labels.alcohol: a rule needs review, block or both"


def test_digest_ignores_layout() -> None:
    assert Policy.load(TEXT).digest == Policy.load("# why\n" + TEXT.replace("0.5", "0.50")).digest
    assert Policy.load(TEXT).digest != Policy.load(TEXT.replace("0.5", "0.51")).digest


@pytest.mark.parametrize("name", ["strict", "lenient"])
def test_samples(name: str) -> None:
    policy = Policy.load(bundled_release() / "policies" / f"{name}.yaml", LIBRARY)
    assert policy.name == name
    assert policy.targets(tuple(LIBRARY.labels)), "the samples show promises"


def test_two_tenants_with_opposite_standards_are_one_library_and_two_policies() -> None:
    """As `infra/docs/policies.md` shows it: the same scores, and nobody's threshold is the other's."""
    school = "assay_policy: 1\nname: school\nlabels: {weapons: {review: 0.2}, alcohol: {review: 0.3}}\n"
    hunters = "assay_policy: 1\nname: hunters\nlabels: {weapons: {review: 0.99}, money: {review: 0.6}}\n"
    scores = [0.5, 0.7, 0.5]
    assert actions(scores, text=school) == ["review", "pass", "review"]
    assert actions(scores, text=hunters) == ["pass", "review", "pass"]
