"""How many actors of what size a cluster can hold: two pools that can always start together, and grow with it.

Knows CPUs and GPUs as numbers. Does not know Ray (`pipeline.py`), nor what an actor does.
"""

import math
from dataclasses import dataclass

from pydantic import Field

from assay.platform.errors import SpecError
from assay.platform.spec import Spec

WHOLE = 1.001
"""CPUs of an encoder on a lone node without GPUs: a hair over one, so that when the decoders are done and give theirs
back, a node of two does not load a second encoder to share the cores with the first. The decoders take the hair less,
so that one of each fits any node of two. Among many nodes there may be some of one CPU: there it is one."""


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
    stall_s: float = Field(240.0, gt=0, description="end, and say why, when no shard has come back for so many seconds")


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a Ray cluster has, now."""

    cpus: float
    gpus: float
    nodes: int
    memory_gib: float


@dataclass(frozen=True, slots=True)
class Pool:
    """One pool, sized."""

    min: int
    max: int
    """Actors at most on the cluster as it is now."""
    cpus: float
    gpus: float = 0.0
    grows: bool = False
    """Whether nodes that join raise `max`."""

    @property
    def least_cpus(self) -> float:
        """CPUs without which the pool cannot start."""
        return self.min * self.cpus

    @property
    def span(self) -> str:
        """How many actors, in words."""
        return f"{self.min}-{self.max} actors" + (" now, more as nodes join" if self.grows else "")

    @property
    def each(self) -> str:
        """What one actor asks for, in words."""
        return f"{self.cpus:g} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")


@dataclass(frozen=True, slots=True)
class Pools:
    """Both pools, sized so that they can start together."""

    look: Pool
    judge: Pool

    @property
    def told(self) -> str:
        """Both in words; nobody looks where all is judged from what is stored."""
        return (f"look {self.look.span}, " if self.look.max else "") + f"judge {self.judge.span}"


def size_pools(cpus: float, gpus: float, spec: ClusterSpec, nodes: int = 1) -> Pools:
    """Pools for a cluster of `cpus` and `gpus` on `nodes`. By default they always start, on one CPU as on a thousand
    GPUs, and grow with the cluster: Ray Data keeps a quarter of it for each pool and shares out the rest by load.

    Raises:
        SpecError: what the spec asks for at least is more than there is (Ray would wait for ever, without a word).
    """
    judge = _judge_pool(cpus, gpus, spec.judge, WHOLE if nodes == 1 else 1.0)
    # Encoders on GPUs run all the time; encoders on CPUs share them with decoders, and Ray Data balances the two.
    left = cpus - judge.cpus * (judge.max if gpus else judge.min)
    look = _look_pool(cpus, left, spec.look, 2 - WHOLE if judge.cpus == WHOLE else 1.0)
    _refuse_if_short("CPUs", look.least_cpus + judge.least_cpus, cpus)
    _refuse_if_short("GPUs", look.min * look.gpus + judge.min * judge.gpus, gpus)
    return Pools(look, judge)


def size_judges(cpus: float, pieces: int, spec: ClusterSpec) -> Pools:
    """One pool for judging what is stored: a CPU for each actor, and no GPU. As many actors as there are CPUs begin,
    and pieces of work: Ray Data adds to a pool that is busy, but takes its time.

    Raises:
        SpecError: as `size_pools`.
    """
    asked = spec.judge
    each = asked.cpus if asked.cpus is not None else min(1.0, cpus)
    most = asked.max or max(asked.min or 1, math.floor(cpus / each + 1e-9), 1)
    pool = Pool(min(asked.min or min(most, pieces), most), most, each, grows=asked.max is None)
    _refuse_if_short("CPUs", pool.least_cpus, cpus)
    return Pools(Pool(0, 0, 0.0), pool)


def _judge_pool(cpus: float, gpus: float, spec: PoolSpec, whole: float) -> Pool:
    each_gpu = spec.gpus if spec.gpus is not None else (1.0 if gpus >= 1 else 0.0)
    slots = gpus / each_gpu if each_gpu else math.inf
    each_cpu = spec.cpus if spec.cpus is not None else _judge_cpus(cpus, slots, whole)
    fits = min(slots, (cpus if each_gpu else cpus * 0.75) / each_cpu)
    most = spec.max or max(spec.min or 1, math.floor(fits + 1e-9), 1)
    return Pool(min(spec.min or 1, most), most, each_cpu, each_gpu, grows=spec.max is None)


def _judge_cpus(cpus: float, slots: float, whole: float) -> float:
    """CPUs of an encoder. Beside GPUs, decoding needs most of the CPUs: all encoders together take a quarter, which is
    also what Ray Data keeps for them, so that every GPU gets its encoder."""
    if slots == math.inf:
        return whole if cpus >= 2 else cpus / 2
    return max(0.001, math.floor(min(1.0, cpus / 4 / max(1.0, slots)) * 1000) / 1000)


def _look_pool(cpus: float, left: float, spec: PoolSpec, whole: float) -> Pool:
    # A whole CPU where there is one: on two CPUs a second decoder would only get in the encoder's way, and one actor
    # keeps two cores busy with its threads.
    each = spec.cpus if spec.cpus is not None else min(whole, max(left, cpus / 4))
    fits = math.floor(max(left, 0) / each + 1e-9)
    most = spec.max or max(spec.min or 1, fits, 1)
    return Pool(min(spec.min or 1, most), most, each, spec.gpus or 0.0, grows=spec.max is None)


def _refuse_if_short(what: str, wanted: float, there: float) -> None:
    if wanted > there + 1e-6:
        raise SpecError(
            f"the cluster has too few {what} for the pools",
            where="--cluster.look, --cluster.judge",
            why=f"the pools need at least {wanted:g} {what}, there are {there:g}",
            fix="lower min, cpus or gpus of a pool, or add nodes",
        )


def decoders_of(cluster: Cluster, pools: Pools) -> int:
    """The cores a look actor has, or, where few actors share many cores, two."""
    return min(max(2, math.ceil(pools.look.cpus)), max(1, round(cluster.cpus / pools.look.max)))


def encoder_threads_of(cluster: Cluster, pools: Pools) -> int:
    """A node's cores shared out among its encoders; beside a GPU one is enough."""
    return 1 if pools.judge.gpus else max(1, round(cluster.cpus / cluster.nodes / pools.judge.max))
