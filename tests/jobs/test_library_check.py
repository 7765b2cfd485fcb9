"""Lint with an encoder, with exemplars and with a golden set, on real files."""

from pathlib import Path

import pytest
from PIL import Image

from assay.jobs.library_check import LibraryLintSpec, choose_encoder, lint
from assay.platform.errors import GoldenError, SpecError
from assay.platform.golden import GoldenSet, Truth
from assay.platform.golden_rows import GoldenRow, Reviews
from assay.platform.hash_encoder import COLOURS

COLOURED = """\
assay_library: 1
name: coloured
background: {en: [white, black]}
categories:
  colours:
    labels:
      warm:
        description: No other taxonomy names it
        counter_prompts: {en: [blue, green, cyan]}
        concepts:
          red: {prompts: {en: [red]}, exemplars: {positive: [RED], negative: [CYAN]}}
          yellow: {prompts: {en: [yellow]}}
"""
"""The hash encoder gives a phrase that is a colour's name the vector of a picture in that colour."""


NO_EXEMPLARS = (", exemplars: {positive: [RED], negative: [CYAN]}", "")


@pytest.fixture
def painted(tmp_path: Path) -> dict[str, str]:
    """Uris of one picture of each colour."""
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 64), colour).save(tmp_path / f"{name}.png")
    return {name: (tmp_path / f"{name}.png").as_uri() for name in COLOURS}


def library(folder: Path, painted: dict[str, str], *changes: tuple[str, str]) -> str:
    text = COLOURED
    for written, planted in changes:
        assert written in text
        text = text.replace(written, planted)
    text = text.replace("RED", painted["red"]).replace("CYAN", painted["cyan"])
    (folder / "coloured.yaml").write_text(text, encoding="utf-8")
    return str(folder / "coloured.yaml")


def golden(folder: Path, painted: dict[str, str], present: set[str]) -> Path:
    """Each picture, many times under other names: a golden set has one row per image."""
    rows = []
    for colour in painted:
        for copy in range(12):
            path = folder / f"{colour}-{copy}.png"
            path.write_bytes((folder / f"{colour}.png").read_bytes())
            truth = Truth.PRESENT if colour in present else Truth.ABSENT
            said = {"labels": {"warm": truth}, "reviewer": "Mei", "time": "2026-11-23T12:00:00Z"}
            rows.append(GoldenRow.model_validate({"uri": path.as_uri(), **said}))
    GoldenSet.of(Reviews(tuple(rows))).write(folder / "golden.parquet")
    return folder / "golden.parquet"


def rules(spec: LibraryLintSpec) -> list[tuple[str, str, int]]:
    return [(one.rule, one.subject, one.line) for one in lint(spec).findings]


def test_exemplars_are_fetched_decoded_and_scored(tmp_path: Path, painted: dict[str, str], release_dir: Path) -> None:
    release = str(release_dir)
    assert rules(LibraryLintSpec(library=library(tmp_path, painted), release=release)) == []
    swapped = library(tmp_path, painted, ("[RED], negative: [CYAN]", "[CYAN], negative: [RED]"))
    assert rules(LibraryLintSpec(library=swapped, release=release)) == [("weak-on-exemplars", "red", 11)]
    gone = library(tmp_path, painted, ("CYAN", "file:///nowhere.png"))
    assert rules(LibraryLintSpec(library=gone, release=release)) == [("exemplar-gone", "red", 11)]


def test_a_golden_set_shows_what_words_cannot(tmp_path: Path, painted: dict[str, str], release_dir: Path) -> None:
    here, release = library(tmp_path, painted, NO_EXEMPLARS), str(release_dir)
    right = golden(tmp_path, painted, {"red", "yellow"})
    assert rules(LibraryLintSpec(library=here, release=release, golden=right)) == []
    wrong = golden(tmp_path, painted, {"blue", "green", "cyan"})
    facts = lint(LibraryLintSpec(library=here, release=release, golden=wrong))
    assert {(one.rule, one.subject) for one in facts.findings} == {
        ("weak-on-golden", "red"),
        ("weak-on-golden", "yellow"),
    }
    assert facts.read == ("words", "vectors", "golden pictures")


def test_golden_pictures_that_are_gone_stop_it_or_are_left_out(
    tmp_path: Path, painted: dict[str, str], release_dir: Path
) -> None:
    here, release = library(tmp_path, painted, NO_EXEMPLARS), str(release_dir)
    right = golden(tmp_path, painted, {"red", "yellow"})
    (tmp_path / "red-0.png").unlink()
    spec = LibraryLintSpec(library=here, release=release, golden=right)
    with pytest.raises(GoldenError, match="1 of 96 images of the golden set cannot be had"):
        lint(spec)
    assert rules(spec.model_copy(update={"allow_missing": True})) == []


def test_what_cannot_go_together_is_refused(tmp_path: Path, painted: dict[str, str], release_dir: Path) -> None:
    here, right = library(tmp_path, painted), golden(tmp_path, painted, {"red"})
    with pytest.raises(SpecError, match="a golden set is given and no release"):
        lint(LibraryLintSpec(library=here, golden=right))
    with pytest.raises(SpecError, match="two encoders are named"):
        lint(LibraryLintSpec(library=here, encoder="hash", release=str(release_dir)))
    renamed = library(tmp_path, painted, ("      warm:", "      wahm:"))
    with pytest.raises(GoldenError, match="warm"):
        lint(LibraryLintSpec(library=renamed, release=str(release_dir), golden=right))


def test_drift_needs_an_encoder(tmp_path: Path, painted: dict[str, str]) -> None:
    (tmp_path / "old").mkdir()
    old = library(tmp_path / "old", painted)
    new = library(tmp_path, painted, ("en: [yellow]", "en: [magenta]"))
    assert rules(LibraryLintSpec(library=new, against=old)) == []
    assert ("anchor-moved", "yellow", 12) in rules(LibraryLintSpec(library=new, against=old, encoder="hash"))


def test_an_encoder_by_name_or_none() -> None:
    assert choose_encoder(LibraryLintSpec(library="starter")) == (None, None)
    _, encoder = choose_encoder(LibraryLintSpec(library="starter", encoder="hash"))
    assert encoder is not None
    assert encoder.dim == 64
