"""A batch of images between decoding and encoding: rows without embeddings, beside one block of pixels.

Knows how rows and pixels belong together. Does not know where bytes came from, nor what an encoder does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from assay.platform.faults import OK, Fault
from assay.platform.images import Decoded
from assay.platform.rows import OBSERVATIONS, ImageRef

Pixels = npt.NDArray[np.uint8]

BATCH_ROWS = pa.schema([field for field in OBSERVATIONS if field.name != "embedding"])
"""What is known of an image before it is encoded."""


@dataclass(frozen=True, slots=True)
class Looked:
    """One image after fetching and decoding. `sha256` is of the stored bytes, empty if there were none."""

    ref: ImageRef
    seen: Decoded | Fault
    sha256: bytes = b""


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """`rows` (schema `BATCH_ROWS`) and `pixels` uint8[views, size, size, 3]: each row's views in row order.

    The number of views of a row is the length of its `views` list; a fault has none.
    """

    rows: pa.Table
    pixels: Pixels

    @classmethod
    def of(cls, shard: int, looked: Sequence[Looked], size: int) -> "ImageBatch":
        """Gather images of one shard into a batch; `size` is the encoder's input edge in pixels."""
        rows = pa.Table.from_pylist([_row(shard, one) for one in looked], schema=BATCH_ROWS)
        seen = [one.seen.pixels for one in looked if isinstance(one.seen, Decoded)]
        pixels = np.concatenate(seen) if seen else np.empty((0, size, size, 3), np.uint8)
        return cls(rows, pixels)


def _row(shard: int, one: Looked) -> dict[str, object]:
    row: dict[str, object] = {
        "shard": shard,
        "uri": one.ref.uri,
        "etag": one.ref.etag,
        "size": one.ref.size,
        "sha256": one.sha256 or None,
    }
    if isinstance(one.seen, Fault):
        return row | {"outcome": one.seen.kind.value, "detail": one.seen.detail or None, "views": []}
    seen = one.seen
    return row | {
        "outcome": OK,
        "format": seen.format,
        "width": seen.width,
        "height": seen.height,
        "frames": seen.frames,
        "views": [view.row() for view in seen.views],
    }
