"""The inlet: where work enters a Ray Data plan, a block for each shard, for as long as there is some.

Knows what Ray 2.60 keeps to itself: how a source of a plan hands blocks on, when it is over, and what an execution
remembers of each block. Does not know what the work is, nor what becomes of it. Ray's own sources cannot do this. One
of blocks (`from_blocks`) holds all of them from the beginning. A read task that is fed as it goes cannot be run again:
it hands out blocks nobody can make a second time, and Ray does run it again, from its beginning, when its process dies
or a node is lost with what was made of them; and it costs a process and three hand-overs for each shard.
"""

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

from assay.jobs.feed import Feed
from assay.jobs.work import Work

REMEMBERED = 64
"""Blocks of each stage that an execution remembers the times of; Ray's own lists grow by 1 KB with every block."""

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
    context.custom_execution_callback_classes.append(_Forgetful)
    return ray.data.Dataset(LogicalPlan(_Inlet(feed), context), context, DatasetStats(metadata={}, parent=None))


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
        self._feed = feed
        self._estimated_num_output_bundles = None  # nobody knows how many will come

    def has_next(self) -> bool:
        [stage] = self.output_dependencies
        self._feed.note_taken(stage.metrics.num_inputs_received)
        return self._feed.ready()

    def _get_next_inner(self) -> Bundle:
        bundle = self._feed.next()
        self._metrics.on_input_received(bundle)
        return bundle

    def has_execution_finished(self) -> bool:
        return self._feed.over

    def has_completed(self) -> bool:
        return self._feed.over


def _plan(inlet: _Inlet, _inputs: list[PhysicalOperator], context: DataContext) -> _Buffer:
    return _Buffer(context, inlet.feed)


Planner._DEFAULT_PLAN_FNS[_Inlet] = _plan


class _Forgetful(ExecutionCallback):
    """Keeps an execution from remembering every block it ever made."""

    def before_execution_starts(self, executor: StreamingExecutor) -> None:
        for stage in executor._topology or ():
            if hasattr(stage, "_output_blocks_stats"):
                stage._output_blocks_stats = deque(maxlen=REMEMBERED)
