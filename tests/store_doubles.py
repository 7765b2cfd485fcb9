"""Small stores without a pipeline: rows as a release would make them, written and committed by hand."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.delta_log import DeltaLedger
from assay.jobs.ledger import DataFile
from assay.jobs.store import Store
from assay.jobs.work import WrittenFile
from assay.platform.rows import OBSERVATIONS, VERDICTS, ImageRef
from assay.platform.storage import Storage

PARTITION = {"release": "release-1", "policy": "strict"}
DIM = 4


def refs_of(count: int, prefix: str = "s3://b/", etag: str = "e") -> tuple[ImageRef, ...]:
    """Refs in order."""
    return tuple(ImageRef(f"{prefix}{number:04d}", f"{etag}{number}", number) for number in range(count))


def observed_rows(shard: int, refs: Sequence[ImageRef], outcomes: Sequence[str] = ()) -> pa.Table:
    """Observations of `refs`: outcomes not given are ok."""
    rows = [
        {
            "shard": shard,
            "uri": ref.uri,
            "etag": ref.etag,
            "size": ref.size,
            "outcome": outcome,
            "views": [{"kind": "whole"}] if outcome == "ok" else [],
            "embedding": np.full(DIM, number, np.float16).tobytes() if outcome == "ok" else b"",
        }
        for number, (ref, outcome) in enumerate(zip(refs, [*outcomes] or ["ok"] * len(refs), strict=True))
    ]
    return pa.Table.from_pylist(rows, schema=OBSERVATIONS)


def judged_rows(shard: int, refs: Sequence[ImageRef], outcomes: Sequence[str] = ()) -> pa.Table:
    """Verdicts of `refs`."""
    rows = [
        {"shard": shard, "uri": ref.uri, "etag": ref.etag, "outcome": outcome, "action": "pass", **PARTITION}
        for ref, outcome in zip(refs, [*outcomes] or ["ok"] * len(refs), strict=True)
    ]
    return pa.Table.from_pylist(rows, schema=VERDICTS)


def data_file(
    written: WrittenFile, rows: int, shards: Iterable[int], partition: dict[str, str] | None = None
) -> DataFile:
    """A written file as a ledger knows it."""
    numbers = sorted(shards)
    ends = (written.first_uri, written.last_uri)
    return DataFile(written.path, written.size, rows, numbers[0], numbers[-1], *ends, partition or {})


def established(place: Path | str, storage: Storage | None = None) -> Store:
    """A store without tables."""
    store = Store.attach(storage or Storage(), str(place))
    store.establish()
    return store


def new_store(storage: Storage, where: Path | str) -> Store:
    """A store with empty tables."""
    store = Store.attach(storage, str(where))
    store.establish()
    store.observations.create()
    store.verdicts.create()
    return store


def reopened(store: Store) -> Store:
    """The store as another process finds it."""
    return Store.open(store.storage, store.uri)


def observe(store: Store, shard: int, refs: Sequence[ImageRef], outcomes: Sequence[str] = ()) -> DataFile:
    """Write and commit a shard's observations."""
    written = write_observations(store.storage, store.uri, shard, observed_rows(shard, refs, outcomes))
    return _commit(store.observations, data_file(written, len(refs), [shard]))


def judge(
    store: Store,
    shard: int,
    refs: Sequence[ImageRef],
    outcomes: Sequence[str] = (),
    partition: dict[str, str] = PARTITION,
) -> DataFile:
    """Write and commit a shard's verdicts."""
    written = write_verdicts(store.storage, store.uri, shard, judged_rows(shard, refs, outcomes))
    return _commit(store.verdicts, data_file(written, len(refs), [shard], partition))


def _commit(ledger: DeltaLedger, file: DataFile) -> DataFile:
    ledger.commit([file])
    return file


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
