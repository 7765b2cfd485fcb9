import pytest

from assay.platform.errors import LibraryError
from assay.platform.library_text import Kind, LibraryText, broken
from tests.platform.clean_library import CLEAN

TEXT = LibraryText.read(CLEAN)


def test_every_phrase_that_is_scored_has_its_line() -> None:
    lines = CLEAN.split("\n")
    assert len(TEXT.wordings) == 33
    assert all(row.text in lines[row.line - 1] for row in TEXT.wordings)
    assert {row.owner for row in TEXT.wordings if row.kind is Kind.PROMPT} == {"crossbow", "pistol", "rifle", "beer"}


def test_ids_have_their_lines() -> None:
    assert [TEXT.line(key) for key in ("violence", "firearms", "musket")] == [5, 14, 23]
    assert TEXT.line("firearms", "parent") == 16
    assert TEXT.line("firearms", "owner") == 14  # not written: the nearest thing around it
    assert [key for key, _ in TEXT.above("firearms")] == ["weapons"]


def test_a_broken_library_is_findings_or_an_error() -> None:
    text = CLEAN.replace("parent: weapons", "parent: weapns")
    (found,) = broken(text)
    assert (found.rule, found.line) == ("broken", 16)
    assert found.what == "label 'firearms' has an unknown parent 'weapns'; did you mean 'weapons'?"
    with pytest.raises(LibraryError, match="1 problem"):
        LibraryText.read(text)
    assert broken(CLEAN) == []
