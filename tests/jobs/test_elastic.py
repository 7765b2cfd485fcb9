"""A cluster that changes under a job, and actors that hang or die: what joins is used, what leaves takes nothing with
it, and what stands still is named long before anybody would look.

Stages are handed in here, so that they can sleep, hang and crash; Ray, its raylets and processes are real.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pyarrow as pa
import pytest
from ray.util.placement_group import placement_group, remove_placement_group

from assay.jobs.arrivals import Arrivals
from assay.jobs.pipeline import Flow, MakeStage, joined
from assay.jobs.pools import ClusterSpec, Pool, Pools, size_pools
from assay.jobs.work import Failure, Receipt, Task, Work
from assay.platform.errors import AssayError, CredentialsError
from assay.platform.storage import Storage, StorageSpec
from tests.ray_cluster import ROOT, RayCluster, kill_dead

POOLS = Pools(Pool(1, 1, 0.5), Pool(1, 1, 0.5))


class Step:
    """A stage that does one thing with each shard."""

    def __init__(self, do: Callable[[pa.Table], pa.Table]) -> None:
        self.storage = Storage(StorageSpec())
        self.do = do

    def __call__(self, block: pa.Table) -> pa.Table:
        return self.do(block)


def shards(count: int) -> list[Work]:
    return [Work(shard=number, task=Task.JUDGE, rows=1) for number in range(count)]


def passes() -> Step:
    return Step(lambda block: block)


def answers() -> Step:
    return Step(lambda block: Receipt(shard=block["shard"][0].as_py(), task=Task.JUDGE, rows=1).row())


def sleeps() -> Step:
    """Work that needs no core: the machine has two, and its cores are not what is tested."""

    def sleep(block: pa.Table) -> pa.Table:
        time.sleep(0.5)
        worker = {"pid": str(os.getpid())}
        return Receipt(shard=block["shard"][0].as_py(), task=Task.JUDGE, rows=1, worker=worker).row()

    return Step(sleep)


def drive() -> None:
    """A driver in a process of its own, on the cluster of RAY_ADDRESS: a line for each receipt."""
    with joined(ClusterSpec()) as cluster:
        flow = Flow(shards(4000), passes, sleeps, size_pools(cluster.cpus, cluster.gpus, ClusterSpec()), 240)
        for receipt in flow.receipts():
            print(json.dumps({"shard": receipt.shard, "pid": receipt.worker["pid"]}), flush=True)


@pytest.fixture
def driver() -> Iterator[Callable[[RayCluster], "Lines"]]:
    started: list[subprocess.Popen[str]] = []

    def start(cluster: RayCluster) -> Lines:
        code = "from tests.jobs.test_elastic import drive; drive()"
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return Lines(process)

    yield start
    for process in started:
        process.kill()
        process.communicate()


class Lines:
    """What a driver prints."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self._out = process.stdout
        self.shards: list[int] = []

    def next(self) -> str:
        """The process that did the next shard."""
        for line in self._out:
            if line.startswith("{"):  # raylets talk, too
                self.shards.append(json.loads(line)["shard"])
                return str(json.loads(line)["pid"])
        raise AssertionError("the driver ended")

    def rate(self, count: int) -> float:
        """Shards a second, over the next so many."""
        began = time.monotonic()
        for _ in range(count):
            self.next()
        return count / (time.monotonic() - began)


@pytest.mark.timeout(900)
def test_a_node_that_joins_is_used_and_one_that_dies_takes_nothing_with_it(
    driver: Callable[[RayCluster], Lines],
) -> None:
    # On a small machine that does other things, too, a node may take minutes to start.
    with RayCluster(2) as cluster:
        lines = driver(cluster)
        before = {lines.next()}
        slow = lines.rate(20)
        cluster.add_node(2)
        joined_at = time.monotonic()
        while (worker := lines.next()) in before:
            # Far less than the work of the first stage, which keeps what it does not need once it is over.
            assert time.monotonic() - joined_at < 100, "the new node is not used"
        used_after = time.monotonic() - joined_at
        fast = lines.rate(40)
        print(f"\n{slow:.2f} shards/s; a node more used after {used_after:.1f} s: {fast:.2f} shards/s; by {worker}")
        assert fast > 1.4 * slow
        kill_dead(cluster.raylets[0])
        died_at = time.monotonic()
        lines.next()
        gap = time.monotonic() - died_at
        after = lines.rate(40)
        print(f"its elder killed: {gap:.1f} s to the next shard, {after:.2f} shards/s")
        assert len(set(lines.shards)) == len(lines.shards), "no shard comes back twice"


def hangs_at_three() -> Step:
    def hang(block: pa.Table) -> pa.Table:
        while block["shard"][0].as_py() == 3:
            time.sleep(1)
        return answers().do(block)

    return Step(hang)


def crashes() -> Step:
    time.sleep(0.5)  # its first report leaves the process
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def refused() -> Step:
    raise CredentialsError("wrong keys", where="s3://b", why="403", fix="new keys")


def dies_at_two() -> Step:
    def die(block: pa.Table) -> pa.Table:
        if block["shard"][0].as_py() == 2:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        return answers().do(block)

    return Step(die)


def tell(count: int, stage: str, stall_s: float, then_s: float) -> None:
    """A run in a process of its own, with the judge stage of that name: one line when it is over. `then_s` is how long
    it may stand still once a shard has come back."""
    with joined(ClusterSpec()):
        flow = Flow(shards(count), passes, globals()[stage], POOLS, stall_s)
        arrivals = Arrivals(flow.receipts(), flow.trouble)
        done = []
        for receipt in arrivals:
            if receipt is not None:
                done.append(receipt.shard)
                flow.stall_s = then_s
        arrivals.leave(flow.stop)
    failure = Failure.of(arrivals.error).model_dump() if arrivals.error is not None else None
    print(json.dumps({"done": done, "failure": failure}), flush=True)


class Run(Protocol):
    """Runs so many shards through a judge stage: which came back, and what ended the run early."""

    def __call__(
        self, count: int, judge: MakeStage, stall_s: float, then_s: float = 250
    ) -> tuple[set[int], AssayError | None]: ...


@pytest.fixture
def run(ray_session: str) -> Run:
    """In a process of its own, with which its actors end: some of them would hang or die for ever in the session's
    Ray."""
    environment = {**os.environ, "RAY_ADDRESS": ray_session, "RAY_AUTH_MODE": "token"}

    def start(count: int, judge: MakeStage, stall_s: float, then_s: float = 250) -> tuple[set[int], AssayError | None]:
        code = f"from tests.jobs.test_elastic import tell; tell({count}, '{judge.__name__}', {stall_s}, {then_s})"
        command = [sys.executable, "-c", code]
        said = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True, timeout=280
        ).stdout
        told = json.loads(said.decode().strip().splitlines()[-1])
        failure = told["failure"] and Failure.model_validate(told["failure"]).error()
        return set(told["done"]), failure

    return start


@pytest.mark.nightly
def test_what_does_not_hang_comes_back_whole(run: Run) -> None:
    assert run(20, answers, 40) == (set(range(20)), None)


def test_a_shard_that_hangs_is_named_with_its_process(run: Run) -> None:
    done, error = run(6, hangs_at_three, 250, then_s=15)
    assert done == {0, 1, 2, 4, 5}
    assert error is not None
    assert "stands still" in error.what
    assert error.where.startswith("shard 3 in judge on ")
    assert "(process " in error.where


@pytest.mark.nightly
def test_an_encoder_that_always_crashes_while_it_loads_ends_the_job(run: Run) -> None:
    done, error = run(4, crashes, 250)
    assert not done
    assert error is not None
    assert error.what == "an actor of the judge stage is killed each time it starts"


@pytest.mark.nightly
def test_an_error_while_an_encoder_loads_arrives_as_itself(run: Run) -> None:
    done, error = run(4, refused, 250)
    assert not done
    assert isinstance(error, CredentialsError)
    assert (error.what, error.where, error.why, error.fix) == ("wrong keys", "s3://b", "403", "new keys")


def test_a_shard_that_kills_whoever_takes_it_ends_the_job(run: Run) -> None:
    done, error = run(4, dies_at_two, 250)
    assert 2 not in done
    assert error is not None
    assert "shard 2 is never finished: the judge stage dies each time" in error.what


@pytest.fixture
def taken_cpus(ray_session: str) -> Iterator[None]:
    """All CPUs of the session's Ray are somebody else's."""
    held = placement_group([{"CPU": 2.0}])
    assert held.wait(120)
    yield
    remove_placement_group(held)


@pytest.mark.nightly
@pytest.mark.usefixtures("taken_cpus")
def test_actors_without_a_place_are_named_with_what_they_wait_for(run: Run) -> None:
    done, error = run(4, answers, 15)
    assert not done
    assert error is not None
    assert error.where == "nothing is in hand anywhere"
    assert "no actor of look has found a place: each needs 0.5 CPUs" in error.why
    assert "2 CPUs (0 free)" in error.why
