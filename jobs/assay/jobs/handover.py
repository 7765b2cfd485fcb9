"""A shard between two stages, as one Arrow row: its work and, once it was looked at, its rows and pixels.

Knows how they lie in a block, without a copy. Does not know what the stages do.
"""

import numpy as np
import pyarrow as pa

from assay.platform.batch import ImageBatch


def hand_over(
    block: pa.Table, work: str, *, batch: ImageBatch | None = None, seconds: float = 0.0, failure: str = ""
) -> pa.Table:
    """What the look stage makes of a shard's block: a batch, and the time that took, or a failure of the job."""
    rows, pixels = pa.py_buffer(b""), pa.py_buffer(b"")
    if batch is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.rows.schema) as out:
            out.write_table(batch.rows)
        rows, pixels = sink.getvalue(), pa.py_buffer(batch.pixels)
    columns = {
        "shard": block["shard"],
        "work": [work],
        "rows": _one_buffer(rows),
        "pixels": _one_buffer(pixels),
        "seconds": [seconds],
        "failure": [failure],
    }
    return pa.table(columns)


def only(block: pa.Table, name: str) -> str:
    """A text of a block."""
    assert block.num_rows == 1, "one row is one shard"
    return str(block[name][0].as_py())


def batch_of(block: pa.Table, size: int) -> ImageBatch:
    """The batch of a block; `size` is the edge of its pictures."""
    rows = pa.ipc.open_stream(block["rows"][0].as_buffer()).read_all()
    pixels = np.frombuffer(block["pixels"][0].as_buffer(), np.uint8).reshape(-1, size, size, 3)
    return ImageBatch(rows, pixels)


def _one_buffer(buffer: pa.Buffer) -> pa.Array:
    """A `large_binary` array of one value, without a copy."""
    offsets = pa.py_buffer(np.array([0, buffer.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, buffer])
