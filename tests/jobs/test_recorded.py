"""What MLflow keeps of jobs: every kind with its facts, nothing that was not asked for, no secret; and a finished job
stays finished."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.jobs.cli import main
from assay.jobs.forget import ForgetSpec, forget
from assay.jobs.store import Store
from assay.platform.release import Release
from assay.platform.storage import Storage
from assay.registry.runs import RunFacts
from tests.conftest import write_pictures
from tests.jobs.change_stores import judge_by, observed_store
from tests.jobs.colour_releases import COLOURS, colour_row, embedded_rows, write_golden
from tests.registry_of_two import CHAMPION, RegistryOfTwo
from tests.serial_backfill import without_ray

IMAGES, FAULT = 120, 7
SECOND = "models:/assay-release/2"
CANARY = "canary-0451"


class Rig:
    """A registry, and a store that both of its releases judged."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.registered = folder, RegistryOfTwo(folder / "registry")
        self.first, self.second = self.registered.first, self.registered.second
        self.store = observed_store(folder / "store", self.first, IMAGES, faults=[FAULT])
        for release in (self.first, self.second):
            judge_by(self.store, release, "plain")
        self.store.write_run("run-1", {"run": "run-1", "release": self.second.id, "policy": "plain"})
        rows = embedded_rows(self.first, IMAGES)
        self.golden = write_golden(folder / "golden.parquet", rows, self.first.manifest.encoder.digest)

    def facts_of(self, run: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.registered.artifact(run).read_bytes())
        return found


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return Rig(tmp_path_factory.mktemp("recorded"))


def printed(capsys: pytest.CaptureFixture[str], *typed: object, code: int = 0) -> dict[str, Any]:
    """What a command prints with --json."""
    assert main([*map(str, typed), "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def kept(rig: Rig, kind: str, facts: dict[str, Any], release: Release) -> RunFacts:
    """The run of a job's facts: it has just what was printed, and tags by which it is found as evidence."""
    run, *_ = rig.registered.runs(kind)
    assert run.id == facts["recorded"]
    assert rig.facts_of(run.id) == facts
    assert facts["not_recorded"] == ""
    tags = {name: run.tags[f"assay.{name}"] for name in ("kind", "release", "release_digest")}
    assert tags == {"kind": kind, "release": release.id, "release_digest": release.digest}
    return run


def test_an_evaluation(rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "card.html"
    pair = ("--release", SECOND, "--against", CHAMPION, "--golden", rig.golden, "--html", page)
    facts = printed(capsys, "evaluate", *pair, "--measure.resampling.resamples", 100, *rig.registered.flags, code=3)
    run = kept(rig, "evaluate", facts, rig.second)
    assert run.tags["assay.against"] == rig.first.id
    assert run.tags["assay.golden"] == facts["scorecard"]["subject"]["golden"]
    assert run.metrics["worse"] == len([one for one in facts["comparison"]["differences"] if one["worse"]]) > 0
    red = next(label for label in facts["scorecard"]["labels"] if label["label"] == "red_things")
    assert run.metrics["review.recall/red_things"] == red["overall"]["figures"]["review.recall"]["value"]
    assert rig.registered.artifact(run.id, "card.html").read_bytes() == page.read_bytes()
    assert {name: origin["version"] for name, origin in facts["origins"].items()} == {"release": 2, "against": 1}


def test_a_calibration(rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ("calibrate", tmp_path / "made", "--release", CHAMPION, "--golden", rig.golden, *rig.registered.flags)
    facts = printed(capsys, *typed)
    made = Release.load(tmp_path / "made")
    run = kept(rig, "calibrate", facts, made)
    assert run.tags["assay.calibrated_from"] == rig.first.id
    assert run.metrics["calibrated"] == len(facts["calibrated"]) == 2


def test_a_diff(rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sides = ("--from", CHAMPION, "--to", SECOND, "--html", tmp_path / "d.html")
    facts = printed(capsys, "diff", rig.store.uri, *sides, *rig.registered.flags)
    run = kept(rig, "diff", facts, rig.second)
    assert (run.tags["assay.before"], run.tags["assay.before_digest"]) == (rig.first.id, rig.first.digest)
    assert run.metrics["plain/newly_flagged"] == facts["policies"][0]["moves"]["newly_flagged"] > 0
    assert json.loads((tmp_path / "d.json").read_text()) == facts
    assert rig.registered.artifact(run.id, "d.html").read_bytes() == (tmp_path / "d.html").read_bytes()


def test_a_replay_of_a_golden_set(rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unknown = [colour_row(IMAGES + number, COLOURS[0]) for number in range(3)]
    other = colour_row(60, COLOURS[0], etag="another version")
    golden = write_golden(tmp_path / "g.parquet", [*(colour_row(n, COLOURS[0]) for n in range(50)), *unknown, other])
    facts = printed(capsys, "replay", rig.store.uri, "--golden", golden, "--release", SECOND, *rig.registered.flags)
    assert (facts["replayed"], facts["exact"], facts["missing"]) == (50, 50, 4)
    run = kept(rig, "replay", facts, rig.second)
    assert run.tags["assay.golden"] == facts["golden"] != ""
    assert run.metrics == {"replayed": 50, "exact": 50, "missing": 4}


def test_jobs_over_a_bucket(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_ray(monkeypatch)
    write_pictures(tmp_path / "bucket", 6)
    where = (tmp_path / "bucket", "--store", tmp_path / "store", "--release", CHAMPION, *rig.registered.flags)
    facts = printed(capsys, "backfill", *where)
    run = kept(rig, "backfill", facts, rig.first)
    assert run.params["source"] == str(tmp_path / "bucket")
    assert (run.metrics["ok"], run.metrics["actions/review"]) == (6, facts["actions"].get("review", 0))
    assert run.tags["assay.run"] == facts["run"]
    again = printed(capsys, "reaudit", tmp_path / "store", "--release", SECOND, *rig.registered.flags)
    assert kept(rig, "reaudit", again, rig.second).metrics["judged"] == again["judged"] == 6


def test_nothing_is_recorded_that_was_not_asked_for(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    facts = printed(capsys, "replay", rig.store.uri)
    assert (facts["recorded"], facts["not_recorded"], facts["origins"]) == (None, "", {})
    assert [*tmp_path.iterdir()] == []
    facts = printed(capsys, "replay", rig.store.uri, "--record")
    assert len(facts["recorded"]) == 32
    assert (tmp_path / "assay-registry" / "mlflow.db").is_file()


def test_a_job_that_cannot_be_recorded_is_finished(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    away = ("--registry.uri", "http://127.0.0.1:9", "--registry.retries", "0")
    assert main(["replay", rig.store.uri, "--json", *away]) == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert (facts["recorded"], facts["exact"]) == (None, IMAGES)
    assert told.err.startswith("not recorded: the registry could not")
    assert facts["not_recorded"] in told.err


def test_an_address_that_can_never_be_is_refused_before_anything_starts(
    rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["backfill", str(tmp_path / "bucket"), "--store", str(tmp_path / "store")]
    assert main([*asked, "--registry.uri", f"https://me:{CANARY}@registry.example"]) == 2
    told = capsys.readouterr()
    assert "a user stands in the registry's address" in told.err
    assert CANARY not in told.err + told.out
    assert not (tmp_path / "store").exists()
    assert main(["replay", rig.store.uri, "--registry.uri", "file:///old/mlruns"]) == 2


def files(*folders: Path) -> Iterator[Path]:
    yield from (path for folder in folders for path in folder.rglob("*") if path.is_file())


def test_no_secret_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    without_ray(monkeypatch)
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "ASSAY_REGISTRY_STORAGE_SECRET_KEY"):
        monkeypatch.setenv(name, f"{CANARY}-{name}")
    write_pictures(tmp_path / "bucket", 4)
    secrets = ("registry.password", "storage.access-key", "storage.secret-key", "registry.storage.session-token")
    flags = [word for name in secrets for word in (f"--{name}", f"{CANARY}-{name}")]
    flags += [f"--registry.storage.access-key={CANARY}"]
    uri = f"sqlite:///{tmp_path}/registry/mlflow.db"
    typed = ["backfill", str(tmp_path / "bucket"), "--store", str(tmp_path / "store"), "--registry.uri", uri, *flags]
    monkeypatch.setattr(sys, "argv", ["assay", *typed, "--json"])
    assert main(sys.argv[1:]) == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    assert facts["recorded"]
    searched = [*files(tmp_path / "store", tmp_path / "registry")]
    assert tmp_path / "registry" / "mlflow.db" in searched
    for path in searched:
        assert CANARY.encode() not in path.read_bytes(), path
    assert CANARY not in told.out + told.err
    assert b"--storage.secret-key" in (tmp_path / "registry" / "mlflow.db").read_bytes()  # the flag, without its value
    record = Store.open(Storage(), str(tmp_path / "store")).run() or {}
    assert "***" in record["command"]


def test_what_names_an_image_is_forgotten_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig(tmp_path)
    diff = printed(capsys, "diff", rig.store.uri, "--from", CHAMPION, "--to", SECOND, *rig.registered.flags)
    [sample, *_] = [one for label in diff["policies"][0]["labels"] for one in label["sample"]]
    replay = printed(capsys, "replay", rig.store.uri, sample["uri"], *rig.registered.flags)
    golden = printed(capsys, "replay", rig.store.uri, "--golden", rig.golden, *rig.registered.flags)
    facts = [rig.registered.artifact(run["recorded"]) for run in (diff, replay, golden)]
    assert all(path.is_file() for path in facts)
    done = forget(ForgetSpec(place=sample["uri"], store=rig.store.shown))
    assert done.reports_removed == 2
    assert [path.is_file() for path in facts] == [False, False, True]
    for path in files(tmp_path / "registry"):
        assert sample["uri"].encode() not in path.read_bytes(), path
