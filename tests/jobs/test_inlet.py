"""A job of many shards in a real Ray: one execution with one set of actors, fed as it goes; and what is lost with a
node on its way between two stages is made again.
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
import ray

from assay.jobs import pipeline
from assay.jobs.arrivals import RECEIPTS, Arrivals
from assay.jobs.feed import Feed
from assay.jobs.inlet import has_ended
from assay.jobs.pipeline import Flow, joined
from assay.jobs.pools import ClusterSpec, Pool, Pools
from assay.jobs.work import Receipt, Task, Work
from assay.platform.storage import Storage, StorageSpec
from tests.ray_cluster import ROOT, RayCluster, kill_dead, wait_until

POOLS = Pools(Pool(1, 1, 1), Pool(1, 1, 1))
AHEAD, UNDER_WAY = 8, 16
PIXELS = 1 << 20
"""Bytes of a block between the stages: such live in the store of the node they were made on."""


class Look:
    """Makes a big block, and writes down that it did."""

    def __init__(self, folder: str) -> None:
        self.storage, self.folder = Storage(StorageSpec()), Path(folder)

    def __call__(self, block: pa.Table) -> pa.Table:
        shard, where = block["shard"][0].as_py(), f"{os.getpid()} {os.getppid()}"  # the parent is the raylet
        with (self.folder / f"{shard}").open("a") as book:
            book.write(f"{where}\n")
        pixels = pa.array([os.urandom(PIXELS)], pa.large_binary())
        return block.append_column("by", pa.array([where])).append_column("pixels", pixels)


class Judge:
    """Takes its time."""

    def __init__(self, seconds: float) -> None:
        self.storage, self.seconds = Storage(StorageSpec()), seconds

    def __call__(self, block: pa.Table) -> pa.Table:
        assert block.num_rows == 1
        assert len(block["pixels"][0].as_buffer()) == PIXELS
        time.sleep(self.seconds)
        worker = {"look": block["by"][0].as_py(), "judge": str(os.getpid())}
        return Receipt(shard=block["shard"][0].as_py(), task=Task.JUDGE, rows=1, worker=worker).row()


def drive(count: int, seconds: float, folder: str) -> None:
    """A run in a process of its own: a line for each receipt, and how far the work was read when it came."""
    read = 0

    def work() -> Iterator[Work]:
        nonlocal read
        for shard in range(count):
            read += 1
            yield Work(shard=shard, task=Task.JUDGE, rows=1)

    pipeline.Feed = partial(Feed, ahead=AHEAD, under_way=UNDER_WAY)  # type: ignore[attr-defined,assignment]  # a short one
    with joined(ClusterSpec()):
        flow = Flow(work(), partial(Look, folder), partial(Judge, seconds), POOLS, 240)
        for receipt in flow.receipts():
            print(json.dumps({"shard": receipt.shard, "read": read, **receipt.worker}), flush=True)


def leave(folder: str) -> None:
    """A run that is left while a shard is judged, which would take longer than any test: prints whether it ended."""
    work = (Work(shard=shard, task=Task.JUDGE, rows=1) for shard in range(3))
    with joined(ClusterSpec()):
        flow = Flow(work, partial(Look, folder), partial(Judge, 3600), POOLS, 7200)
        arrivals = Arrivals(flow.receipts(), flow.trouble)
        for receipt in arrivals:
            assert receipt is None
            if looks(Path(folder)):
                break
        arrivals.leave(flow.stop)
        print(json.dumps({"ended": str(has_ended(120))}), flush=True)


def start(environment: dict[str, str], count: int, seconds: float, folder: Path) -> subprocess.Popen[str]:
    return call(environment, f"drive({count}, {seconds}, {str(folder)!r})")


def call(environment: dict[str, str], function: str) -> subprocess.Popen[str]:
    code = f"from tests.jobs import test_inlet; test_inlet.{function}"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(driver: subprocess.Popen[str]) -> list[dict[str, str]]:
    """What it printed, once it has ended well."""
    out, told = driver.communicate(timeout=280)
    assert driver.returncode == 0, told[-2000:]
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def looks(folder: Path) -> int:
    """How often a shard was looked at."""
    return sum(len(book.read_text().splitlines()) for book in folder.iterdir())


def test_a_job_longer_than_what_is_read_ahead_has_one_set_of_actors(ray_session: str, tmp_path: Path) -> None:
    count = 6 * UNDER_WAY
    receipts = finish(start({**os.environ, "RAY_ADDRESS": ray_session, "RAY_AUTH_MODE": "token"}, count, 0, tmp_path))
    assert sorted(int(one["shard"]) for one in receipts) == list(range(count))
    assert len({one["look"] for one in receipts}) == 1
    assert len({one["judge"] for one in receipts}) == 1
    # When a receipt is printed, it and those before it have come back; one more shard is read, and waits.
    assert all(int(one["read"]) <= came + UNDER_WAY + 1 for came, one in enumerate(receipts, 1))


def test_a_run_is_left_whatever_its_actors_have_in_hand(ray_session: str, tmp_path: Path) -> None:
    environment = {**os.environ, "RAY_ADDRESS": ray_session, "RAY_AUTH_MODE": "token"}
    assert finish(call(environment, f"leave({str(tmp_path)!r})")) == [{"ended": "True"}]


def test_a_cluster_is_not_left_while_a_pipeline_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(pipeline, "LEAVE_S", 0.1)
    monkeypatch.setattr(pipeline, "hold_up", lambda: told.append("held up"))
    doubles = {
        "is_initialized": lambda: False,
        "init": lambda **_how: None,
        "cluster_resources": dict,
        "nodes": list,
        "shutdown": lambda: told.append("left"),
    }
    for name, double in doubles.items():
        monkeypatch.setattr(ray, name, double)
    over = threading.Event()
    goes_on = threading.Thread(target=over.wait, name=RECEIPTS)
    goes_on.start()
    for _ in range(2):
        with joined(ClusterSpec()):
            pass
        over.set()
        goes_on.join()
    assert told == ["held up", "left"]


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_what_was_lost_with_a_node_between_the_stages_is_made_again(tmp_path: Path) -> None:
    count = UNDER_WAY - 2
    with RayCluster(1, 1) as cluster:
        driver = start(cluster.environment, count, 2.0, tmp_path)
        try:
            wait_until(lambda: looks(tmp_path) == count or driver.poll() is not None, 300, "all looked at")
            [raylet] = {int(book.read_text().split()[1]) for book in tmp_path.iterdir()}
            kill_dead(raylet)
            cluster.add_node(1)
            receipts = finish(driver)
        finally:
            driver.kill()
            driver.communicate()
    assert sorted(int(one["shard"]) for one in receipts) == list(range(count)), "none lost, none twice"
    print(f"\nlooked at again: {looks(tmp_path) - count} of {count}")
    assert looks(tmp_path) > count, "the kill came too late to show anything"
