"""Killed after every single request it makes to a real S3 server: the next run finishes the work, and what is there
then is what an undisturbed run leaves."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import S3Server, write_pictures
from tests.fault_proxy import fault_proxy
from tests.request_kills import IMAGES, Rig, kill_everywhere

FEW = 29
"""`make test` kills at every so many requests, `make nightly` at every one."""


@pytest.fixture
def rig(s3: S3Server, s3_place: str, release_dir: Path, tmp_path: Path) -> Iterator[Rig]:
    source = f"{s3_place}/{uuid.uuid4().hex}/pictures"
    for path in write_pictures(tmp_path / "pictures", IMAGES):
        s3.put(f"{source}/{path.name}", path.read_bytes())
    with fault_proxy(s3.endpoint) as proxy:
        yield Rig(proxy, s3, source, release_dir, tmp_path)


def test_killed_at_some_requests(rig: Rig) -> None:
    kill_everywhere(rig, {"before": FEW, "after": FEW})


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_killed_at_every_request(rig: Rig) -> None:
    kill_everywhere(rig, {"after": 1, "before": FEW})
