"""A sound store on disk, what spoils it, and the commands that must notice."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from assay.jobs.cli import main
from assay.jobs.generation import generations
from assay.jobs.manifest import ShardSpec, read_shards
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.store import Store
from assay.platform.rows import OBSERVATIONS
from assay.platform.storage import Storage
from tests.store_doubles import PARTITION, judge, new_store, observe, reopened

READERS = ("verify", "status", "repair --dry-run", "vacuum --dry-run")
"""Commands that change nothing, whatever they find."""
WRITERS = ("compact", "vacuum", "repair")


def filled(place: Path, source: Path) -> Store:
    """A sound store of four shards of two images."""
    source.mkdir()
    for number in range(8):
        (source / str(number)).write_bytes(b"1")
    plan(Store.attach(Storage(), str(place)), str(source), PlanSpec(shard=ShardSpec(images=2)))
    store = new_store(Storage(), place)
    for shard in read_shards(store, generations(store)[0], {0, 1, 2, 3}):
        observe(store, shard.number, shard.refs)
        judge(store, shard.number, shard.refs)
    store.write_run("run-1", {"run": "run-1", **PARTITION})
    return reopened(store)


def run(command: str, place: Path) -> int:
    verb, *flags = command.split()
    return main([verb, str(place), *flags])


def source_of(place: Path) -> list[str]:
    return ["plan", str(place.parent / "source"), "--store", str(place)]


Told = pytest.CaptureFixture[str]


def change_json(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def a_table_without_a_column(place: Path) -> None:
    shutil.rmtree(place / "observations")
    schema = pa.schema([field for field in OBSERVATIONS if field.name != "sha256"])
    DeltaTable.create(place / "observations", schema)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"garbage")
