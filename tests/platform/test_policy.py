import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.errors import PolicyError
from assay.platform.library import SemanticLibrary
from assay.platform.policy import ACTIONS, Action, Policy
from assay.platform.release import bundled_release

TEXT = """\
assay_policy: 1
name: mine
default: {review: 0.8}
labels:
  weapons: {review: 0.5, block: 0.9}
  alcohol: {block: 0.7}
"""
LABELS = ["alcohol", "money", "weapons"]
LIBRARY = SemanticLibrary.load(bundled_release() / "library.yaml")


def actions(scores: list[float]) -> list[Action]:
    ranks = Policy.load(TEXT, LIBRARY).decide(np.array([scores], np.float32), LABELS)
    return [ACTIONS[rank] for rank in ranks[0]]


def test_thresholds_are_reached_at_equality() -> None:
    assert actions([0.7, 0.8, 0.9]) == ["block", "review", "block"]
    assert actions([0.69, 0.79, 0.89]) == ["pass", "pass", "review"]
    assert actions([0.0, 0.0, 0.5]) == ["pass", "pass", "review"]


def test_a_score_that_is_no_number_is_never_passed() -> None:
    assert actions([float("nan")] * 3).count(Action.PASS) == 0


def test_labels_without_a_rule_are_not_judged() -> None:
    policy = Policy.load(TEXT.replace("default: {review: 0.8}\n", ""), LIBRARY)
    assert policy.decide(np.ones((1, 3), np.float32), LABELS).tolist() == [[2, 0, 2]]


@settings(derandomize=True, max_examples=50)
@given(st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6))
def test_a_higher_score_never_has_a_milder_action(values: list[float]) -> None:
    low = np.array(values[:3], np.float32)
    high = np.maximum(low, np.array(values[3:], np.float32))
    ranks = Policy.load(TEXT).decide(np.stack([low, high]), LABELS)
    assert (ranks[1] >= ranks[0]).all()


def test_errors_name_lines_and_the_nearest_label() -> None:
    text = TEXT.replace("weapons:", "wepons:").replace("block: 0.7", "block: 1.7, review: 0") + "on_flaut: pass\n"
    with pytest.raises(PolicyError) as caught:
        Policy.load(text, LIBRARY)
    assert str(caught.value) == (
        "<text> does not hold together: 4 problems\n"
        "  where: <text>:5\n"
        "  why: line 5: library 'starter' has no active label 'wepons'; did you mean 'weapons'?\n"
        "       line 6: labels.alcohol.block: input should be less than or equal to 1, not 1.7\n"
        "       line 6: labels.alcohol.review: input should be greater than 0, not 0\n"
        "       line 7: unknown key 'on_flaut' in the document; did you mean 'on_fault'?\n"
        "  fix: mend the lines named, then load the policy again"
    )


def test_review_above_block() -> None:
    with pytest.raises(PolicyError, match=r"does not hold") as caught:
        Policy.load(TEXT.replace("review: 0.5", "review: 0.95"))
    assert caught.value.why == "line 5: labels.weapons: review (0.95) is above block (0.9)"
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
    assert policy.basis == "hand-set"
