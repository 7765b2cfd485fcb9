"""What a request may bring, how long it may take, and how much may be under way at once.

Knows numbers. Does not know who keeps them: `door.py` before a body is read, `intake.py` once it is understood,
`admission.py` for what is under way.
"""

from pydantic import Field

from assay.platform.budget import Budget
from assay.platform.spec import Spec

MIB = 2**20


class BatchSpec(Spec):
    """How pictures of many requests are encoded together."""

    views: int = Field(16, ge=1, le=4096, description="most views encoded at once; a still picture is one, mostly")
    wait_s: float = Field(
        0.005,
        ge=0,
        le=1,
        description="seconds an idle replica waits for images that were let in and are not decoded yet",
    )


class LimitSpec(Spec):
    """What one request may bring and take, and what a replica takes on. A client cannot lift them."""

    body_bytes: int = Field(20 * MIB, ge=1024, description="size of a request's body, chunked or not")
    images: int = Field(32, ge=1, le=10_000, description="images in a request")
    body_s: float = Field(20, gt=0, description="seconds until a request's body is here")
    request_s: float = Field(60, gt=0, description="seconds until a request is answered")
    requests_at_once: int | None = Field(
        None, ge=1, description="requests a replica has under way; unset: two and a half batches. More is answered 429"
    )
    images_at_once: int | None = Field(
        None, ge=1, description="images a replica has under way; unset: two and a half batches, one request at least"
    )
    bytes_at_once: int = Field(192 * MIB, ge=1024, description="bytes of bodies a replica holds")
    unsized_bytes_at_once: int = Field(
        32 * MIB, ge=1024, description="the same of bodies that do not say their size beforehand"
    )


ONLINE_BUDGET = Budget(max_bytes=20 * MIB, max_pixels=50_000_000, max_seconds=8)
"""What one image may cost where somebody waits for it: less than in a backfill."""


def requests_at_once(limits: LimitSpec, batch: BatchSpec) -> int:
    """Requests a replica has under way: one batch is encoded while the next is decoded and fills, and some are on their
    way in or out. More would only wait: who is let in under overload waits as long as all of these take."""
    return limits.requests_at_once or 5 * batch.views // 2


def images_at_once(limits: LimitSpec, batch: BatchSpec) -> int:
    """Images a replica has under way."""
    return limits.images_at_once or max(5 * batch.views // 2, limits.images)
