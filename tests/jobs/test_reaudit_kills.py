"""A re-audit killed after any request to a real S3 server: the next one finishes, and the verdicts are the same."""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audit_text import other_release
from tests.conftest import S3Server, write_pictures
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.request_kills import IMAGES, Rig, kill_everywhere

FEW = 23
"""`make test` kills at every so many requests, `make nightly` at every one."""


class AuditRig(Rig):
    """Re-audits of stores that were backfilled before."""

    def __init__(self, proxy: FaultProxy, s3: S3Server, source: str, releases: tuple[Path, Path], folder: Path) -> None:
        super().__init__(proxy, s3, source, releases[0], folder)
        self.other = releases[1]
        self.backfilled = super().settings()
        self.server.finish(self.backfilled, self.folder / "told")

    def settings(self) -> dict[str, object]:
        """A re-audit of a store of its own, a copy of the one that was backfilled."""
        copy, storage = f"{self.bucket}/store-{uuid.uuid4().hex}", self.s3.storage
        whole = str(self.backfilled["store"])
        for found in storage.list(whole):
            data = storage.read(f"{whole}/{found.name}")
            assert data is not None
            storage.write(f"{copy}/{found.name}", data)
        return {"store": copy, "storage": self.backfilled["storage"], "release": str(self.other)}


@pytest.fixture
def rig(s3: S3Server, s3_place: str, release_dir: Path, tmp_path: Path) -> Iterator[AuditRig]:
    source = f"{s3_place}/{uuid.uuid4().hex}/pictures"
    for path in write_pictures(tmp_path / "pictures", IMAGES):
        s3.put(f"{source}/{path.name}", path.read_bytes())
    with fault_proxy(s3.endpoint) as proxy:
        yield AuditRig(proxy, s3, source, (release_dir, other_release(tmp_path)), tmp_path)


def test_killed_at_some_requests(rig: AuditRig) -> None:
    kill_everywhere(rig, {"before": FEW, "after": FEW})


@pytest.mark.nightly
@pytest.mark.timeout(7200)
def test_killed_at_every_request(rig: AuditRig) -> None:
    kill_everywhere(rig, {"after": 1, "before": FEW})
