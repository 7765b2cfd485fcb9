"""`assay prevalence` as people type it, from a real store of pictures to a table, and after something was forgotten."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from assay.jobs import prevalence, priority_sample
from assay.jobs.cli import main
from assay.platform.golden import GoldenSet
from tests.golden_store import COPIES, PICTURES, judged

READABLE = PICTURES + COPIES
LABELS = ["--labels", "weapons", "--labels", "gambling"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, release_dir: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return judged(tmp_path_factory.mktemp("prevalence"), release_dir, patch)


@pytest.fixture
def same_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images' own numbers by their names alone: not by where this run's folder lies, which would draw others each time,
    and now and then the one nobody is sure of for the other label only."""
    number = priority_sample.draw

    def by_name(seed: int, images: Sequence[priority_sample.Image]) -> priority_sample.Doubles:
        return number(seed, [(Path(uri).name, "") for uri, _ in images])

    for module in (priority_sample, prevalence):
        monkeypatch.setattr(module, "draw", by_name)


def fill_in(file: Path) -> None:
    """Every other picture has weapons, none is gambling; of one nobody is sure."""
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    for number, row in enumerate(rows):
        row |= {"label=weapons": "absent" if number % 2 else "present", "label=gambling": "absent"}
    rows[0]["label=weapons"] = "unsure"
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_from_a_store_to_figures(
    store: Path, same_draw: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn, sheet, filled = tmp_path / "drawn.parquet", tmp_path / "sheet.csv", tmp_path / "filled.parquet"
    assert main(["prevalence", "sample", str(store), str(drawn), "--images", "30", *LABELS]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"30 images of {READABLE}" in out
    assert "only a ranking" in out
    assert main(["golden", "export", str(drawn), str(sheet)]) == 0
    fill_in(sheet)
    assert main(["golden", "import", str(sheet), str(filled), "--reviewer", "ana"]) == 0
    capsys.readouterr()

    typed = ["prevalence", "estimate", str(store), "--golden", str(filled)]
    assert main(typed) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"{READABLE} images, as strict of" in out
    assert "95% intervals" in out
    assert "weapons" in out
    assert "only the order of scores was used: gambling, weapons" in out
    assert main([*typed, "--json", "--no-halving"]) == 0
    facts = json.loads(capsys.readouterr().out)
    weapons = facts["labels"]["weapons"]
    assert (facts["population"], weapons["unsure"], weapons["more_answers_to_halve"]) == (READABLE, 1, None)
    assert 8 <= weapons["total"]["low"] <= READABLE / 2 <= weapons["total"]["high"] <= 38
    assert facts["labels"]["gambling"]["total"]["low"] == 0

    gone = GoldenSet.read(filled).uris[0]
    assert main(["forget", gone, "--store", str(store), "--json"]) == 0
    out_of_reach = json.loads(capsys.readouterr().out)["reports_out_of_reach"]
    assert out_of_reach == []
    assert not drawn.exists()
    assert main([*typed, "--json", "--no-halving"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["population"], facts["drawn_from"], facts["gone"]) == (READABLE - 1, READABLE, 1)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["sample", "STORE", "OUT", "--images", "5"], "greater than or equal to 10"),
        (["sample", "STORE", "OUT", "--images", "30", "--labels", "weapns"], "did you mean 'weapons'?"),
        (["sample", "nowhere", "OUT", "--images", "30"], "no store here"),
        (["estimate", "STORE", "--golden", "nowhere.parquet"], "this golden set cannot be read"),
    ],
)
def test_bad_input_starts_nothing(
    store: Path, tmp_path: Path, typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"STORE": str(store), "OUT": str(tmp_path / "drawn.parquet")}
    assert main(["prevalence", *(places.get(one, one) for one in typed)]) == 2
    captured = capsys.readouterr()
    assert told in " ".join((captured.out + captured.err).split())
    assert not list(tmp_path.iterdir())
