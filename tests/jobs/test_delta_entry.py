"""Entries of a Delta log: what delta-rs writes for the same transaction is the oracle."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pytest
from deltalake import DeltaTable, Schema
from deltalake import transaction as delta

from assay.jobs.delta_entry import entry_name, read_note, write_entry, write_first_entry
from assay.jobs.ledger import DataFile, Transaction

SCHEMA = pa.schema([("shard", pa.int64()), ("uri", pa.string()), ("policy", pa.string())])
STAMPS = {"modificationTime", "deletionTimestamp", "lastUpdated"}


def file(number: int, policy: str = "strict") -> DataFile:
    return DataFile(f"data/{number} ü%.parquet", 9, 2, number, number, "s3://b/ü", "s3://b/z", {"policy": policy})


def transaction(*, rearranged: bool = False) -> Transaction:
    adds, removes = [file(1), file(2, "strict=ü?#/")], [file(0)]
    return Transaction(adds, removes, {"assay.run": 'a "run"\n'}, {"assay": 3, "assay.epoch": 1}, rearranged)


def make_table(folder: Path) -> DeltaTable:
    DeltaTable.create(str(folder), SCHEMA, partition_by=["policy"])
    (folder / entry_name(1)).write_bytes(write_entry(Transaction([file(0)], [], {}, {})))
    return DeltaTable(str(folder))


def actions(entry: bytes, kind: str) -> list[dict[str, Any]]:
    """The actions of one kind, without times; statistics parsed, and what says nothing left out."""
    found = [json.loads(line).get(kind) for line in entry.splitlines()]
    told = [
        {name: value for name, value in one.items() if name not in STAMPS and value is not None} for one in found if one
    ]
    return [one | ({"stats": json.loads(one["stats"])} if "stats" in one else {}) for one in told]


def through_delta_rs(table: DeltaTable, asked: Transaction) -> bytes:
    """The entry that delta-rs writes."""
    change = not asked.rearranged
    stats = [write_stats(one) for one in asked.adds]
    wanted: list[delta.AddAction | delta.RemoveAction] = [
        delta.AddAction(one.path, one.size, dict(one.partition), 1, change, said)
        for one, said in zip(asked.adds, stats, strict=True)
    ]
    wanted += [
        delta.RemoveAction(one.path, change, 1, size=one.size, partition_values=dict(one.partition))
        for one in asked.removes
    ]
    numbers = [delta.Transaction(*pair) for pair in asked.numbers.items()]
    properties = delta.CommitProperties(custom_metadata=dict(asked.note), app_transactions=numbers)
    table.create_write_transaction(
        wanted, mode="append", schema=SCHEMA, partition_by=["policy"], commit_properties=properties
    )
    return Path(table.table_uri.removeprefix("file://"), entry_name(table.version() + 1)).read_bytes()


def write_stats(one: DataFile) -> str:
    ends = {"shard": one.first_shard, "uri": one.first_uri}, {"shard": one.last_shard, "uri": one.last_uri}
    told = {"numRecords": one.rows, "minValues": ends[0], "maxValues": ends[1], "nullCount": {"shard": 0, "uri": 0}}
    return json.dumps(told)


@pytest.mark.parametrize("rearranged", [False, True])
@pytest.mark.parametrize("kind", ["add", "remove", "txn"])
def test_actions_are_those_of_delta_rs(tmp_path: Path, kind: str, rearranged: bool) -> None:
    asked = transaction(rearranged=rearranged)
    theirs = actions(through_delta_rs(make_table(tmp_path), asked), kind)
    assert theirs
    assert actions(write_entry(asked), kind) == theirs


def test_delta_rs_reads_them(tmp_path: Path) -> None:
    make_table(tmp_path)
    (tmp_path / entry_name(2)).write_bytes(write_entry(transaction()))
    table = DeltaTable(str(tmp_path))
    found = pa.table(table.get_add_actions(flatten=True)).sort_by("path").to_pylist()
    assert table.version() == 2
    assert [unquote(one["path"]) for one in found] == [file(1).path, file(2).path]
    assert [one["partition.policy"] for one in found] == ["strict", "strict=ü?#/"]
    assert [(one["min.shard"], one["max.uri"], one["num_records"]) for one in found] == [
        (1, "s3://b/z", 2),
        (2, "s3://b/z", 2),
    ]
    assert [table.transaction_version(app) for app in ("assay", "assay.epoch")] == [3, 1]


def test_the_note_comes_back() -> None:
    assert read_note(write_entry(transaction()))["assay.run"] == 'a "run"\n'
    with pytest.raises(ValueError, match="Expecting"):
        read_note(b"{")


def test_a_new_table_is_that_of_delta_rs(tmp_path: Path) -> None:
    said = {"delta.appendOnly": "false"}
    DeltaTable.create(str(tmp_path / "theirs"), SCHEMA, partition_by=["policy"], configuration=dict(said))
    ours = tmp_path / "ours" / entry_name(0)
    ours.parent.mkdir(parents=True)
    ours.write_bytes(write_first_entry(Schema.from_arrow(SCHEMA).to_json(), ["policy"], said))
    found, wanted = DeltaTable(str(tmp_path / "ours")), DeltaTable(str(tmp_path / "theirs"))
    assert found.protocol() == wanted.protocol()
    assert found.schema() == wanted.schema()
    assert found.metadata().partition_columns == wanted.metadata().partition_columns
    assert found.metadata().configuration == wanted.metadata().configuration
