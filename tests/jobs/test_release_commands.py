"""`assay release …` as people type it, from a directory to a champion and back."""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import main

WAIVE = [word for name in ("scorecard", "golden", "calibration", "diff") for word in ("--waive", f"{name}=a test")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("registry")
    return ["--registry.uri", f"sqlite:///{folder}/mlflow.db", "--registry.cache", str(folder / "cache")]


def test_from_a_directory_to_a_champion_and_back(
    place: list[str], release_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["release", "list", *place]) == 0
    assert "nothing is registered" in capsys.readouterr().out
    assert main(["release", "register", "starter", *place]) == 0
    assert "release promote 1" in capsys.readouterr().out
    assert main(["release", "register", str(release_dir), *place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["uri"] == "models:/assay-release/2"

    assert main(["release", "promote", "1", *place]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "not promoted: scorecard, golden" in out
    assert main(["release", "promote", "1", *place, *WAIVE, "--reason", "first", "--by", "ana"]) == 0
    assert "champion: version 1" in " ".join(capsys.readouterr().out.split())
    assert main(["release", "promote", "2", *place, *WAIVE, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entry"] == 2
    assert main(["release", "rollback", *place, "--reason", "[worse]"]) == 0
    assert "again" in capsys.readouterr().out

    assert main(["release", "log", *place]) == 0
    out = capsys.readouterr().out
    assert "1  " in out
    assert "promote champion v1 starter-" in out
    assert "waived golden: a test" in out
    assert "by ana: first" in out
    assert "[worse]" in out
    assert main(["release", "log", *place, "--json"]) == 0
    assert [one["action"] for one in json.loads(capsys.readouterr().out)["entries"]] == ["promote"] * 2 + ["rollback"]
    assert main(["release", "show", *place, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["release"]["aliases"] == ["champion"]
    assert [one["number"] for one in shown["entries"]] == [1, 2, 3]
    assert main(["release", "list", *place]) == 0
    assert "2 times" in capsys.readouterr().out


def test_two_releases_side_by_side(release_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "compare", "starter", str(release_dir), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert not found["same_encoder"]
    assert found["policies"] == {"lenient": "same", "strict": "same"}
    assert "weapons" in found["uncalibrated"]
    assert main(["release", "compare", "starter", "starter"]) == 0
    out = capsys.readouterr().out
    assert "another" not in out
    assert "changed" not in out


def test_a_release_is_built_and_registered_at_once(
    place: list[str], release_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["--library", str(release_dir / "library.yaml"), "--policy", str(release_dir / "policies" / "strict.yaml")]
    built = ["release", "build", str(tmp_path / "mine"), "--name", "mine", "--encoder", "hash", *texts]
    assert main([*built, "--register", *place, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["registered"].startswith("models:/assay-release/")
    assert main(["release", "show", made["release"], *place, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["release"]["encoder"] == "models:/assay-encoder/2"


def test_bad_words(place: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["release", "promote", "99", *place]) == 2
    assert "no registered release" in capsys.readouterr().err
    assert main(["release", "promote", "1", *place, "--waive", "golden"]) == 2
    assert "cannot waive" in capsys.readouterr().err
    assert main(["release", "log", "--registry.uri", "ftp://x/y"]) == 2
    assert "no registry can be" in capsys.readouterr().err
