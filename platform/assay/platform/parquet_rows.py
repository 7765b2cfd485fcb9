"""Images in the rows of Parquet files: which columns hold them, where those lie, and their values one by one.

Knows footers and row groups. Does not know uris, nor what images are. Arrow parses these files in this very process:
unlike a picture, a file made to harm its reader is not kept in a process of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.platform.ranges import RangeFile

FOOTER_BYTES = 2**20
"""Read of the end of a file, to have the whole footer of most in one request."""
GAP_BYTES = 2**20
"""Bytes between two columns' chunks that are read rather than leapt over: another request costs more."""
BATCH_BYTES = 8 * 2**20
BUFFER_BYTES = 2**20

IMAGE_COLUMNS = frozenset(
    {"bytes", "content", "data", "image", "image_bytes", "img", "img_bytes", "photo", "picture"}
    | {"avif", "bmp", "gif", "heic", "jpeg", "jpg", "png", "tif", "tiff", "webp"}
)
"""Names of binary columns that are taken for images. So is every struct with binary `bytes`, as Hugging Face writes."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a schema: those with images, by their paths; binary ones nobody can tell; lists of either."""

    images: tuple[str, ...]
    unknown: tuple[str, ...]


def find_columns(schema: pa.Schema) -> Columns:
    """Which columns hold images."""
    images, unknown = list[str](), list[str]()
    for field in schema:
        if pa.types.is_struct(field.type):
            inside = {child.name: child.type for child in field.type}
            images += [f"{field.name}.bytes"] if _is_binary(inside.get("bytes", pa.null())) else []
        elif _is_binary(field.type):
            (images if field.name.lower() in IMAGE_COLUMNS else unknown).append(field.name)
        elif _lists_binaries(field.type):
            unknown.append(field.name)
    return Columns(tuple(images), tuple(unknown))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _lists_binaries(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return False
    inside = kind.value_type
    return _is_binary(inside) or (pa.types.is_struct(inside) and any(_is_binary(child.type) for child in inside))


def chunk_span(facts: pq.FileMetaData, group: int, column: str) -> tuple[int, int]:
    """Where a column's chunk of a row group begins, and where it ends.

    Raises:
        KeyError: there is no such group or column.
    """
    if group >= facts.num_row_groups:
        raise KeyError(group)
    of_group = facts.row_group(group)
    for index in range(of_group.num_columns):
        chunk = of_group.column(index)
        if chunk.path_in_schema == column:
            first = chunk.dictionary_page_offset if chunk.has_dictionary_page else None
            start = min(chunk.data_page_offset, chunk.data_page_offset if first is None else first)
            return start, start + chunk.total_compressed_size
    raise KeyError(column)


def read_ahead_limits(facts: pq.FileMetaData, groups: Sequence[int], column: str) -> dict[int, int]:
    """For each of some row groups, how far to read ahead from it: to the end of the last chunk that is wanted, too, and
    near."""
    limits = dict[int, int]()
    follows: tuple[int, int] | None = None
    for group in sorted(groups, reverse=True):
        start, stop = chunk_span(facts, group, column)
        near = follows is not None and 0 <= follows[0] - stop <= GAP_BYTES
        limits[group] = max(stop, follows[1]) if near and follows is not None else stop
        follows = start, limits[group]
    return limits


def read_values(file: RangeFile, facts: pq.FileMetaData, group: int, column: str) -> Iterator[bytes | None]:
    """The values of a column of one row group, in order, read as they are asked for.

    Raises:
        PackUnread: the file cannot be had.
        OSError, pa.ArrowException: it is damaged.
    """
    start, stop = chunk_span(facts, group, column)
    rows = max(1, facts.row_group(group).num_rows)
    batch = max(1, min(256, BATCH_BYTES * rows // max(1, stop - start)))
    with pq.ParquetFile(file, metadata=facts, buffer_size=BUFFER_BYTES, pre_buffer=False) as parquet:
        batches = parquet.iter_batches(batch, row_groups=[group], columns=[column], use_threads=False)
        for one in batches:
            yield from _leaf(one.column(0)).to_pylist()


def _leaf(values: pa.Array) -> pa.Array:
    while pa.types.is_struct(values.type):
        values = pc.struct_field(values, [0])
    return values
