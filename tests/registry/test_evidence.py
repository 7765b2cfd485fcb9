"""Evidence: read from files and runs, of the right release only, and without the name of any image."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay.platform.errors import RegistryError, SpecError
from assay.registry.evidence import FACTS_FILE, Changed, Measured, Replayed, gather, read_document
from assay.registry.place import RegistrySpec
from assay.registry.registry import Registry

ID = "new-111111111111"
REPLAY: dict[str, Any] = {"release": ID, "policy": "strict", "replayed": 3, "exact": 3, "golden": "g", "differing": []}
SAMPLE = "s3://bucket/a-private-picture.jpg"
DIFF: dict[str, Any] = {
    "before": "old-000000000000",
    "after": ID,
    "store": "store",
    "written": "now",
    "observed": 3,
    "policies": [
        {
            "before": "strict",
            "after": "strict",
            "images": 3,
            "moves": {"counts": [[2, 1, 0], [0, 0, 0], [0, 0, 0]], "newly_flagged": 1, "newly_cleared": 0},
            "labels": [{"label": "weapons", "sample": [{"uri": SAMPLE}]}],
        }
    ],
}


def record(registry: Registry, folder: Path, kind: str, content: str, release: str = ID) -> str:
    """A run as jobs record it."""
    run = registry.runs.start_run(kind, {"assay.kind": kind, "assay.release": release})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS_FILE).write_text(content)
    registry.runs.upload(run, folder / FACTS_FILE, "")
    registry.runs.end_run(run)
    return run


def test_what_runs_recorded_comes_newest_first_and_files_before_it(local: RegistrySpec, tmp_path: Path) -> None:
    registry = Registry(local)
    record(registry, tmp_path / "1", "replay", json.dumps({**REPLAY, "exact": 1}))
    newer = record(registry, tmp_path / "2", "replay", json.dumps({**REPLAY, "exact": 2}))
    record(registry, tmp_path / "3", "replay", json.dumps(REPLAY), release="other-222222222222")
    file = tmp_path / "replay.json"
    file.write_text(json.dumps(REPLAY))
    found = gather(registry, ID, [file])
    assert [one.facts.exact for one in found.replayed] == [3, 2, 1]
    assert [one.run for one in found.replayed][:2] == ["", newer]
    assert not found.measured
    assert not found.changed


def test_no_image_is_named_in_what_is_kept() -> None:
    facts = read_document(json.dumps(DIFF).encode(), "diff.json")
    assert isinstance(facts, Changed)
    assert facts.policies[0].moves.newly_flagged == 1
    assert SAMPLE not in facts.model_dump_json()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b"[]", "not JSON of one object"),
        (b"{}", "none of scorecard, policies, replayed"),
        (b"\x80\x04\x95", "utf-8"),
        (json.dumps({**REPLAY, "exact": "all"}).encode(), "validation error"),
        (json.dumps({"scorecard": {}}).encode(), "validation error"),
    ],
)
def test_what_is_no_evidence(content: bytes, why: str) -> None:
    with pytest.raises(SpecError, match="not evidence") as told:
        read_document(content, "file")
    assert why in told.value.why


def test_evidence_of_another_release_is_refused(local: RegistrySpec, tmp_path: Path) -> None:
    file = tmp_path / "replay.json"
    file.write_text(json.dumps({**REPLAY, "release": "other-222222222222"}))
    with pytest.raises(SpecError, match="another release"):
        gather(Registry(local), ID, [file])
    with pytest.raises(SpecError, match="cannot be read"):
        gather(Registry(local), ID, [tmp_path / "none.json"])


def test_a_run_whose_evidence_was_tampered_with_is_named(local: RegistrySpec, tmp_path: Path) -> None:
    registry = Registry(local)
    run = record(registry, tmp_path / "1", "replay", "{")
    with pytest.raises(RegistryError, match="not what it recorded") as told:
        gather(registry, ID, [])
    assert run in told.value.where


def test_kinds_are_told_apart() -> None:
    assert isinstance(read_document(json.dumps(REPLAY).encode(), ""), Replayed)
    with pytest.raises(SpecError):
        assert not isinstance(read_document(json.dumps({"scorecard": None}).encode(), ""), Measured)
