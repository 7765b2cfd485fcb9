"""Concepts against pictures of known truth: vectors of the words themselves stand for pictures here."""

import numpy as np
import pytest

from assay.platform.finding import Finding
from assay.platform.hash_encoder import HashEncoder, HashSpec
from assay.platform.library_text import LibraryText
from assay.platform.picture_lint import Pictures, lint_exemplars, lint_golden
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.scoring import Scorer
from tests.platform.clean_library import CLEAN

ENCODER = HashEncoder(HashSpec(), "0" * 64)


def scorer_of(text: LibraryText) -> Scorer:
    return Scorer(text.library, PromptVectors.compile(text.library, ENCODER), 20.0)


def pictures(*phrases: str) -> Pictures:
    """One picture per phrase, each seen in two views: the phrase, and a tree."""
    views = [view for phrase in phrases for view in (phrase, "a tree")]
    return Pictures(ENCODER.encode_texts(views).astype(np.float16), np.arange(0, len(views), 2))


def golden(text: LibraryText, present: dict[str, int], order: int = 1) -> list[Finding]:
    """Findings on a golden set with so many pictures of each phrase: those of firearms have their label present."""
    scorer = scorer_of(text)
    phrases = [phrase for phrase, count in present.items() for _ in range(count)]
    truth = np.full((len(phrases), len(scorer.labels)), -1, np.int8)
    for row, phrase in enumerate(phrases):
        is_gun = any(word in phrase for word in ("pistol", "revolver", "rifle"))
        truth[row, scorer.labels.index("firearms")] = is_gun if order == 1 else not is_gun
    return list(lint_golden(text, scorer, pictures(*phrases), truth))


SEEN = {"a pistol": 12, "a revolver": 12, "a rifle": 12, "a street": 12, "a hair dryer": 12}


def test_a_clean_library_finds_its_own() -> None:
    found = golden(LibraryText.read(CLEAN), SEEN)
    # The pictures are the English phrases: Chinese has one prompt a concept, so none of them can be dead.
    assert found == []


def test_concepts_that_order_the_golden_set_the_wrong_way_round() -> None:
    found = golden(LibraryText.read(CLEAN), SEEN, order=-1)
    assert {(one.rule, one.subject) for one in found} >= {("weak-on-golden", "pistol"), ("weak-on-golden", "rifle")}
    assert "ROC-AUC 0.0" in found[0].what
    assert "24 pictures of label 'firearms' against 36" in found[0].what


def test_a_prompt_that_no_picture_is_nearest_to() -> None:
    found = golden(LibraryText.read(CLEAN), {"a pistol": 20, "a rifle": 12, "a street": 12})
    assert [(one.rule, one.line) for one in found] == [("dead-prompt", 21)]
    assert found[0].what == "prompt 'a revolver' of concept 'pistol' is the nearest on none of 20 pictures"


def test_too_few_pictures_say_nothing() -> None:
    assert golden(LibraryText.read(CLEAN), dict.fromkeys(SEEN, 3), order=-1) == []


EXEMPLARS = (
    CLEAN.replace("rifle: {", "rifle: {exemplars: {positive: [g1, g2], negative: [n1]}, ")
    .replace("beer: {", "beer: {exemplars: [b1], ")
    .replace("crossbow: {", "crossbow: {exemplars: [c1], ")
)


@pytest.mark.parametrize(
    ("shown", "weak"),
    [
        ({"g1": "a rifle", "g2": "a rifle", "n1": "a street", "b1": "a glass of beer"}, set()),
        ({"g1": "a street", "g2": "a street", "n1": "a rifle", "b1": "a glass of beer"}, {"rifle"}),
        ({"g1": "a rifle", "g2": "a rifle", "n1": "a street", "b1": "a rifle"}, {"rifle", "beer"}),
        ({"g1": "a street", "n1": "a rifle"}, {"rifle"}),  # what cannot be had is left out
        ({"g1": "a street", "g2": "a street", "c1": "a rifle"}, set()),  # a relative is no counter-example
    ],
)
def test_exemplars(shown: dict[str, str], weak: set[str]) -> None:
    text = LibraryText.read(EXEMPLARS)
    found = list(lint_exemplars(text, scorer_of(text), pictures(*shown.values()), list(shown)))
    assert {one.subject for one in found} == weak
    assert {one.rule for one in found} <= {"weak-on-exemplars"}
