"""How large a run of the bench is, and what it runs on.

Knows sizes and rounds; the defaults are those of a full run, at most an hour on two cores. Does not know what is
measured.
"""

import os

from pydantic import Field

from assay.jobs.manifest import ShardSpec
from assay.platform.spec import Spec

SHARD = ShardSpec().images
"""Images in a shard, as by default."""


class BenchSpec(Spec):
    """Sizes of a run. Smaller ones are for trying the bench itself: their figures mean nothing."""

    rounds: int = Field(5, ge=1, description="interleaved rounds; the median of at least five is told")
    null_images: int = Field(4096, ge=64, description="images of a lap with the null encoder, and of the guards")
    real_images: int = Field(600, ge=16, description="images of a lap with the real encoder: some 20 s")
    distinct: int = Field(1200, ge=8, description="plain pictures composed; the others are these with other bytes")
    real_shard: int = Field(64, ge=1, description="images in a shard of a real lap; elsewhere the default")
    batch: int = Field(64, ge=1, description="images in a batch of the others")
    model: str = Field("ViT-B-32", description="open_clip's name of the real encoder; its weights are random")
    growth_s: float = Field(60.0, gt=0, description="seconds that N images take in the growth part")
    stored_images: int = Field(10**6, ge=1, description="observations of the store that is audited again")
    ledger_images: int = Field(10**9, ge=10**8, description="images of the ledger that a resume is planned over")
    starts: int = Field(5, ge=1, description="starts of the command in the start-up part")
    online_s: float = Field(12.0, gt=0, description="seconds of a load on the service, after it has settled")
    latency_s: float = Field(0.0, ge=0, description="seconds the loopback object store takes longer to answer")
    seed: int = Field(7, ge=0, description="fixes the pictures and the random weights")


def num_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
