"""How tests reach an S3 server: through the fault proxy, or as a machine whose AWS set-up is theirs alone."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.fault_proxy import FaultProxy


def without_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own AWS set-up."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")


def set_all(patch: pytest.MonkeyPatch, values: Mapping[str, str]) -> None:
    for name, value in values.items():
        patch.setenv(name, value)


def write_profile(s3: S3Server, patch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder / "config").write_text(f"[profile moderation]\nregion = us-east-1\nendpoint_url = {s3.endpoint}\n")
    keys = f"aws_access_key_id = {s3.access_key}\naws_secret_access_key = {s3.secret_key}\n"
    (folder / "credentials").write_text(f"[default]\naws_access_key_id = nobody\n\n[moderation]\n{keys}")
    patch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
    patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))


def through(s3: S3Server, proxy: FaultProxy, **fields: object) -> Storage:
    return Storage(s3.spec().model_copy(update={"endpoint": proxy.endpoint, "poll_s": 0.1, **fields}))
