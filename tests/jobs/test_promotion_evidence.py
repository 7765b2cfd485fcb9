"""The whole road: a release is calibrated, judged, measured, compared and replayed, and the gate finds all of it.

Nothing is waived and no file is handed over: the evidence is in the runs that the commands recorded.
"""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import main
from assay.platform.release import Release
from tests.jobs.change_stores import judge_by, observed_store
from tests.jobs.colour_releases import embedded_rows, write_golden
from tests.registry_of_two import CHAMPION, RegistryOfTwo

IMAGES = 120
SECOND, THIRD = "models:/assay-release/2", "models:/assay-release/3"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> RegistryOfTwo:
    return RegistryOfTwo(tmp_path_factory.mktemp("evidence") / "registry")


def test_a_measured_release_passes_and_a_worse_one_does_not(
    two: RegistryOfTwo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = observed_store(tmp_path / "store", two.first, IMAGES)
    rows = embedded_rows(two.first, IMAGES)
    golden = str(write_golden(tmp_path / "golden.parquet", rows, two.first.manifest.encoder.digest))
    made = tmp_path / "made"
    assert main(["calibrate", str(made), "--release", CHAMPION, "--golden", golden, *two.flags]) == 0
    third = Release.load(made)
    assert two.register(third) == 3
    for release in (two.first, two.second, third):
        judge_by(store, release, "plain")
    store.write_run("run-1", {"run": "run-1", "release": third.id, "policy": "plain"})

    capsys.readouterr()
    promote = ["release", "promote", "3", *two.flags, "--json"]
    assert main(promote) == 3
    before = {one["name"]: one["passed"] for one in json.loads(capsys.readouterr().out)["checks"]}
    assert before == {"scorecard": False, "calibration": True, "diff": False, "golden": False, "library": True}

    measure(two, store.uri, golden, THIRD)
    capsys.readouterr()
    assert main(promote) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["moved"], facts
    assert all(one["passed"] and not one["waived"] for one in facts["checks"])
    assert {part["kind"] for one in facts["checks"] for part in one["evidence"]} == {"evaluate", "diff", "replay"}
    kept = two.artifact(facts["run"], "evidence")
    assert {one.name for one in kept.iterdir()} == {"evaluate.json", "diff.json", "replay.json"}
    assert not any("picture" in one.read_text() for one in kept.iterdir()), "no image is named"

    measure(two, store.uri, golden, SECOND)
    capsys.readouterr()
    assert main(["release", "promote", "2", *two.flags, "--json"]) == 3
    told = {one["name"]: one["said"] for one in json.loads(capsys.readouterr().out)["checks"] if not one["passed"]}
    assert "worse than the champion" in told["scorecard"]
    assert "calibrat" in told["calibration"]
    assert main(["release", "log", *two.flags]) == 0
    assert "-> v3" in capsys.readouterr().out


def measure(two: RegistryOfTwo, store: str, golden: str, release: str) -> None:
    """What the gate asks to be measured, as people type it."""
    quick = ["--measure.resampling.resamples", "100"]
    main(["evaluate", "--release", release, "--against", CHAMPION, "--golden", golden, *quick, *two.flags])
    main(["diff", store, "--from", CHAMPION, "--to", release, *two.flags])
    assert main(["replay", store, "--golden", golden, "--release", release, *two.flags]) == 0
