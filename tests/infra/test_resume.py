"""The synthetic ledgers of R11 are what the product leaves: their files, their log's schema, and all that goes on."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from assay.jobs.backlog import find_backlog
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.generation import generations
from assay.jobs.ledger import DataFile
from assay.jobs.store import Store
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from infra.bench import resume
from infra.bench.resume import Case, Shape, State, make_store, plan_once
from tests.store_doubles import judge, new_store, observe, reopened


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of two images, segments of four shards."""
    monkeypatch.setattr(resume, "SHARD", 2)
    monkeypatch.setattr(resume, "SEGMENT", 4)


def by_product(place: Path, case: Case) -> Store:
    """The store as the product itself makes it, shard after shard."""
    store = new_store(Storage(), place)
    for first, last in case.done():
        for shard in range(first, last + 1):
            images = range(2 * shard, min(2 * shard + 2, case.images))
            refs = [ImageRef(f"s3://corpus/uploads/{number:012d}.jpg", "e", 1) for number in images]
            observe(store, shard, refs)
            judge(store, shard, refs)
    if case.shape is not Shape.NEVER:
        compact(CompactSpec(store=str(place), segment_shards=4))
    store = reopened(store)
    for ledger in (store.observations, store.verdicts):
        ledger.log.checkpoint()
    return reopened(store)


def told(files: list[DataFile]) -> list[tuple[object, ...]]:
    """All facts but names and sizes, which are random or depend on what the rows say."""
    facts = [
        (one.first_shard, one.last_shard, one.rows, one.first_uri, one.last_uri, dict(one.partition), len(one.path))
        for one in files
    ]
    return sorted(facts, key=str)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("shape", Shape)
def test_a_made_ledger_is_one_that_the_product_leaves(tmp_path: Path, shape: Shape, state: State) -> None:
    case = Case(37, shape, state)
    made, real = make_store(case, tmp_path / "made"), by_product(tmp_path / "real", case)
    made = reopened(made)
    for ledger, other in ((made.observations, real.observations), (made.verdicts, real.verdicts)):
        assert told(ledger.files()) == told(other.files())
        place = ledger.uri.removeprefix("file://")
        assert sorted(DeltaTable(place).file_uris()) == sorted(f"{place}/{one.path}" for one in ledger.files())
        newest = [max(Path(one.uri.removeprefix("file://")).glob("*/*.checkpoint.parquet")) for one in (ledger, other)]
        assert pq.read_schema(newest[0]) == pq.read_schema(newest[1])
    left = len(set(range(case.shards)) - {s for first, last in case.done() for s in range(first, last + 1)})
    assert plan_once(tmp_path / "made")["open"] == left > 0


@pytest.mark.usefixtures("small")
def test_tombstones_are_those_of_a_compaction(tmp_path: Path) -> None:
    case = Case(37, Shape.JUST_COMPACTED, State.HALF)
    stores = make_store(case, tmp_path / "made"), by_product(tmp_path / "real", case)
    removed = []
    for store in stores:
        newest = max((Path(store.shown) / "observations" / "_delta_log").glob("*.checkpoint.parquet"))
        rows = pq.read_table(newest, columns=["remove"])["remove"].to_pylist()
        removed.append(sorted(one["path"][8:20] for one in rows if one is not None))
    assert removed[0] == removed[1] != []


@pytest.mark.usefixtures("small")
def test_the_product_goes_on_over_a_made_ledger(tmp_path: Path) -> None:
    store = make_store(Case(37, Shape.COMPACTED, State.HALF), tmp_path)
    partition = resume.PARTITION
    before = find_backlog(reopened(store), generations(store), partition, retry_faults=False)
    held = reopened(store)
    with held.hold("test"):
        refs = [ImageRef("s3://corpus/uploads/x.jpg", "e", 1)]
        observe(held, min(before.observe), refs)
        held.observations.log.checkpoint()
    after = find_backlog(reopened(store), generations(store), partition, retry_faults=False)
    assert before.observe - after.observe == after.judge == {min(before.observe)}
