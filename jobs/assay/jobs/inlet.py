"""The inlet: where work enters a Ray Data plan, a block for each shard, for as long as there is some.

Knows what Ray 2.60 keeps to itself: how a source of a plan hands blocks on, when it is over, what an execution
remembers of each block, how it is ended from without, and in which threads it lives. Does not know what the work is,
nor what becomes of it. Ray's own sources cannot do this. One of blocks (`from_blocks`) holds all of them from the
beginning. A read task that is fed as it goes cannot be run again: it hands out blocks nobody can make a second time,
and Ray does run it again, from its beginning, when its process dies or a node is lost with what was made of them; and
it costs a process and three hand-overs for each shard.
"""

import functools
import threading
import time
from collections import deque

import ray
import ray.data
from ray.data import DataContext
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.interfaces import BlockEntry, PhysicalOperator, RefBundle
from ray.data._internal.execution.operators.input_data_buffer import InputDataBuffer
from ray.data._internal.execution.streaming_executor import StreamingExecutor
from ray.data._internal.logical.interfaces import LogicalOperator, LogicalPlan, SourceOperator
from ray.data._internal.planner.planner import Planner
from ray.data._internal.stats import DatasetStats
from ray.data.block import BlockMetadata

from assay.jobs.arrivals import RECEIPTS
from assay.jobs.feed import FEED, Feed
from assay.jobs.work import Work

REMEMBERED = 64
"""Blocks of each stage that an execution remembers the times of; Ray's own lists grow by 1 KB with every block."""

_ENDING = "pipeline-ending"
_THREADS = (RECEIPTS, FEED, _ENDING, "StreamingExecutor-", "ray-data-metadata-prefetch", "iter_threaded")
"""What begins the names of threads that call Ray for a pipeline, this room's and Ray Data's own. Its `Prefetcher` is
not one of them: it stays, and fetches nothing, since no batch is asked for beforehand."""

Bundle = RefBundle


def pack(work: Work) -> Bundle:
    """A shard's block, held by this process: it lives as long as the bundle."""
    block = work.row()
    held = ray.put(block)
    entry = BlockEntry(held, BlockMetadata(block.num_rows, block.nbytes, None, None))  # type: ignore[arg-type]  # Ray has two
    return RefBundle((entry,), schema=block.schema, owns_blocks=False)


def open_inlet(feed: Feed[Bundle]) -> ray.data.Dataset:
    """A dataset that ends when the feed does."""
    context = DataContext.get_current().copy()
    context.custom_execution_callback_classes.append(_Held)
    return ray.data.Dataset(LogicalPlan(_Inlet(feed), context), context, DatasetStats(metadata={}, parent=None))


def has_ended(within_s: float) -> bool:
    """Whether no thread of a pipeline is left in this process, after a wait of so many seconds at most.

    A thread that asks Ray anything while its cluster is left ends the whole process, with code 1 and without a word of
    ours: `CoreWorkerProcessImpl::GetCoreWorker` calls `_Exit`.
    """
    deadline = time.monotonic() + within_s
    while alive := [thread for thread in threading.enumerate() if thread.name.startswith(_THREADS)]:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return False
        alive[0].join(left_s)
    return True


class _Inlet(LogicalOperator, SourceOperator):
    """The inlet in a plan that is not executed yet."""

    feed: Feed[Bundle]

    def __init__(self, feed: Feed[Bundle]) -> None:
        super().__init__()
        object.__setattr__(self, "feed", feed)  # Ray's plans are frozen

    def output_data(self) -> list[Bundle] | None:
        """Not known beforehand."""
        return None


class _Buffer(InputDataBuffer):
    """The inlet of an execution. Ray's scheduling loop asks it in each round, in a thread of its own."""

    def __init__(self, context: DataContext, feed: Feed[Bundle]) -> None:
        super().__init__(context, input_data=[])
        self.feed = feed
        self._estimated_num_output_bundles = None  # nobody knows how many will come

    def throttling_disabled(self) -> bool:
        """It needs nothing of the cluster: Ray would keep a sixth of it aside for this stage."""
        return True

    def has_next(self) -> bool:
        [stage] = self.output_dependencies
        self.feed.note_taken(stage.metrics.num_inputs_received)
        return self.feed.ready()

    def _get_next_inner(self) -> Bundle:
        bundle = self.feed.next()
        self._metrics.on_input_received(bundle)
        return bundle

    def has_execution_finished(self) -> bool:
        return self.feed.over

    def has_completed(self) -> bool:
        return self.feed.over


def _plan(inlet: _Inlet, _inputs: list[PhysicalOperator], context: DataContext) -> _Buffer:
    return _Buffer(context, inlet.feed)


Planner._DEFAULT_PLAN_FNS[_Inlet] = _plan


class _Held(ExecutionCallback):
    """Keeps an execution from remembering every block it ever made; and it ends when its feed is stopped."""

    def before_execution_starts(self, executor: StreamingExecutor) -> None:
        for stage in executor._topology or ():
            if hasattr(stage, "_output_blocks_stats"):
                stage._output_blocks_stats = deque(maxlen=REMEMBERED)
            if isinstance(stage, _Buffer):
                stage.feed.at_stop = functools.partial(_end, executor)


def _end(executor: StreamingExecutor) -> None:
    """End an execution, whatever its actors have in hand. Not awaited: a cluster without a head may hold it up."""
    if not executor._shutdown:
        threading.Thread(target=executor.shutdown, args=(False,), name=_ENDING, daemon=True).start()
