"""The Ray Data plan: shards of work in, receipts out, two autoscaled actor pools between.

Knows Ray. Does not know how many actors of what size there are (`pools.py`), what the stages do, what is committed, nor
how trouble is told (`stall.py`). One shard is one row is one block all the way: blocks that were split or bundled would
mix shards (design.md §8). A job is one execution however long it is: actors take a while to start, so they start once.
Its source is Arrow blocks held by the driver (`feed.py`, `inlet.py`), so no read task waits for a whole CPU.
"""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from ray.data import ActorPoolStrategy, DataContext
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from assay.jobs.ending import hold_up
from assay.jobs.feed import Feed
from assay.jobs.head import Head
from assay.jobs.inlet import has_ended, open_inlet, pack
from assay.jobs.pools import Cluster, ClusterSpec, Pool, Pools
from assay.jobs.stall import Board, Picture, Quiet, Report, find_death, name_stall
from assay.jobs.work import Failure, Receipt, Work
from assay.platform.errors import AssayError
from assay.platform.storage import Storage

CALLS_AT_ONCE = 2
"""Shards an actor has in hand: one is encoded while the other's files are written."""
LEAVE_S = 2.0
"""Seconds that leaving a cluster waits for what is under way in it. Few: a cluster without a head (`head.py`) must be
left before Ray ends this process."""
CHECK_S = 5.0
"""Seconds of quiet between two looks at what is in hand, and between two reports of a pause."""
NO_TASK_EVENTS = {"RAY_task_events_report_interval_ms": "0"}
"""For a cluster of our own: its head would keep 22 KB of what happened to each shard, which `ray list tasks` tells."""
INIT_DEATHS = 3
"""Actors that may die one after the other of an error while they load: one bad node is not the end."""


def _usual_address() -> str | None:
    """RAY_ADDRESS if it is set (Ray reads it), else a cluster of our own: Ray itself would join whatever was last
    started on this machine, be it dead."""
    return None if os.environ.get("RAY_ADDRESS") else "local"


@contextmanager
def joined(spec: ClusterSpec) -> Iterator[Cluster]:
    """Be in a cluster: the one this process is in already, the spec's, RAY_ADDRESS's, or a new one that ends with it.

    It is left once nothing of a pipeline is under way in it any more. What will not end in time keeps this process in
    it: it is left as the process ends.

    Raises:
        AssayError: there is no cluster at the address.
    """
    ours = not ray.is_initialized()
    address = spec.address or _usual_address()
    try:
        if ours:
            if address == "local":
                os.environ.update(NO_TASK_EVENTS | os.environ)
            with _own_signals():
                ray.init(
                    address=address,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            # What raylets say of lost nodes and actors, Ray prints on stdout whatever `log_to_driver` is: there, the
            # command prints one JSON object and nothing else.
            ray._private.worker._worker_logs_enabled = False
    except Exception as error:  # a bare Exception, too: when a node does not start within Ray's 30 s
        raise AssayError(
            "cannot join the Ray cluster",
            where=spec.address or "a new one here",
            why=str(error),
            fix="check --cluster.address; `assay doctor` tells more",
        ) from error
    try:
        found = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray leaves it so
        nodes = [node for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # likewise
        memory = found.get("memory", 0.0) / 2**30
        yield Cluster(found.get("CPU", 0.0), found.get("GPU", 0.0), len(nodes), round(memory, 1))
    finally:
        if ours:
            if has_ended(LEAVE_S):
                ray.shutdown()
            else:
                hold_up()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Within, Ray may take SIGTERM: its handler ends the process on the spot. After it, whoever had it before has it
    again, such as a command that commits first; a Ray job is stopped with it, and a pod."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(handler) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def _quiet() -> None:
    """Ray Data's own bars and logs would fight with ours, and its own watch over standstills names nothing."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    context.execution_no_progress_timeout_s = -1
    context.max_consecutive_actor_init_deaths = INIT_DEATHS
    logging.getLogger("ray.data").setLevel(logging.ERROR)


class Flow:
    """Shards under way. Receipts come as shards end, in no order; ask what is wrong while none comes."""

    def __init__(
        self, work: Iterable[Work], look: "MakeStage | None", judge: "MakeStage", pools: Pools, stall_s: float
    ) -> None:
        """`look` is left out for work that fetches nothing."""
        _quiet()
        self.pools, self.stall_s = pools, stall_s
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        # On the driver's node: it lives as long as somebody asks it.
        kept = ray.remote(num_cpus=0, max_restarts=-1)(Board)
        self._board = kept.options(scheduling_strategy=here).remote()
        self._head = Head(str(ray.get_runtime_context().gcs_address))
        self._looked, self._quiet = time.monotonic(), Quiet()
        self._feed = Feed(work, pack)
        shards = open_inlet(self._feed)
        if look is not None:
            shards = self._through(shards, LookActor, look, pools.look)
        self._judged = self._through(shards, JudgeActor, judge, pools.judge)

    def receipts(self) -> Generator[Receipt]:
        """The receipts; closed before its end, it ends the pipeline. When the work cannot be read to its end, what was
        read of it comes first.

        Raises:
            AssayError: the pipeline itself failed (errors that stages find in a shard travel in receipts), or the work
                could not be read.
        """
        try:
            with self._feed:
                for block in self._judged.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                    for text in _texts(block):
                        receipt = Receipt.model_validate_json(text)
                        self._feed.forget(receipt.shard)
                        yield receipt
                self._feed.finish()
        except ray.exceptions.RayError as error:
            raise _told(error) from error

    def stop(self) -> None:
        """Read no more work, and end what is under way: before its cluster is left."""
        self._feed.stop()

    def trouble(self, quiet_s: float) -> AssayError | None:
        """What is wrong after so many seconds without a receipt, if anything is: a standstill, an actor that never
        starts, a head that is gone."""
        quiet_s = self._quiet.stood_s(quiet_s, starves=self._feed.starves)
        if time.monotonic() - self._looked < CHECK_S and quiet_s < self.stall_s:
            return None
        self._looked = time.monotonic()
        if not self._head.answers():
            return self._head.error()
        picture = self._picture()
        found = find_death(picture)
        if found is None and quiet_s >= self.stall_s and picture.pause_s <= 0:
            pools = {"look": self.pools.look, "judge": self.pools.judge}
            wanted = {name: pool.each for name, pool in pools.items() if pool.max}
            found = name_stall(picture, wanted, _room(), quiet_s)
        return found

    def _picture(self) -> Picture:
        try:
            seen = ray.get(self._board.read.remote(), timeout=CHECK_S)  # type: ignore[attr-defined]  # Ray adds remote
        except ray.exceptions.RayError:  # it is coming back; the next look will find it
            return Picture()
        assert isinstance(seen, Picture)
        return seen

    def _through(
        self, shards: ray.data.Dataset, actor: type["LookActor | JudgeActor"], make: "MakeStage", pool: Pool
    ) -> ray.data.Dataset:
        """`shards` passed through a pool of actors, one at a time."""
        return shards.map_batches(
            actor,
            fn_constructor_args=(make, self._board),
            batch_size=1,
            batch_format="pyarrow",
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            compute=ActorPoolStrategy(
                min_size=pool.min,
                max_size=None if pool.grows else pool.max,
                max_concurrent_calls_per_actor=CALLS_AT_ONCE,
                enable_true_multi_threading=True,
            ),
        )


def _texts(block: pa.Table) -> list[str]:
    return [str(text) for text in block["receipt"].to_pylist()] if block.num_rows else []


def _told(error: ray.exceptions.RayError) -> AssayError:
    """Ray's error in our words. One that a stage raised while it loaded is wrapped up in text."""
    text = str(error).strip()
    _, mark, packed = text.partition(_MARK)
    if mark:
        return Failure.model_validate_json(packed.partition(_END)[0]).error()
    return AssayError(
        "the pipeline failed",
        where="Ray Data",
        why=text.splitlines()[-1],
        fix="run the same command again; what is committed stays",
    )


def _room() -> str:
    """What the cluster has, and what of it nobody uses."""
    there = ray.cluster_resources()  # type: ignore[no-untyped-call]  # Ray leaves it so
    free = ray.available_resources()  # type: ignore[no-untyped-call]  # likewise
    told = [f"{there.get(what, 0):g} {what}s ({free.get(what, 0):g} free)" for what in ("CPU", "GPU")]
    return " and ".join(told)


class Stage(Protocol):
    """What an actor does with a shard."""

    storage: Storage

    def __call__(self, block: pa.Table) -> pa.Table:
        """One row in, one row out."""


MakeStage = Callable[[], Stage]
"""Makes a stage, in its actor."""


class _StageActor:
    """A stage in an actor that tells the board what it has in hand: a message when it takes a shard, one when it is
    done with it, and one now and then while its storage pauses."""

    name = ""

    def __init__(self, make: MakeStage, board: ray.actor.ActorHandle[Board]) -> None:
        self._board = board
        self._shards: frozenset[int] = frozenset()
        self._change = threading.Lock()
        self._actor = str(ray.get_runtime_context().get_actor_id())
        self._node, self._pid = socket.gethostname(), os.getpid()
        self._send(Report(self._actor, self.name, self._node, self._pid))
        try:
            self._stage = make()
        except AssayError as error:
            # Ray hands on the text of what a constructor raises, and nothing else.
            raise AssayError(f"{_MARK}{Failure.of(error).model_dump_json()}{_END}") from error
        self._tell()
        threading.Thread(target=self._tell_pauses, name="pauses", daemon=True).start()

    def __call__(self, block: pa.Table) -> pa.Table:
        """One row in, one row out."""
        shard = int(block["shard"][0].as_py())
        self._tell(taken=frozenset({shard}))
        try:
            return self._stage(block)
        finally:
            self._tell(done=frozenset({shard}))

    def _tell(self, taken: frozenset[int] = frozenset(), done: frozenset[int] = frozenset()) -> None:
        patience = self._stage.storage.patience
        began = patience.paused_since
        left_s = 0.0 if began is None else max(0.0, began + patience.patience_s - time.time())
        with self._change:  # messages leave in the order of what they tell
            self._shards = (self._shards | taken) - done
            reason = "" if began is None else patience.reason
            self._send(Report(self._actor, self.name, self._node, self._pid, True, self._shards, reason, left_s))

    def _tell_pauses(self) -> None:
        while True:
            time.sleep(CHECK_S)
            if self._stage.storage.patience.paused_since is not None:
                self._tell()

    def _send(self, report: Report) -> None:
        self._board.tell.options(num_returns=0).remote(report)


class LookActor(_StageActor):
    """Fetches and decodes. A class of its own, so that Ray's lists tell the two pools apart."""

    name = "look"


class JudgeActor(_StageActor):
    """Encodes and judges."""

    name = "judge"


_MARK, _END = "assay-failure:", ":assay-failure-end"
