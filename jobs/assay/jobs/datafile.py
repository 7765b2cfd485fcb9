"""Data files of the two tables: written once under a random name, read back by shard.

Knows how rows lie in Parquet. Does not decide when a file becomes visible: that is the ledger's transaction.
"""

import os

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.jobs.work import WrittenFile
from assay.platform.errors import StorageError
from assay.platform.rows import OBSERVATIONS, VERDICT_FILE
from assay.platform.storage import Storage


def write_observations(storage: Storage, store: str, shard: int, rows: pa.Table) -> WrittenFile:
    """Write a shard's observations. Embeddings lie plain and uncompressed: random mantissas gain nothing, and a reader
    can view them as a matrix."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows.cast(OBSERVATIONS),
        sink,
        compression={name: ("NONE" if name == "embedding" else "ZSTD") for name in _leaves(OBSERVATIONS)},
        use_dictionary=["outcome", "format", "detail", "views.list.element.kind"],
        write_statistics=["shard", "uri", "etag", "outcome"],
    )
    return _write(storage, f"{store}/observations", shard, rows, sink)


def write_verdicts(storage: Storage, store: str, shard: int, rows: pa.Table) -> WrittenFile:
    """Write a shard's verdicts; release and policy are partition values of the transaction, not columns of the file."""
    sink = pa.BufferOutputStream()
    pq.write_table(rows.select(VERDICT_FILE.names).cast(VERDICT_FILE), sink, compression="zstd")
    return _write(storage, f"{store}/verdicts", shard, rows, sink)


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's dotted column paths of an Arrow schema."""
    probe = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), probe)
    facts = pq.ParquetFile(pa.BufferReader(probe.getvalue())).schema
    return [facts.column(i).path for i in range(len(facts))]


def _write(storage: Storage, table: str, shard: int, rows: pa.Table, sink: pa.BufferOutputStream) -> WrittenFile:
    data = sink.getvalue()
    name = os.urandom(8).hex()
    # Two random letters first: object stores share out request limits by prefix.
    path = f"data/{name[:2]}/{shard:012d}-{name}.parquet"
    storage.write(f"{table}/{path}", data.to_pybytes())
    ends = pc.min_max(rows["uri"]).as_py()
    return WrittenFile(path=path, size=data.size, first_uri=ends["min"], last_uri=ends["max"])


def read_shard(storage: Storage, store: str, path: str, shard: int) -> pa.Table:
    """The observations of one shard out of a committed file (which may hold more, once compacted).

    Raises:
        StorageError: the file is gone or cannot be read.
    """
    fs, where = storage.arrow(f"{store}/observations/{path}")
    try:
        rows = pq.read_table(where, filesystem=fs, schema=OBSERVATIONS, filters=pc.field("shard") == shard)
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(
            "a committed file cannot be read", where=where, why=str(error), fix="run `assay verify`"
        ) from error
    return rows
