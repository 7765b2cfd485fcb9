"""A driver killed with -9 half way, and a Ctrl-C: the same command goes on, and nothing is lost or doubled."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from conftest import write_pictures

from assay.jobs.verify import VerifySpec, verify

ASSAY = str(Path(sys.executable).with_name("assay"))
IMAGES, SHARD = 240, 8


def command(bucket: Path, store: Path, release: Path) -> list[str]:
    flags = ["--store", str(store), "--release", str(release), "--shard.images", str(SHARD), "--json"]
    return [ASSAY, "backfill", str(bucket), *flags]


def wait_for_commit(store: Path, started: subprocess.Popen[str]) -> None:
    """Until some, but not all, shards are visible."""
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        if (store / "verdicts" / "_delta_log" / f"{1:020d}.json").exists():
            return
        assert started.poll() is None, started.communicate()
        time.sleep(0.02)
    raise AssertionError("no commit in time")


def test_a_killed_driver_resumes_and_a_stopped_one_says_how(tmp_path: Path, release_dir: Path) -> None:
    bucket = tmp_path / "bucket"
    write_pictures(bucket, IMAGES)
    quiet = {**os.environ, "RAY_BACKEND_LOG_LEVEL": "fatal"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": quiet}

    killed = subprocess.Popen(command(bucket, tmp_path / "killed", release_dir), **pipes)  # type: ignore[call-overload]
    wait_for_commit(tmp_path / "killed", killed)
    killed.kill()
    killed.communicate()
    before = verify(VerifySpec(store=str(tmp_path / "killed")))
    assert before.duplicated == 0

    resumed = subprocess.run(command(bucket, tmp_path / "killed", release_dir), **pipes, check=True)  # type: ignore[call-overload]
    facts = json.loads(resumed.stdout.strip().splitlines()[-1])
    assert facts["already_done"] > 0
    assert facts["fetched"] == IMAGES - facts["already_done"]
    proof = verify(VerifySpec(store=str(tmp_path / "killed")))
    assert proof.sound
    assert proof.planned == IMAGES

    stopped = subprocess.Popen(command(bucket, tmp_path / "stopped", release_dir), **pipes)  # type: ignore[call-overload]
    wait_for_commit(tmp_path / "stopped", stopped)
    stopped.send_signal(signal.SIGINT)
    _, told = stopped.communicate(timeout=60)
    if stopped.returncode == 0:  # it was faster than the signal
        assert verify(VerifySpec(store=str(tmp_path / "stopped"))).sound
    else:
        assert stopped.returncode == 4, told
        assert "Interrupted" in told
        subprocess.run(command(bucket, tmp_path / "stopped", release_dir), **pipes, check=True)  # type: ignore[call-overload]
    assert verify(VerifySpec(store=str(tmp_path / "stopped"))).digest == proof.digest
