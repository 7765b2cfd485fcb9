"""The Ray Data plan: shards of work in, receipts out, two autoscaled actor pools between. The only file of jobs that
imports Ray.

Knows Ray, and how many actors of what size a cluster can hold. Does not know what the stages do, nor what is committed.
One shard is one row is one block all the way: blocks that were split or bundled would mix shards
(design.md §8). The source is Arrow blocks held by the driver, so no read task waits for a whole CPU.
"""

import logging
import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import ray
import ray.data
import ray.exceptions
from pydantic import Field
from ray.data import ActorPoolStrategy, DataContext

from assay.jobs.stages import JudgeSpec, JudgeStage, LookSpec, LookStage
from assay.jobs.work import Receipt, Work
from assay.platform.errors import AssayError, SpecError
from assay.platform.spec import Spec

CALLS_AT_ONCE = 2
"""Shards an actor has in hand: one is encoded while the other's files are written."""


class PoolSpec(Spec):
    """One pool of actors. What is unset is sized from the cluster."""

    min: int | None = Field(None, ge=1, description="actors at least")
    max: int | None = Field(None, ge=1, description="actors at most")
    cpus: float | None = Field(None, gt=0, description="CPUs of one actor; fractions share a core")
    gpus: float | None = Field(None, ge=0, description="GPUs of one actor; fractions share a GPU")


class ClusterSpec(Spec):
    """Where the work runs."""

    address: str | None = Field(None, description="a running Ray cluster; unset: RAY_ADDRESS, else one is started here")
    look: PoolSpec = Field(PoolSpec(), description="actors that fetch and decode")
    judge: PoolSpec = Field(PoolSpec(), description="actors that encode and judge")


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool, sized."""

    min: int
    max: int
    cpus: float
    gpus: float = 0.0

    @property
    def least_cpus(self) -> float:
        """CPUs without which the pool cannot start."""
        return self.min * self.cpus


@dataclass(frozen=True, slots=True)
class Pools:
    """Both pools, sized so that they can start together."""

    look: Pool
    judge: Pool


def size_pools(cpus: float, gpus: float, spec: ClusterSpec) -> Pools:
    """Pools for a cluster of `cpus` and `gpus`. By default they always start, on one CPU as on a thousand GPUs.

    Raises:
        SpecError: what the spec asks for at least is more than there is (Ray would wait for ever, without a word).
    """
    judge = _judge_pool(cpus, gpus, spec.judge)
    # Encoders on GPUs run all the time; encoders on CPUs share them with decoders, and Ray Data balances the two.
    look = _look_pool(cpus, cpus - judge.cpus * (judge.max if gpus else judge.min), spec.look)
    _refuse_if_short("CPUs", look.least_cpus + judge.least_cpus, cpus)
    _refuse_if_short("GPUs", look.min * look.gpus + judge.min * judge.gpus, gpus)
    return Pools(look, judge)


def _judge_pool(cpus: float, gpus: float, spec: PoolSpec) -> Pool:
    each_gpu = spec.gpus if spec.gpus is not None else (1.0 if gpus >= 1 else 0.0)
    each_cpu = spec.cpus if spec.cpus is not None else _judge_cpus(cpus, each_gpu)
    fits = gpus / each_gpu if each_gpu else cpus * 0.75 / each_cpu
    # Beside GPUs, decoding needs most of the CPUs: encoders take a quarter at most.
    roomy = min(fits, max(1.0, cpus / 4 / each_cpu)) if each_gpu and spec.max is None else fits
    most = spec.max or max(spec.min or 1, math.floor(roomy + 1e-9), 1)
    return Pool(min(spec.min or 1, most), most, each_cpu, each_gpu)


def _judge_cpus(cpus: float, each_gpu: float) -> float:
    if cpus < 2:
        return cpus / 2
    return 0.5 if each_gpu and cpus < 4 else 1.0


def _look_pool(cpus: float, left: float, spec: PoolSpec) -> Pool:
    each = spec.cpus if spec.cpus is not None else (1.0 if left >= 2 else min(0.5, max(left, cpus / 4)))
    fits = math.floor(max(left, 0) / each + 1e-9)
    # One actor keeps two cores busy with its threads.
    most = spec.max or max(spec.min or 1, 1 if cpus <= 2 else fits, 1)
    return Pool(min(spec.min or 1, most), most, each, spec.gpus or 0.0)


def _refuse_if_short(what: str, wanted: float, there: float) -> None:
    if wanted > there + 1e-6:
        raise SpecError(
            f"the cluster has too few {what} for the pools",
            where="--cluster.look, --cluster.judge",
            why=f"the pools need at least {wanted:g} {what}, there are {there:g}",
            fix="lower min, cpus or gpus of a pool, or add nodes",
        )


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a Ray cluster has, now."""

    cpus: float
    gpus: float
    nodes: int
    memory_gib: float


def _usual_address() -> str | None:
    """RAY_ADDRESS if it is set (Ray reads it), else a cluster of our own: Ray itself would join whatever was last
    started on this machine, be it dead."""
    return None if os.environ.get("RAY_ADDRESS") else "local"


@contextmanager
def joined(spec: ClusterSpec) -> Iterator[Cluster]:
    """Be in a cluster: the one this process is in already, the spec's, RAY_ADDRESS's, or a new one that ends with it.

    Raises:
        AssayError: there is no cluster at the address.
    """
    ours = not ray.is_initialized()
    try:
        if ours:
            ray.init(
                address=spec.address or _usual_address(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (ConnectionError, ValueError, RuntimeError) as error:
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
            ray.shutdown()


def disconnect() -> None:
    """Leave the cluster; one that `connect` started here ends."""
    ray.shutdown()


def _quiet() -> None:
    """Ray Data's own bars and logs would fight with ours."""
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def run_shards(work: Iterable[Work], look: LookSpec, judge: JudgeSpec, pools: Pools) -> Iterator[Receipt]:
    """Run the shards; receipts arrive as shards end, in no order.

    Raises:
        AssayError: the pipeline itself failed (errors that stages find travel in receipts).
    """
    _quiet()
    shards = ray.data.from_arrow([one.row() for one in work])
    receipts = _through(_through(shards, LookStage, look, pools.look), JudgeStage, judge, pools.judge)
    try:
        for block in receipts.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            yield from (Receipt.model_validate_json(text) for text in _texts(block))
    except ray.exceptions.RayError as error:
        raise AssayError(
            "the pipeline failed",
            where="Ray Data",
            why=str(error).strip().splitlines()[-1],
            fix="run the same command again; what is committed stays",
        ) from error


def _texts(block: pa.Table) -> list[str]:
    return [str(text) for text in block["receipt"].to_pylist()]


def _through(
    shards: ray.data.Dataset, stage: type[LookStage] | type[JudgeStage], spec: object, pool: Pool
) -> ray.data.Dataset:
    """`shards` passed through a pool of actors, one at a time."""
    return shards.map_batches(
        stage,
        fn_constructor_args=(spec,),
        batch_size=1,
        batch_format="pyarrow",
        num_cpus=pool.cpus,
        num_gpus=pool.gpus or None,
        compute=ActorPoolStrategy(
            min_size=pool.min,
            max_size=pool.max,
            max_concurrent_calls_per_actor=CALLS_AT_ONCE,
            enable_true_multi_threading=True,
        ),
    )
