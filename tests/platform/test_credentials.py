"""Credentials as they are now: from files that change, and from helpers that hand out keys with an end."""

import json
import os
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from assay.platform.credentials import Credentials
from assay.platform.errors import CredentialsError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the AWS files lie; nothing of this machine's own AWS set-up counts."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path


def helper(folder: Path, *, lasts: timedelta | None) -> None:
    """A profile whose keys come from a program, which counts how often it was asked."""
    ends = {} if lasts is None else {"Expiration": (datetime.now(UTC) + lasts).isoformat()}
    told = {"Version": 1, "SecretAccessKey": "secret", "SessionToken": "token", **ends}
    program = f"""
        import json, pathlib
        asked = pathlib.Path({str(folder / "asked")!r})
        count = int(asked.read_text()) + 1 if asked.exists() else 1
        asked.write_text(str(count))
        print(json.dumps({{**json.loads({json.dumps(told)!r}), "AccessKeyId": f"key-{{count}}"}}))
    """
    (folder / "helper.py").write_text(textwrap.dedent(program))
    (folder / "config").write_text(f"[profile helped]\ncredential_process = {sys.executable} {folder / 'helper.py'}\n")


def test_a_helpers_keys_are_kept_until_near_their_end(folder: Path) -> None:
    helper(folder, lasts=timedelta(hours=2))
    credentials = Credentials("helped")
    assert [credentials.keys() for _ in range(3)] == [("key-1", "secret", "token")] * 3
    credentials.forget()
    assert credentials.keys()[0] == "key-2", "what was refused is not offered again"


def test_keys_near_their_end_are_fetched_anew(folder: Path) -> None:
    helper(folder, lasts=timedelta(minutes=1))
    credentials = Credentials("helped")
    first = credentials.keys()[0]
    assert credentials.keys()[0] != first


def test_keys_without_an_end_are_looked_up_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(folder, lasts=None)
    credentials = Credentials("helped")
    assert [credentials.keys()[0] for _ in range(2)] == ["key-1", "key-1"]
    monkeypatch.setattr("assay.platform.credentials.KEEP_S", -1.0)
    credentials.forget()
    assert [credentials.keys()[0] for _ in range(2)] == ["key-2", "key-3"]
    usual = Credentials(None)
    for key in ("first", "second"):
        (folder / "credentials").write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n")
        assert usual.keys() == (key, "secret", None)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "from the environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert usual.keys()[0] == "from the environment"


def test_nobody(folder: Path) -> None:
    with pytest.raises(CredentialsError, match="nothing in the environment"):
        Credentials(None).keys()
    with pytest.raises(CredentialsError, match="absent"):
        Credentials("absent").keys()
    (folder / "config").write_text(f"[profile broken]\ncredential_process = {sys.executable} -c 1/0\n")
    with pytest.raises(CredentialsError):
        Credentials("broken").keys()
