"""A store as a backfill and a compaction leave it, made at once: synthetic embeddings, no picture behind them.

Knows how rows, manifests and commits lie; all are written by the product's own code. Every file holds the same block of
embeddings under names of its own: no figure depends on which they are.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.jobs.binding import Binding, bind
from assay.jobs.datafile import OBSERVED, FileWriter
from assay.jobs.generation import Generation, publish
from assay.jobs.ledger import DataFile
from assay.jobs.manifest import ManifestWriter, Shard
from assay.jobs.spans import SPAN
from assay.jobs.store import Store, now
from assay.platform.release import Release
from assay.platform.rows import OBSERVATIONS, ImageRef
from assay.platform.storage import Storage
from infra.bench.spec import SHARD

IN_FILE = SHARD * SPAN
"""Images of a file: one span, as compaction makes files of whole segments."""
ROOT = "file:///corpus/"


def make_stored(folder: Path, images: int, release: Release, seed: int = 7) -> Store:
    """A store of about so many images (whole files), observed by a release's encoder and judged by nobody."""
    storage = Storage()
    store = Store.attach(storage, str(folder))
    store.establish()
    bind(store, Binding.of(release))
    files = max(1, round(images / IN_FILE))
    block = _block(release.manifest.encoder.dim, seed)
    writer = ManifestWriter(store, "generation-000000")
    with store.hold("bench"):
        adds = []
        for number in range(files):
            rows = _named(block, number)
            for shard in range(number * SPAN, (number + 1) * SPAN):
                writer.add(_shard(shard, rows.slice((shard - number * SPAN) * SHARD, SHARD)))
            adds.append(_write(store, number, rows))
        store.observations.commit(adds)
    counts = {"listed": files * IN_FILE, "images": files * IN_FILE, "bytes": 0, "shards": files * SPAN}
    names = {"number": 0, "source": ROOT, "root": ROOT, "created": now(), "first_shard": 0}
    assert publish(store, Generation.model_validate({**names, **counts, "parts": writer.close()}))
    return store


def random_embeddings(images: int, dim: int, seed: int) -> npt.NDArray[np.float16]:
    """Unit vectors, float16[images, dim]."""
    rows = np.random.default_rng(seed).standard_normal((images, dim), np.float32)
    found: npt.NDArray[np.float16] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    return found


def _block(dim: int, seed: int) -> pa.Table:
    """The rows of a file, but for their shards and names."""
    vectors = random_embeddings(IN_FILE, dim, seed)
    ends = np.arange(IN_FILE + 1, dtype=np.int32) * dim * 2
    hashes = np.random.default_rng(seed).bytes(32 * IN_FILE)
    whole = {"kind": "whole", "x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 1.0, "time_s": None}
    columns = {
        "size": pa.array(np.full(IN_FILE, 120_000)),
        "outcome": pa.repeat("ok", IN_FILE),
        "format": pa.repeat("JPEG", IN_FILE),
        "width": pa.array(np.full(IN_FILE, 500, np.int32)),
        "height": pa.array(np.full(IN_FILE, 375, np.int32)),
        "frames": pa.array(np.full(IN_FILE, 1, np.int32)),
        "sha256": pa.array([hashes[at : at + 32] for at in range(0, len(hashes), 32)]),
        "views": pa.array([[whole]] * IN_FILE, OBSERVATIONS.field("views").type),
        "embedding": pa.Array.from_buffers(
            pa.binary(), IN_FILE, [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(vectors))]
        ),
    }
    return pa.table(
        {name: columns.get(name, pa.nulls(IN_FILE, OBSERVATIONS.field(name).type)) for name in OBSERVATIONS.names}
    )


def _named(block: pa.Table, number: int) -> pa.Table:
    places = np.arange(number * IN_FILE, (number + 1) * IN_FILE)
    digits = pc.utf8_lpad(pa.array(places).cast(pa.string()), 12, "0")
    named = {
        "shard": pa.array(places // SHARD),
        "uri": pc.binary_join_element_wise(pa.scalar(f"{ROOT}uploads/2026/11/"), digits, pa.scalar(".jpg"), ""),
        "etag": pc.binary_join_element_wise(pa.scalar("9e107d9d372bb6826bd8"), digits, ""),
    }
    for name, column in named.items():
        block = block.set_column(OBSERVATIONS.get_field_index(name), OBSERVATIONS.field(name), column)
    return block.cast(OBSERVATIONS)


def _shard(number: int, rows: pa.Table) -> Shard:
    names = zip(rows["uri"].to_pylist(), rows["etag"].to_pylist(), strict=True)
    return Shard(number, tuple(ImageRef(uri, etag, 120_000) for uri, etag in names))


def _write(store: Store, number: int, rows: pa.Table) -> DataFile:
    file = FileWriter(OBSERVED)
    for start in range(0, IN_FILE, SHARD):
        file.add(rows.slice(start, SHARD))
    first = number * SPAN
    made = file.write(store.storage, store.uri, first)
    return DataFile(made.path, made.size, IN_FILE, first, first + SPAN - 1, made.first_uri, made.last_uri)
