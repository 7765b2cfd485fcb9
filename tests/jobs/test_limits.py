"""Where the machine ends: a full disk, a prefix that cannot be written, and too little memory for a hostile image.
Each stops cleanly with a reason, and the same command goes on once there is room.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from deltalake import DeltaTable
from PIL import Image

from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from assay.platform.faults import FaultKind
from tests.conftest import S3Server, write_pictures
from tests.serial_backfill import ForkServer

IMAGES = 24


def settings(source: Path | str, store: Path | str, release: Path, **more: object) -> dict[str, object]:
    return {"source": str(source), "store": str(store), "release": str(release), "shard": {"images": 2}, **more}


def proof(store: Path) -> VerifyFacts:
    return verify(VerifySpec(store=str(store)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of two megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no right to mount here: {mounted.stderr.decode()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk up to `leave` bytes."""
    facts = os.statvfs(folder)
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(max(0, facts.f_bavail * facts.f_frsize - leave)))
    return ballast


@pytest.mark.parametrize("leave", [4_096, 40_000, 120_000, 200_000, 300_000, 400_000])
def test_a_full_disk_stops_the_job_and_loses_nothing(
    small_disk: Path, tmp_path: Path, release_dir: Path, leave: int
) -> None:
    """Full at once, in the middle of planning, while the release is copied, among data files, in a commit."""
    server, told = ForkServer(), tmp_path / "told"
    write_pictures(tmp_path / "pictures", IMAGES)
    wanted = settings(tmp_path / "pictures", small_disk / "store", release_dir)
    ballast = fill(small_disk, leave)
    stopped = server.start(wanted, told)
    stopped.join(60)
    assert stopped.exitcode == 5, told.read_text() if told.exists() else stopped.exitcode
    assert "No space left on device" in told.read_text()
    assert "fix:" in told.read_text()
    ballast.unlink()
    server.finish(wanted, told)
    server.finish(settings(tmp_path / "pictures", tmp_path / "whole", release_dir), told)
    found = proof(small_disk / "store")
    assert found.sound
    assert found.digest == proof(tmp_path / "whole").digest


def test_a_picture_that_needs_more_memory_than_it_may(tmp_path: Path, release_dir: Path) -> None:
    """A cap on what decoding may take: the large picture is a fault, the small ones are judged, the job ends well."""
    write_pictures(tmp_path / "pictures", 5)
    noise = np.random.default_rng(0).integers(0, 256, (4_000, 6_000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "pictures" / "large.png", compress_level=0)
    budget = {"max_memory": 48 * 2**20, "max_bytes": 128 * 2**20}
    wanted = settings(tmp_path / "pictures", tmp_path / "store", release_dir, budget=budget)
    ForkServer().finish(wanted, tmp_path / "told")
    rows = DeltaTable(tmp_path / "store" / "observations").to_pyarrow_table(columns=["uri", "outcome", "detail"])
    outcomes = {Path(row["uri"]).name: row["outcome"] for row in rows.to_pylist()}
    assert outcomes.pop("large.png") == FaultKind.TOO_MUCH_MEMORY
    assert set(outcomes.values()) == {"ok"}
    assert proof(tmp_path / "store").sound


def test_a_prefix_that_cannot_be_written(s3: S3Server, s3_place: str, release_dir: Path, tmp_path: Path) -> None:
    """On disk, even root cannot write below a file."""
    write_pictures(tmp_path / "pictures", 2)
    (tmp_path / "file").write_text("in the way")
    told = tmp_path / "told"
    refused = ForkServer().start(settings(tmp_path / "pictures", tmp_path / "file" / "store", release_dir), told)
    refused.join(60)
    assert refused.exitcode == 5
    assert all(part in told.read_text() for part in ("where:", "why:", "fix:"))
    assert (tmp_path / "file").read_text() == "in the way"
