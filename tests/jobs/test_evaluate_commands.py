"""`assay evaluate` for people: a table, gaps and what is worse, and an exit code for scripts."""

from pathlib import Path

import pytest

from assay.jobs.cli import main
from tests.jobs.colour_releases import colour_release, embedded_rows, write_golden


@pytest.mark.parametrize(("blue", "code"), [("yellow", 3), ("blue", 0)])
def test_people_read_a_table_and_what_is_worse(
    blue: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    release = colour_release(tmp_path / "first")
    rows = embedded_rows(release, 200)
    golden = write_golden(tmp_path / "golden.parquet", rows, release.manifest.encoder.digest)
    other = colour_release(tmp_path / "other", blue=blue)
    page = tmp_path / "card.html"
    pair = ["--release", str(other.directory), "--against", str(release.directory)]
    assert main(["evaluate", "--golden", str(golden), *pair, "--html", str(page)]) == code
    out = " ".join(capsys.readouterr().out.split())
    assert f"{other.id}, policy plain, on 200 images" in out
    assert "never" in out  # blue things are never blocked
    assert ("worse: blue_things: review.recall" in out) == (code == 3)
    assert ("not worse than" in out) == (code == 0)
    assert ("figures are worse by more than their margin" in page.read_text()) == (code == 3)


def test_a_gap_is_told_as_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    release = colour_release(tmp_path / "first")
    rows = [
        # What reviewers call red in drawings is green there: the release misses it.
        row.model_copy(update={"labels": {"red_things": "present" if number % 4 == 2 else "absent"}})
        if row.slices["style"] == "drawing"
        else row
        for number, row in enumerate(embedded_rows(release, 400))
    ]
    golden = write_golden(tmp_path / "golden.parquet", rows, release.manifest.encoder.digest)
    assert main(["evaluate", "--release", str(release.directory), "--golden", str(golden)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "gap: red_things, review: false positive rate 33.3% for style drawing, 0.0% for photo" in out
    assert "for photo" in out
