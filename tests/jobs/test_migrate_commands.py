"""What `assay migrate` prints, and its exit codes."""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import main
from tests.encoder_doubles import load_doubles
from tests.migration_stores import ASKED, PICTURES, Migrations


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Migrations:
    return Migrations(tmp_path_factory.mktemp("commands"))


def words(rig: Migrations, release: str, *more: str) -> list[str]:
    """The command line."""
    asked = [word for name, value in ASKED.items() for word in (f"--{name}", str(value))]
    return ["migrate", str(rig.folder / "store"), "--release", rig.release(release), *asked, *more]


def test_it_tells_what_was_found_and_done(
    rig: Migrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_doubles(monkeypatch)
    monkeypatch.setenv("COLUMNS", "200")
    assert main(words(rig, "wide", "--new-store", str(tmp_path / "new"), "--price.hour", "2")) == 0
    told = capsys.readouterr().out
    assert "migrated:" in told
    for said in (
        "agreement",
        "flagged kept",
        "every image",
        "that are clear",
        "band (log odds)",
        "red_things",
        "the rest",
    ):
        assert said in told, said
    assert f"next: assay backfill {rig.folder / 'bucket'} --store {tmp_path / 'new'}" in told
    assert "--retry-faults" in told
    assert main(words(rig, "wide", "--new-store", str(tmp_path / "new"), "--json")) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "migrated"
    assert facts["carried"]["already_done"] == 13


def test_refused_is_exit_3(
    rig: Migrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    load_doubles(monkeypatch)
    assert main(words(rig, "scrambled", "--new-store", str(tmp_path / "new"))) == 3
    told = capsys.readouterr().out
    assert "refused:" in told
    assert "why not:" in told
    assert not (tmp_path / "new").exists()
    assert main(words(rig, "scrambled", "--dry-run", "--json")) == 3
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "refused"
    assert facts["price"]["images"] == PICTURES + 2


def test_a_spec_that_is_wrong_is_exit_2(rig: Migrations, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(rig, "wide")) == 2
    assert "where is the new store" in capsys.readouterr().err
    assert main(words(rig, "plain", "--dry-run")) == 2
    assert "assay reaudit" in capsys.readouterr().err


def test_interrupted_is_exit_4(
    rig: Migrations, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("assay.jobs.migrate.migrate", stopped)
    assert main(words(rig, "wide", "--dry-run")) == 4
    assert "the same command goes on" in capsys.readouterr().err
