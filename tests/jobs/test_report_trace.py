"""Reports that name what is forgotten are found by traces that name nothing."""

from pathlib import Path

import pytest

from assay.jobs.report_data import ReportData
from assay.jobs.report_trace import Trace, leave_trace, leave_trace_of
from assay.jobs.store import Store
from tests.audited_corpus import Corpus, audited, needles, traces


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return audited(tmp_path)


def report_of(store: Store, out: Path, uri: str) -> None:
    """A report that names one uri, as `assay report` leaves it."""
    no_run: dict[str, object] = {"run": {}}
    counts = {"images": 1, "ok": 0, "planned": 1, "unseen": 0, "undecided": 0, "actions": {}, "fault_actions": {}}
    facts: dict[str, object] = {"release": "r", "policy": "p", "faults": {}, "labels": {}}
    facts |= {"seconds": None, "images_per_second": None}
    examples = {"fault_examples": {"EMPTY": [{"uri": uri}]}}
    data = ReportData.model_validate({**counts, **facts, **examples, **no_run})
    files = {out: f"<html>{uri}".encode(), out.with_suffix(".json"): data.model_dump_json().encode()}
    leave_trace(store, data, files)
    for path, content in files.items():
        path.write_bytes(content)


def test_reports_that_name_it_are_removed_or_listed(corpus: Corpus, tmp_path: Path) -> None:
    mine, others, changed, moved = (tmp_path / f"{name}.html" for name in ("mine", "others", "changed", "moved"))
    for path in (mine, changed, moved):
        report_of(corpus.store(), path, corpus.uri("a/2.jpg"))
    report_of(corpus.store(), others, corpus.uri("a/1.jpg"))
    changed.write_text("a page of my own")
    moved.rename(tmp_path / "elsewhere.html")
    facts = corpus.forget(corpus.uri("a/2.jpg"))
    assert not mine.exists()
    assert not mine.with_suffix(".json").exists()
    assert others.exists()
    assert changed.read_text() == "a page of my own"
    assert facts.reports_removed == 4
    assert [name.rpartition("/")[2] for name in sorted(facts.reports_out_of_reach)] == ["changed.html", "moved.html"]
    assert traces(corpus.store(), needles(corpus, "a/2.jpg")) == []


def test_a_trace_keeps_no_uri(corpus: Corpus, tmp_path: Path) -> None:
    report_of(corpus.store(), tmp_path / "r.html", corpus.uri("a/1.jpg"))
    [name] = Path(corpus.where, "reports").iterdir()
    trace = Trace.model_validate_json(name.read_text())
    assert set(trace.files) == {str(tmp_path / "r.html"), str(tmp_path / "r.json")}
    assert "a/1.jpg" not in name.read_text()


def test_what_lies_on_another_machine_is_listed(corpus: Corpus) -> None:
    uri = corpus.uri("a/2.jpg")
    leave_trace_of(corpus.store(), [uri], {"s3://artifacts/0/run/facts.json": b"{}"})
    facts = corpus.forget(uri)
    assert facts.reports_removed == 0
    assert [name.partition(":")[2] for name in facts.reports_out_of_reach] == ["s3://artifacts/0/run/facts.json"]
