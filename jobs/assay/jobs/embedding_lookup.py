"""What a store has observed of some images, such as their embeddings, by name and version, without reading the rest.

Knows which files and row groups can hold an image: rows lie in the order of uris. Does not know what an embedding means
(`assay.platform.scoring`), nor who asks. Memory: the answer, and one row group for each reading thread.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.jobs.datafile import unreadable
from assay.jobs.store import Store
from assay.platform.errors import StorageError
from assay.platform.faults import OK
from assay.platform.other_clients import arrow_place, outlast
from assay.platform.rows import MAPPED

READERS = 8
"""Files read at once: on a bucket they wait for answers, not for a processor."""

Image = tuple[str, str]
"""uri and etag; an etag of "" is any version, of which the one observed last is taken."""


def find_embeddings(store: Store, images: Sequence[Image], *, mapped: bool = True) -> dict[Image, bytes]:
    """The embedding, float16[views, dim] as bytes, of those of `images` that the store has observed without a fault.
    Without `mapped`, those are left out that `assay migrate` made of another encoder's.

    Raises:
        StorageError: committed rows cannot be read.
    """
    found = find_observed(store, images, ["embedding", "signals"])
    return {image: row["embedding"] for image, row in found.items() if mapped or not was_mapped(row["signals"])}


def was_mapped(signals: Sequence[tuple[str, float]] | None) -> bool:
    """Whether an observation with these signals was mapped, not made."""
    return any(name == MAPPED for name, _ in signals or ())


def find_observed(store: Store, images: Sequence[Image], columns: Sequence[str]) -> dict[Image, dict[str, Any]]:
    """Some columns of the observations of those of `images` that the store has observed without a fault.

    Raises:
        StorageError: committed rows cannot be read.
    """
    uris = sorted({uri for uri, _ in images})
    latest: dict[str, dict[str, Any]] = {}
    found: dict[Image, dict[str, Any]] = {}
    wanted, named = set(images), ["shard", "uri", "etag", *columns]
    with ThreadPoolExecutor(READERS, thread_name_prefix="lookup") as pool:
        for rows in pool.map(lambda some: _read(store, some[0], some[1], named), _files_of(store, uris)):
            for row in rows.to_pylist():
                if (row["uri"], row["etag"]) in wanted:
                    found[row["uri"], row["etag"]] = row
                if row["shard"] >= latest.get(row["uri"], row)["shard"]:
                    latest[row["uri"]] = row
    return found | {(uri, ""): latest[uri] for uri, etag in wanted if not etag and uri in latest}


def _files_of(store: Store, uris: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """The data files that may hold one of `uris` (sorted), each with those of them."""
    files = store.observations.table().columns
    for batch in files.select(["path", "first_uri", "last_uri"]).to_batches(max_chunksize=65_536):
        for path, first, last in zip(*(batch[name].to_pylist() for name in batch.schema.names), strict=True):
            # Without statistics a file may hold anything.
            some = uris[bisect_left(uris, first or "") : len(uris) if last is None else bisect_right(uris, last)]
            if some:
                yield path, some


def _read(store: Store, path: str, uris: Sequence[str], columns: list[str]) -> pa.Table:
    where = f"{store.observations.uri}/{path}"
    # The bounds let whole row groups be passed over by their statistics.
    mine = (pc.field("uri") >= uris[0]) & (pc.field("uri") <= uris[-1]) & pc.field("uri").isin(list(uris))

    def look() -> pa.Table:
        fs, place = arrow_place(store.storage, where)
        chosen = mine & (pc.field("outcome") == OK)
        return pq.read_table(place, columns=columns, filters=chosen, filesystem=fs, page_checksum_verification=True)

    try:
        return outlast(store.storage, where, look)
    except StorageError:
        raise
    except (OSError, pa.ArrowException) as error:
        raise unreadable(store.uri, where, str(error)) from error
