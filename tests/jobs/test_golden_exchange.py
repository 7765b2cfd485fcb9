"""`assay golden import` and `export`: from people's files to golden sets and back, nothing lost, slips refused."""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import main
from assay.platform.golden import GoldenSet
from assay.platform.golden_file import read_reviews

SHEET = """uri,label=weapons,label=gambling,slice=style,reviewer,time,weight,split
s3://b/1,present,,photo,ana,2026-11-23T10:00:00Z,2.5,test
s3://b/1,absent,unsure,,bo,2026-11-23T11:00:00Z,2.5,
s3://b/2,,,drawing,,2026-11-23T10:00:00Z,,calibrate
"""


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "golden.csv"
    path.write_text(SHEET)
    return path


def run(capsys: pytest.CaptureFixture[str], *typed: str | Path) -> dict[str, object]:
    """A command that ends well; what it prints."""
    code = main([*map(str, typed), "--json"])
    told = capsys.readouterr()
    assert code == 0, told.err
    return dict(json.loads(told.out))


def refused(capsys: pytest.CaptureFixture[str], *typed: str | Path) -> str:
    assert main([*map(str, typed)]) == 2
    return capsys.readouterr().err


def test_there_and_back_through_the_commands(tmp_path: Path, sheet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = tmp_path / "golden.parquet"
    facts = run(capsys, "golden", "import", sheet, golden)
    assert (facts["rows"], facts["images"], facts["reviewers"], facts["unsure"]) == (3, 2, 2, 2)
    assert facts["labels"] == {"gambling": 0, "weapons": 0}
    assert facts["digest"] == GoldenSet.read(golden).digest
    for suffix in ("csv", "jsonl"):
        text, again = tmp_path / f"out.{suffix}", tmp_path / f"{suffix}.parquet"
        assert run(capsys, "golden", "export", golden, text)["rows"] == 3
        assert run(capsys, "golden", "import", text, again)["digest"] == facts["digest"]
        assert read_reviews(again) == read_reviews(golden)


def test_people_print_as_a_table(tmp_path: Path, sheet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["golden", "import", str(sheet), str(tmp_path / "g.parquet")]) == 0
    assert "images" in capsys.readouterr().out


def test_a_filled_in_sheet_is_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sheet, golden = tmp_path / "filled.csv", tmp_path / "golden.parquet"
    sheet.write_text("uri,label=weapons,reviewer,time\ns3://b/1,present,,\ns3://b/2,,,2026-11-23T10:00:00Z\n")
    told = refused(capsys, "golden", "import", sheet, golden)
    assert "line 2: it has no time" in told
    run(capsys, "golden", "import", sheet, golden, "--reviewer", "ana")
    assert [row.reviewer for row in read_reviews(golden).rows] == ["ana", ""]


def test_labels_are_held_against_a_release(
    tmp_path: Path, sheet: Path, release_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = tmp_path / "golden.parquet"
    run(capsys, "golden", "import", sheet, golden, "--release", release_dir)
    sheet.write_text(SHEET.replace("label=weapons", "label=weapns"))
    told = refused(capsys, "golden", "import", sheet, tmp_path / "other.parquet", "--release", release_dir)
    assert "unknown label 'weapns'; did you mean 'weapons'?, in 2 rows" in told
    assert not (tmp_path / "other.parquet").exists()


def test_nothing_is_written_over_by_a_slip(tmp_path: Path, sheet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = tmp_path / "golden.parquet"
    golden.write_text("mine")
    assert "--replace" in refused(capsys, "golden", "import", sheet, golden)
    assert golden.read_text() == "mine"
    run(capsys, "golden", "import", sheet, golden, "--replace")
    assert "--replace" in refused(capsys, "golden", "export", golden, sheet)
    assert sheet.read_text() == SHEET


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (("import", "golden.csv", "out.csv"), "expected .parquet"),
        (("import", "golden.parquet", "out.parquet"), "expected .csv or .jsonl"),
        (("export", "golden.csv", "out.csv"), "expected .parquet"),
        (("export", "golden.parquet", "out.xlsx"), "its name ends in '.xlsx'"),
        (("import", "golden", "out.parquet"), "its name ends in 'nothing'"),
        (("import", "missing.csv", "out.parquet"), "No such file"),
        (("imprt", "golden.csv", "out.parquet"), "import"),
    ],
)
def test_a_slip_is_told(
    typed: tuple[str, ...],
    told: str,
    tmp_path: Path,
    sheet: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert told in refused(capsys, "golden", *typed)
    assert [path.name for path in tmp_path.iterdir()] == ["golden.csv"]
