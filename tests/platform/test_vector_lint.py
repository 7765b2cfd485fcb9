from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pytest

from assay.platform.finding import Finding
from assay.platform.hash_encoder import HashEncoder, HashSpec
from assay.platform.library import SemanticLibrary
from assay.platform.library_text import LibraryText
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.vector_lint import anchors_of, lint_drift, lint_vectors
from tests.platform.clean_library import CLEAN


class Painter(HashEncoder):
    """A hash encoder that takes some phrases for others."""

    def __init__(self, same: dict[str, str] | None = None) -> None:
        super().__init__(HashSpec(), "0" * 64)
        self.same = same or {}

    def encode_texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        return super().encode_texts([self.same.get(text, text) for text in texts])


def lint(source: str, same: dict[str, str] | None = None) -> list[Finding]:
    text, encoder = LibraryText.read(source), Painter(same)
    return list(lint_vectors(text, PromptVectors.compile(text.library, encoder), encoder))


def told(found: Iterable[Finding]) -> set[tuple[str, str, int]]:
    return {(one.rule, one.subject, one.line) for one in found}


BAT = CLEAN.replace("a broom]", "a baseball bat]")
SENSES = {"a baseball bat": "red", "a wooden baseball bat": "red", "a bat animal flying at night": "green"}


def test_a_clean_library_is_clean_to_an_encoder_that_reads() -> None:
    assert lint(CLEAN) == []
    assert lint(BAT, SENSES) == []


@pytest.mark.parametrize(
    ("source", "same", "expected"),
    [
        (CLEAN, {"a pistol": "red", "a revolver": "red"}, ("redundant-prompt", "pistol", 21)),
        (CLEAN, {"a glass of beer": "a rifle"}, ("sibling-collision", "rifle", 22)),
        (CLEAN, {"a cordless drill": "a rifle"}, ("near-counter", "rifle", 19)),
        (BAT, SENSES | {"a baseball bat": "green"}, ("homonym-undecided", "weapons", 11)),
        (BAT, SENSES | {"a baseball bat": "a rabbit"}, None),
    ],
)
def test_a_planted_defect(source: str, same: dict[str, str], expected: tuple[str, str, int] | None) -> None:
    found = told(lint(source, same))
    if expected is not None:
        assert found == {expected}
    else:  # near to neither meaning: whatever it is, it is not decided by a margin
        assert all(rule == "homonym-undecided" for rule, _, _ in found)


def test_relatives_do_not_collide() -> None:
    assert lint(CLEAN, {"a crossbow": "a rifle"}) == []  # weapons takes the score of firearms in any case


def test_a_concept_that_moved_is_told() -> None:
    encoder = Painter()
    text = LibraryText.read(CLEAN.replace("[a rifle]", "[an air gun]"))
    older = PromptVectors.compile(SemanticLibrary.load(CLEAN), encoder)
    found = list(lint_drift(text, PromptVectors.compile(text.library, encoder), older))
    assert told(found) == {("anchor-moved", "rifle", 22)}
    assert "concept 'rifle' (en) moved: cosine 0." in found[0].what
    same = LibraryText.read(CLEAN)
    assert list(lint_drift(same, older, older)) == []


def test_anchors_are_unit_means_of_one_language() -> None:
    vectors = PromptVectors.compile(SemanticLibrary.load(CLEAN), Painter())
    anchors = anchors_of(vectors)
    assert set(anchors) == {
        (one, language) for one in ("beer", "crossbow", "pistol", "rifle") for language in ("en", "zh")
    }
    pistol, revolver = Painter().encode_texts(["a pistol", "a revolver"]).astype(np.float64)
    mean = (pistol + revolver) / np.linalg.norm(pistol + revolver)
    np.testing.assert_allclose(anchors["pistol", "en"], mean, atol=1e-6)
