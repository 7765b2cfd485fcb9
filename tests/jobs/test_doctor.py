"""The doctor finds what is wrong, says how to mend it, and still looks at the rest."""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import main
from tests.conftest import S3Server

pytestmark = pytest.mark.usefixtures("ray_session")


def examine(capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, dict[str, dict[str, object]]]:
    code = main(["doctor", "--json", *flags])
    return code, {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)}


def test_a_well_place(tmp_path: Path, release_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"a")
    flags = ["--source", str(tmp_path / "in"), "--store", str(tmp_path / "store"), "--release", str(release_dir)]
    code, found = examine(capsys, *flags)
    assert code == 0
    assert all(finding["well"] for finding in found.values())
    assert {"machine", "ray", "release", "encoder", "source", "store"} <= found.keys()


def test_wrong_credentials_are_named_and_not_shown(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, release_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {**s3.environment(), "AWS_SECRET_ACCESS_KEY": "wrong-and-hush"}.items():
        monkeypatch.setenv(name, value)
    code, found = examine(capsys, "--source", "s3://some-bucket/x", "--release", str(release_dir))
    assert code == 5
    assert not found["source"]["well"]
    assert "AWS_" in str(found["source"]["fix"])
    assert "hush" not in json.dumps(found)
    assert found["ray"]["well"]


def test_a_missing_release_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = examine(capsys, "--release", str(tmp_path))
    assert code == 5
    assert not found["release"]["well"]
    assert found["release"]["fix"]
