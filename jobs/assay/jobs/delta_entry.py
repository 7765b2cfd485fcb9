"""One transaction as an entry of a Delta Lake log: the bytes of `_delta_log/N.json`.

Knows the entry format of Delta's protocol (github.com/delta-io/delta, PROTOCOL.md, writer version 2). Does not know
where entries lie, nor in which order they may come (`delta_log.py`). Written here because delta-rs reads the log twice
for each entry that it writes: nine requests in place of one, and seconds in a table of millions of files.
"""

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from assay.jobs.ledger import DataFile, Transaction

STATISTICS = ("shard", "uri")
"""Columns whose least and greatest value every transaction states. The table must promise no others: delta-rs reads a
column it expects statistics for and finds none as `column >= null`, and a filter on it then drops every row."""


def entry_name(number: int) -> str:
    """The name of the entry that makes version `number`, below the table."""
    return f"_delta_log/{number:020d}.json"


def write_entry(transaction: Transaction) -> bytes:
    """The entry: what was done and why, the numbers of apps, files gone, files come."""
    stamp, change = int(time.time() * 1000), not transaction.rearranged
    told = {"timestamp": stamp, "operation": "WRITE", "operationParameters": {"mode": "Append"}}
    actions: list[dict[str, Any]] = [{"commitInfo": told | {"engineInfo": _engine()} | dict(transaction.note)}]
    actions += [{"txn": _number(app, number, stamp)} for app, number in transaction.numbers.items()]
    actions += [{"remove": _remove(file, change, stamp)} for file in transaction.removes]
    actions += [{"add": _add(file, change, stamp)} for file in transaction.adds]
    return _lines(actions)


def write_first_entry(schema: str, partition_by: Sequence[str], configuration: Mapping[str, str]) -> bytes:
    """The entry that makes a table without rows; `schema` as Delta spells it."""
    stamp = int(time.time() * 1000)
    table = {
        "id": str(uuid.uuid4()),
        "format": {"provider": "parquet", "options": {}},
        "schemaString": schema,
        "partitionColumns": list(partition_by),
        "configuration": dict(configuration),
        "createdTime": stamp,
    }
    told = {"timestamp": stamp, "operation": "CREATE TABLE", "operationParameters": {}, "engineInfo": _engine()}
    protocol = {"minReaderVersion": 1, "minWriterVersion": 2}
    return _lines([{"commitInfo": told}, {"protocol": protocol}, {"metaData": table}])


def read_note(entry: bytes) -> Mapping[str, str]:
    """What the writer of an entry noted.

    Raises:
        ValueError: it is not an entry.
    """
    told = [json.loads(line) for line in entry.splitlines() if line.strip()]
    note: dict[str, object] = next((one["commitInfo"] for one in told if "commitInfo" in one), {})
    return {name: value for name, value in note.items() if isinstance(value, str)}


def _lines(actions: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(action, separators=(",", ":")).encode() + b"\n" for action in actions)


def _engine() -> str:
    return f"assay:{version('assay')}"


def _number(app: str, number: int, stamp: int) -> dict[str, Any]:
    return {"appId": app, "version": number, "lastUpdated": stamp}


def _add(file: DataFile, change: bool, stamp: int) -> dict[str, Any]:
    stats = {
        "numRecords": file.rows,
        "minValues": {"shard": file.first_shard, "uri": file.first_uri},
        "maxValues": {"shard": file.last_shard, "uri": file.last_uri},
        "nullCount": dict.fromkeys(STATISTICS, 0),
    }
    return _file(file, change) | {"modificationTime": stamp, "stats": json.dumps(stats)}


def _remove(file: DataFile, change: bool, stamp: int) -> dict[str, Any]:
    return _file(file, change) | {"deletionTimestamp": stamp, "extendedFileMetadata": True}


def _file(file: DataFile, change: bool) -> dict[str, Any]:
    named = {"path": quote(file.path), "partitionValues": dict(file.partition)}
    return named | {"size": file.size, "dataChange": change}
