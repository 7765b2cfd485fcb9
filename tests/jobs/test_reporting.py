"""The report of a real store: figures that agree with the rows, and a page that holds them."""

import json
import shutil
from pathlib import Path

import pytest

from assay.jobs.cli import main


def test_the_report_agrees_with_the_store(
    judged_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(judged_store), "--out", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 32
    facts = json.loads(page.with_suffix(".json").read_text())
    assert (facts["images"], facts["ok"], facts["planned"]) == (32, 30, 32)
    assert facts["faults"] == {"EMPTY": 1, "UNSUPPORTED_FORMAT": 1}
    assert sum(facts["actions"].values()) + sum(facts["faults"].values()) == 32
    assert facts["seconds"] > 0
    assert set(facts["labels"]["weapons"]) >= {"flagged", "review"}
    html = page.read_text()
    assert "<script" not in html
    assert facts["release"] in html


def test_a_report_needs_no_source(judged_store: Path, tmp_path: Path) -> None:
    store = shutil.copytree(judged_store, tmp_path / "store")
    hidden = judged_store.parent / "hidden"
    (judged_store.parent / "bucket").rename(hidden)
    try:
        assert main(["report", str(store), "--out", str(tmp_path / "r.html")]) == 0
    finally:
        hidden.rename(judged_store.parent / "bucket")
    assert "gone or" in (tmp_path / "r.html").read_text()


def test_an_unknown_run_is_a_usage_error(judged_store: Path, tmp_path: Path) -> None:
    assert main(["report", str(judged_store), "--run", "never", "--out", str(tmp_path / "r.html")]) == 2
    assert not (tmp_path / "r.html").exists()
