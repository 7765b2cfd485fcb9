"""The command line: settings from flags, environment and YAML; exit codes; suggestions; no secrets shown."""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import EXIT_CODES, main
from assay.jobs.commands import shown_command
from tests.conftest import write_pictures

ROOT = Path(__file__).parents[2]


def test_plan_takes_flags_environment_and_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "in", 5)
    job = tmp_path / "job.yaml"
    job.write_text(f"store: {tmp_path / 'from-yaml'}\nshard:\n  images: 2\n")
    assert main(["plan", str(tmp_path / "in"), "--config", str(job), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["new_shards"], facts["already_done"]) == (5, 3, 0)
    assert (tmp_path / "from-yaml" / "store.json").is_file()

    monkeypatch.setenv("ASSAY_STORE", str(tmp_path / "from-environment"))
    assert main(["plan", str(tmp_path / "in"), "--config", str(job), "--exclude", "*0.jpg", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 4
    assert (tmp_path / "from-environment" / "store.json").is_file()

    assert main(["plan", str(tmp_path / "in"), "--store", str(tmp_path / "from-flag")]) == 0
    assert (tmp_path / "from-flag" / "store.json").is_file()


@pytest.mark.parametrize(
    ("typed", "suggested"),
    [
        (["plan", "x", "--sotre", "y"], "--store"),
        (["bacfill"], "backfill"),
        (["backfill", "x", "--store", "y", "--cluster.juge.cpus", "1"], "--cluster.judge"),
    ],
)
def test_a_slip_is_answered_with_a_suggestion(
    typed: list[str], suggested: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed) == 2
    assert suggested in capsys.readouterr().err.replace("\n", " ")


def test_a_slip_in_the_yaml_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = tmp_path / "job.yaml"
    job.write_text("shard:\n  imagse: 2\n")
    assert main(["plan", "x", "--store", "y", "--config", str(job)]) == 2
    assert "images" in capsys.readouterr().err


def test_a_setting_that_is_named_like_a_command_is_taken_from_the_yaml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "in", 1)
    job = tmp_path / "job.yaml"
    job.write_text("release: models:/assay-release/7\nregistry: {uri: 'ftp://nowhere'}\n")
    assert main(["backfill", str(tmp_path / "in"), "--store", str(tmp_path / "s"), "--config", str(job)]) == 2
    assert "ftp://nowhere" in capsys.readouterr().err


def test_usage_errors_exit_2_and_job_errors_5(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backfill"]) == 2
    assert main(["status", str(tmp_path)]) == 2
    assert main(["plan", str(tmp_path / "nowhere"), "--store", str(tmp_path / "s")]) == 5
    told = capsys.readouterr().err
    assert "no such folder" in told
    assert "fix:" in told
    assert not (tmp_path / "s").exists()


def test_out_of_range_values_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backfill", "x", "--store", "y", "--max-fault-rate", "7"]) == 2
    assert "max_fault_rate" in capsys.readouterr().err


def test_secrets_are_not_shown() -> None:
    typed = ["backfill", "x", "--storage.secret-key", "hush", "--storage.session-token=hush", "--store", "a b"]
    shown = shown_command(typed)
    assert "hush" not in shown
    assert "'a b'" in shown


def test_every_exit_code_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for code in EXIT_CODES:
        assert f"| {code} |" in readme
