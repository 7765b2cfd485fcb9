"""Rows of a span of shards out of committed files: what judging again needs of observations, and of older verdicts.

Knows which row groups and columns are read. Does not know what becomes of them.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.jobs.datafile import JUDGED, OBSERVED, SCORED_LABEL, Layout, unreadable
from assay.jobs.work import Work
from assay.platform.faults import OK
from assay.platform.moderator import Carried
from assay.platform.other_clients import arrow_place
from assay.platform.storage import Storage
from assay.platform.uris import parse_uri

KEYS = ["shard", "uri", "etag", "outcome"]
"""Columns that tell rows apart; both tables have them."""


def read_observed(storage: Storage, store: str, work: Work, columns: Sequence[str] = (*KEYS, "embedding")) -> pa.Table:
    """The observations of a span: as it is left, what a verdict depends on.

    Raises:
        StorageError: a file is gone or cannot be read.
    """
    return _read(storage, store, OBSERVED, work.observed, work.shards, columns)


def read_verdicts(storage: Storage, store: str, work: Work) -> pa.Table:
    """All of the older verdicts that a span's work names, but for the columns that are partition values.

    Raises:
        StorageError: a file is gone or cannot be read.
    """
    return _read(storage, store, JUDGED, work.carried, work.shards, JUDGED.schema.names).cast(JUDGED.schema)


def carried_scores(storage: Storage, store: str, work: Work, seen: pa.Table, labels: tuple[str, ...]) -> Carried | None:
    """Scores for `labels` of the readable images in `seen`, as older verdicts have them; None when these are not of
    just these images.

    Raises:
        StorageError: a file is gone or cannot be read.
    """
    if not work.carried or not labels:
        return None
    old = _read(storage, store, JUDGED, work.carried, work.shards, [*KEYS, "scores"])
    parts = [_matrix(chunk, labels) for chunk in old["scores"].chunks]
    scored, readable = (rows.select(KEYS).filter(pc.equal(rows["outcome"], OK)) for rows in (old, seen))
    found = np.concatenate([np.empty((0, len(labels)), np.float32), *(part for part in parts if part is not None)])
    if any(part is None for part in parts) or len(found) != scored.num_rows:
        return None
    if not scored.equals(readable):
        order, wanted = _order(scored), _order(readable)
        if not scored.take(order).equals(readable.take(wanted)):
            return None
        ordered = np.empty_like(found)
        ordered[wanted.to_numpy()] = found[order.to_numpy()]
        found = ordered
    return Carried(labels, found)


def _order(rows: pa.Table) -> pa.Array:
    return pc.sort_indices(rows, [(name, "ascending") for name in ("shard", "uri", "etag")])


def _matrix(maps: pa.MapArray, labels: tuple[str, ...]) -> npt.NDArray[np.float32] | None:
    """The scores[rows, labels] of maps that are not null and all have the same labels in the same order, as one release
    leaves them; else None."""
    maps = maps.drop_null()
    if not len(maps):
        return np.empty((0, len(labels)), np.float32)
    start, stop = maps.offsets[0].as_py(), maps.offsets[-1].as_py()
    keys = maps.keys.slice(start, stop - start)
    if len(keys) % len(maps):
        return None
    places = keys.indices.to_numpy().reshape(len(maps), -1)
    named = keys.dictionary.take(pa.array(places[0])).to_pylist()
    if not (places == places[0]).all() or not set(labels) <= set(named):
        return None
    values = maps.items.slice(start, stop - start).to_numpy(zero_copy_only=False).reshape(places.shape)
    found: npt.NDArray[np.float32] = values[:, [named.index(label) for label in labels]].astype(np.float32, copy=False)
    return found


def _read(
    storage: Storage, store: str, layout: Layout, paths: Sequence[str], shards: range, columns: Sequence[str]
) -> pa.Table:
    wanted = [name for name in layout.schema.names if name in columns]
    return pa.concat_tables([_rows_of(storage, store, f"{layout.table}/{path}", shards, wanted) for path in paths])


def _rows_of(storage: Storage, store: str, path: str, shards: range, columns: list[str]) -> pa.Table:
    where = f"{store}/{path}"
    try:
        fs, place = arrow_place(storage, where)
        # Local files are mapped: embeddings lie plain in them, and need no copy on their way.
        source = pa.memory_map(place) if not parse_uri(where).is_s3 else fs.open_input_file(place)
        return _of_shards(source, shards, columns)
    except (OSError, pa.ArrowException):
        # Asked again by the client that waits for a store that went away, it is whole or it is damaged.
        data = storage.read(where)
    if data is None:
        raise unreadable(store, where, "the file is gone")
    try:
        return _of_shards(pa.BufferReader(data), shards, columns)
    except (OSError, pa.ArrowException) as error:
        raise unreadable(store, where, str(error)) from error


def _of_shards(source: pa.NativeFile, shards: range, columns: Sequence[str]) -> pa.Table:
    coded = [SCORED_LABEL] if "scores" in columns else []
    with pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=coded) as file:
        ends = [_ends(file.metadata, group) for group in range(file.num_row_groups)]
        groups = [group for group, (first, last) in enumerate(ends) if first < shards.stop and last >= shards.start]
        is_whole = all(shards.start <= ends[group][0] and ends[group][1] < shards.stop for group in groups)
        wanted = columns if is_whole else ["shard", *columns]
        rows = file.read_row_groups(groups, columns=[*dict.fromkeys(wanted)], use_threads=False)
    if is_whole:
        return rows
    numbers = rows["shard"].to_numpy()
    return rows.filter(pa.array((numbers >= shards.start) & (numbers < shards.stop))).select(list(columns))


def _ends(facts: pq.FileMetaData, group: int) -> tuple[float, float]:
    """The first and the last shard that a row group has; anything, where it does not say."""
    column = facts.row_group(group).column(0)
    assert column.path_in_schema == "shard", "both tables begin with it"
    found = column.statistics
    return (found.min, found.max) if found is not None and found.has_min_max else (-math.inf, math.inf)
