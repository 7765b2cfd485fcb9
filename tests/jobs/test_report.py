"""The report's data: counted by streaming, equal to counting by hand, and silent about what must not be shown."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from assay.jobs.report import ReportInputs, collect_report
from assay.jobs.report_data import ReportData
from assay.jobs.tally import BINS, SAMPLE, Band, Candidate, LabelTally, explode_findings, explode_scores
from assay.platform.errors import ConservationError
from assay.platform.rows import OBSERVATIONS, VERDICTS

LABELS = ("alcohol", "nudity", "weapons")
THRESHOLDS: dict[str, dict[str, float | None]] = {
    "alcohol": {"review": 0.5, "block": 0.9},
    "nudity": {"review": 0.6, "block": 0.8},
    "weapons": {"review": 0.7, "block": None},
}


def verdict(uri: str, scores: dict[str, float] | None, outcome: str = "ok") -> dict[str, Any]:
    findings = []
    for label, score in (scores or {}).items():
        rule = {name: at for name, at in THRESHOLDS.get(label, {}).items() if at is not None}
        over = [action for action, at in rule.items() if np.float32(score) >= np.float32(at)]
        if over:
            phrases = {"concept": f"{label}/c", "prompt": f"a {label}", "counter": f"no {label}"}
            findings.append({"label": label, "action": over[-1], "score": score, "view": 0, **phrases})
    order = ("pass", "review", "block")
    action = max((str(one["action"]) for one in findings), key=order.index, default="pass")
    return {
        "shard": 0,
        "uri": uri,
        "etag": "1",
        "outcome": outcome,
        "action": "review" if scores is None else action,
        "findings": findings,
        "scores": None if scores is None else list(scores.items()),
        "release": "r1",
        "policy": "p1",
    }


def observation(uri: str, outcome: str = "ok") -> dict[str, Any]:
    view = {"kind": "whole", "x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 1.0, "time_s": None}
    seen = {"format": "JPEG", "width": 4, "height": 3, "frames": 1, "views": [view], "embedding": b"\0\0"}
    fault = {"detail": f"why of {uri}", "views": [], "embedding": b""}
    return {"shard": 0, "uri": uri, "etag": "1", "size": 9, "outcome": outcome} | (seen if outcome == "ok" else fault)


def rows(num_images: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    rng = np.random.default_rng(3)
    observed, decided = [], []
    for number in range(num_images):
        uri, is_fault = f"s3://b/{number:05d}.jpg", number % 23 == 0
        outcome = ("CORRUPT", "GONE")[number % 2] if is_fault else "ok"
        scores = None if is_fault else {label: float(np.float32(rng.beta(1, 2))) for label in LABELS}
        observed.append(observation(uri, outcome))
        decided.append(verdict(uri, scores, outcome))
    return observed, decided


def inputs(
    observed: list[dict[str, Any]], decided: list[dict[str, Any]], folder: Path | None = None, **changes: Any
) -> ReportInputs:
    """With a `folder`, datasets of many small Parquet row groups; in memory otherwise."""
    tables = [pa.Table.from_pylist(observed, OBSERVATIONS), pa.Table.from_pylist(decided, VERDICTS)]
    datasets = [ds.dataset(table) for table in tables]
    if folder is not None:
        for name, table in zip(("o", "v"), tables, strict=True):
            half = table.num_rows // 2
            (folder / name).mkdir()
            pq.write_table(table.slice(0, half), folder / name / "1.parquet", row_group_size=37)
            pq.write_table(table.slice(half), folder / name / "2.parquet", row_group_size=41)
        datasets = [ds.dataset(folder / name) for name in ("o", "v")]
    facts = {
        "run": {"run": "run-1", "release": "r1", "policy": "p1", "seconds": 2.0, "images_per_second": 50.0},
        "thresholds": THRESHOLDS,
        "standing": {"weapons": ("calibrated on <b>nothing</b>",)},
        "titles": {"weapons": "Weapons"},
        "no_evidence": frozenset[str](),
        "fetch": lambda _uri, _etag: None,
    }
    return ReportInputs(datasets[0], datasets[1], **(facts | changes))  # type: ignore[arg-type]  # any field may be changed


def test_counts_equal_counting_by_hand(tmp_path: Path) -> None:
    observed, decided = rows(1000)
    data = collect_report(inputs(observed, decided, tmp_path))
    readable = [row for row in decided if row["outcome"] == "ok"]
    assert (data.images, data.ok) == (1000, len(readable))
    assert data.faults == dict(sorted(Counter(row["outcome"] for row in decided if row["outcome"] != "ok").items()))
    assert data.actions == Counter(row["action"] for row in readable)
    assert data.fault_actions == {"review": 1000 - len(readable)}
    for label in LABELS:
        actions = Counter(one["action"] for row in decided for one in row["findings"] if one["label"] == label)
        report = data.labels[label]
        assert (report.flagged, report.review, report.block) == (
            actions.total(),
            actions["review"],
            actions["block"],
        )
        scores = np.array([dict(row["scores"])[label] for row in readable])
        assert report.histogram == tuple(np.histogram(scores, BINS, (0, 1))[0].tolist())
        assert report.scored == len(readable)
    assert [label.flagged for label in data.labels.values()] == sorted(
        (label.flagged for label in data.labels.values()), reverse=True
    )


def test_the_sample_is_the_one_sorting_would_give(tmp_path: Path) -> None:
    observed, decided = rows(1000)
    data = collect_report(inputs(observed, decided, tmp_path))
    for label in LABELS:
        edge = np.float32(THRESHOLDS[label]["review"])
        scored = sorted((dict(row["scores"])[label], row["uri"]) for row in decided if row["scores"])
        over = [pair for pair in scored if np.float32(pair[0]) >= edge]
        under = [pair for pair in scored if np.float32(pair[0]) < edge]
        expected = [*over[:-9:-1], *over[:4], *under[:-5:-1]]
        assert [(one.score, one.uri) for one in data.labels[label].specimens] == expected


def test_small_samples_hold_no_image_twice() -> None:
    uris = [f"s3://b/{number}" for number in range(6)]
    decided = [
        verdict(uri, {"alcohol": score}) for uri, score in zip(uris, (0.1, 0.2, 0.6, 0.7, 0.8, 0.95), strict=True)
    ]
    data = collect_report(inputs([observation(uri) for uri in uris], decided))
    specimens = data.labels["alcohol"].specimens
    assert [(one.band, one.uri[-1]) for one in specimens] == [
        *((Band.HIGHEST, name) for name in "5432"),
        *((Band.BELOW, name) for name in "10"),
    ]
    best = specimens[0]
    assert (best.action, best.prompt, best.counter) == ("block", "a alcohol", "no alcohol")
    assert (best.view_kind, best.width, best.format) == ("whole", 4, "JPEG")
    assert specimens[-1].prompt is None


def test_a_label_without_evidence_is_counted_and_never_named() -> None:
    decided = [
        verdict("s3://b/secret", {"nudity": 0.95, "weapons": 0.99, "alcohol": 0.45}),
        verdict("s3://b/open", {"nudity": 0.01, "weapons": 0.98, "alcohol": 0.02}),
    ]
    observed = [observation(row["uri"]) for row in decided]
    data = collect_report(inputs(observed, decided, no_evidence=frozenset({"nudity"})))
    assert (data.labels["nudity"].flagged, data.labels["nudity"].block) == (1, 1)
    assert data.labels["nudity"].specimens == ()
    assert data.labels["weapons"].flagged == 2
    assert [one.uri for one in data.labels["weapons"].specimens] == ["s3://b/open"]
    assert "secret" not in data.model_dump_json()


def test_parts_of_the_planned_images_add_up() -> None:
    observed, decided = rows(100)
    data = collect_report(inputs(observed, decided[:60], run={"planned": 130, "command": ["assay", "a b"]}))
    assert (data.planned, data.unseen) == (130, 30)
    assert sum(data.actions.values()) + data.undecided + sum(data.faults.values()) + data.unseen == 130
    assert data.run.command == "assay 'a b'"
    with pytest.raises(ConservationError, match="More images are decided"):
        collect_report(inputs(observed[:50], decided))


def test_fault_examples_are_few_and_say_why() -> None:
    observed, decided = rows(500)
    data = collect_report(inputs(observed, decided))
    assert {kind: len(found) for kind, found in data.fault_examples.items()} == {"CORRUPT": 5, "GONE": 5}
    assert data.fault_examples["GONE"][0].detail == "why of s3://b/00023.jpg"


def test_an_empty_store_makes_an_empty_report() -> None:
    data = collect_report(inputs([], []))
    assert (data.images, data.planned, data.labels["weapons"].title) == (0, 0, "Weapons")


def test_report_json_has_what_tools_read() -> None:
    data = collect_report(inputs(*rows(50)))
    fields = data.model_dump(mode="json")
    assert {"images", "ok", "faults", "labels", "images_per_second", "seconds", "release", "policy"} <= set(fields)
    assert {"flagged", "review"} <= set(fields["labels"]["weapons"])
    assert ReportData.model_validate_json(data.model_dump_json()) == data


def test_slices_come_apart_like_whole_batches() -> None:
    _, decided = rows(60)
    batch = pa.Table.from_pylist(decided, VERDICTS).to_batches()[0]
    part = batch.slice(20, 30)
    scored, values = explode_scores(part["scores"])
    pairs = [
        (row, scored.names[label], value) for row, label, value in zip(scored.rows, scored.labels, values, strict=True)
    ]
    assert pairs == [
        (row, label, score) for row, one in enumerate(decided[20:50]) for label, score in one["scores"] or []
    ]
    found, structs = explode_findings(part["findings"])
    assert structs.to_pylist() == [finding for one in decided[20:50] for finding in one["findings"]]
    assert len(found.rows) == len(structs)


def test_scores_are_compared_as_the_policy_compares() -> None:
    tally = LabelTally(0.7)
    scores = np.array([0.7, np.nextafter(np.float32(0.7), np.float32(0)), np.nan], np.float32)
    picked: list[int] = []
    tally.count(scores)
    tally.offer(scores, lambda place: candidate(place, picked))
    assert {band for band, _ in tally.sample()} == {Band.HIGHEST, Band.BELOW}
    assert [one.uri for band, one in tally.sample() if band is Band.BELOW] == ["1"]
    assert tally.histogram.sum() == 3


def test_memory_does_not_grow_with_rows() -> None:
    tally, picked = LabelTally(0.5), list[int]()
    rng = np.random.default_rng(0)
    for _ in range(200):
        scores = rng.random(2000, np.float32)
        tally.offer(scores, lambda place, scores=scores: candidate(place, picked, float(scores[place])))  # type: ignore[misc]  # mypy infers no lambda defaults
    assert len(tally.sample()) == sum(SAMPLE.values())
    assert len(picked) < 2000  # of 400,000: only what beats the worst kept becomes an object


def candidate(place: int, picked: list[int], score: float = 0.5) -> Candidate:
    picked.append(place)
    return Candidate(score, str(place), "1", "review", None)
