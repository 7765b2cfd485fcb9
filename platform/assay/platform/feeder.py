"""The feeder: from the bytes of stored images to their embeddings in one process, decoders and encoder all busy.

Knows what is ahead of what, and for how long: images are decoded while others are encoded, and the encoder finds its
next batch ready. Does not know where bytes come from, how an image is decoded, nor Ray: a cluster feeds its encoders
with blocks (`assay.jobs`), this is for one machine.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from pydantic import Field

from assay.platform.encoder import Embeddings, Encoder
from assay.platform.faults import Fault
from assay.platform.images import Decoded
from assay.platform.spec import Spec
from assay.platform.views import View

Decode = Callable[[bytes], Decoded | Fault]
"""A guard's `decode`, or `images.decode` with its preprocessing and budget. Called from many threads."""

Item = TypeVar("Item")
Made = TypeVar("Made")


class FeederSpec(Spec):
    """How much is under way at once."""

    decoders: int = Field(2, ge=1, description="images decoded at once")
    views: int = Field(256, ge=1, description="views in a batch for the encoder, at least; best a multiple of a pass")
    ahead: int = Field(512, ge=1, description="images decoded before they are needed: their pixels are in memory")


@dataclass(frozen=True, slots=True)
class Embedded:
    """One image: its views with their embeddings, float16[views, dim], or its fault and none."""

    views: tuple[View, ...]
    embeddings: Embeddings
    fault: Fault | None = None


def embed_images(contents: Iterable[bytes], decode: Decode, encoder: Encoder, spec: FeederSpec) -> Iterator[Embedded]:
    """Each of `contents`, in its order. No more is read of them than is under way.

    Raises:
        AssayError: decoding or encoding cannot go on; a bad image is a fault.

    Example:
        with Guard(encoder.preprocess, Budget(), decoders=16) as guard:
            for image in embed_images(contents, guard.decode, encoder, FeederSpec(decoders=16)):
                ...
    """
    with ExitStack() as stack:
        pools = [ThreadPoolExecutor(size) for size in (spec.decoders, encoder.calls_at_once)]
        for pool in pools:
            stack.callback(pool.shutdown, cancel_futures=True)
        decoded = _ahead(pools[0], decode, contents, spec.ahead)
        # One batch more than are encoded waits, so that a device which is done finds the next one.
        for batch in _ahead(pools[1], partial(_encode, encoder), _batches(decoded, spec.views), encoder.calls_at_once):
            yield from batch


def _ahead(pool: ThreadPoolExecutor, make: Callable[[Item], Made], items: Iterable[Item], depth: int) -> Iterator[Made]:
    """What is made of `items`, in their order; `depth` of them are given out before they are asked for."""
    coming = deque[Future[Made]]()
    for item in items:
        coming.append(pool.submit(make, item))
        if len(coming) > depth:
            yield coming.popleft().result()
    while coming:
        yield coming.popleft().result()


def _batches(decoded: Iterable[Decoded | Fault], views: int) -> Iterator[list[Decoded | Fault]]:
    """Whole images, until there are so many views."""
    batch, gathered = list[Decoded | Fault](), 0
    for seen in decoded:
        batch.append(seen)
        gathered += 0 if isinstance(seen, Fault) else len(seen.views)
        if gathered >= views:
            yield batch
            batch, gathered = [], 0
    if batch:
        yield batch


def _encode(encoder: Encoder, batch: list[Decoded | Fault]) -> list[Embedded]:
    size = encoder.preprocess.size
    pixels = [seen.pixels for seen in batch if isinstance(seen, Decoded)]
    found = encoder.encode_images(np.concatenate([np.empty((0, size, size, 3), np.uint8), *pixels]))
    ends = np.cumsum([0 if isinstance(seen, Fault) else len(seen.views) for seen in batch])
    return [
        Embedded((), rows, seen) if isinstance(seen, Fault) else Embedded(seen.views, rows)
        for seen, rows in zip(batch, np.split(found, ends[:-1]), strict=True)
    ]
