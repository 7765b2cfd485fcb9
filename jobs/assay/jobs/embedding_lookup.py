"""What a store has observed of some images, such as their embeddings, by name and version.

Knows which version of an image is meant. Does not know how rows are found (`image_rows.py`), what an embedding means
(`assay.platform.scoring`), nor who asks. Memory: the answer.
"""

from collections.abc import Sequence
from typing import Any

import pyarrow.compute as pc

from assay.jobs.datafile import OBSERVED
from assay.jobs.image_rows import ImageRows
from assay.jobs.store import Store
from assay.platform.faults import OK
from assay.platform.rows import MAPPED

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
    latest: dict[str, dict[str, Any]] = {}
    found: dict[Image, dict[str, Any]] = {}
    wanted, files = set(images), store.observations.table()
    lookup = ImageRows(store, OBSERVED, files, ["shard", "uri", "etag", *columns])
    for rows in lookup.of(sorted({uri for uri, _ in images}), pc.field("outcome") == OK):
        for row in rows.to_pylist():
            if (row["uri"], row["etag"]) in wanted:
                found[row["uri"], row["etag"]] = row
            if row["shard"] >= latest.get(row["uri"], row)["shard"]:
                latest[row["uri"]] = row
    return found | {(uri, ""): latest[uri] for uri, etag in wanted if not etag and uri in latest}
