import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.delta_log import CHECKPOINT_EVERY, DeltaLedger
from assay.jobs.ledger import DataFile
from assay.jobs.store import Store
from assay.platform.errors import CommitError, FencedError, StorageError
from assay.platform.rows import OBSERVATIONS, VERDICTS, ImageRef
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.store_doubles import data_file, judge, judged_rows, new_store, observed_rows, refs_of, reopened


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store with empty tables, on disk and on the real S3 server."""
    if request.param == "disk":
        return new_store(Storage(), tmp_path / "a store")
    s3: S3Server = request.getfixturevalue("s3")
    return new_store(s3.storage, f"{request.getfixturevalue('s3_place')}/{tmp_path.name}/a store")


@pytest.fixture
def local(tmp_path: Path) -> Store:
    return new_store(Storage(), tmp_path / "store")


def written(store: Store, shard: int, refs: Sequence[ImageRef]) -> DataFile:
    """A data file that nothing names yet."""
    file = write_observations(store.storage, store.uri, shard, observed_rows(shard, refs))
    return data_file(file, len(refs), [shard])


def uris(store: Store) -> list[str]:
    return sorted(reopened(store).observations.dataset().to_table()["uri"].to_pylist())


def test_rows_are_there_once_they_are_committed(store: Store) -> None:
    first, second = refs_of(4)[:2], refs_of(4)[2:]
    files = [written(store, 0, first), written(store, 1, second)]
    assert uris(store) == []
    assert reopened(store).observations.files() == []
    assert store.observations.commit([files[0]], note={"assay.run": "r1"}) == 1
    assert uris(store) == [ref.uri for ref in first]
    assert store.observations.commit([files[1]]) == 2
    assert uris(store) == [ref.uri for ref in refs_of(4)]
    for ledger in (store.observations, reopened(store).observations):
        assert sorted(ledger.files(), key=lambda file: file.first_shard) == files
        assert ledger.version == 2


def test_rows_are_what_was_written(store: Store) -> None:
    refs = refs_of(3, "s3://b/\n<ü>%41/")
    store.observations.commit([written(store, 5, refs)])
    rows = reopened(store).observations.dataset().to_table()
    assert rows.select(OBSERVATIONS.names).cast(OBSERVATIONS) == observed_rows(5, refs)


def test_replacing_is_one_version(store: Store) -> None:
    """A reader sees the old rows or the new ones, never both and never none."""
    old, kept = written(store, 0, refs_of(3, etag="old")), written(store, 1, refs_of(2, "s3://b/k"))
    store.observations.commit([old, kept])
    before = reopened(store).observations
    assert before.version == 1
    new = written(store, 0, refs_of(3, etag="new"))
    assert store.observations.commit([new], [old]) == 2
    assert {file.path for file in store.observations.files()} == {new.path, kept.path}
    etags = set(reopened(store).observations.dataset().to_table()["etag"].to_pylist())
    assert etags == {"new0", "new1", "new2", "e0", "e1"}
    assert {file.path for file in before.files()} == {old.path, kept.path}


def test_partitions_with_odd_names(store: Store) -> None:
    partitions = [
        {"release": "r/1 <b>%41", "policy": "strict=ü?#"},
        {"release": "r-2", "policy": "a b"},
        {"release": "r-2", "policy": "'quoted'"},
    ]
    files = [judge(store, number, refs_of(2), partition=one) for number, one in enumerate(partitions)]
    found = {file.path: dict(file.partition) for file in reopened(store).verdicts.files()}
    assert found == {file.path: one for file, one in zip(files, partitions, strict=True)}
    rows = reopened(store).verdicts.dataset().to_table()
    assert set(rows.column_names) == set(VERDICTS.names)
    for number, one in enumerate(partitions):
        mine = rows.filter((pc.field("release") == one["release"]) & (pc.field("policy") == one["policy"]))
        assert mine["shard"].to_pylist() == [number] * 2
    store.verdicts.commit([], [files[0]])
    assert reopened(store).verdicts.dataset().to_table().num_rows == 4


def test_another_driver_is_fenced(store: Store) -> None:
    """Whoever opened the table before another's commit cannot commit, and what it wrote stays invisible."""
    late = reopened(store)
    assert late.observations.version == 0
    store.observations.commit([written(store, 0, refs_of(2))])
    with pytest.raises(CommitError, match="another driver") as refusal:
        late.observations.commit([written(store, 1, refs_of(2, "s3://b/late"))])
    assert refusal.value.exit_code == 5
    assert uris(store) == [ref.uri for ref in refs_of(2)]
    store.observations.commit([written(store, 2, refs_of(1, "s3://b/more"))])
    assert len(uris(store)) == 3


def test_drivers_that_alternate(local: Store) -> None:
    """A fenced driver stays fenced: trying again must not slip in between the other's commits."""
    other = reopened(local)
    assert other.observations.version == 0
    for number in range(6):
        local.observations.commit([written(local, number, refs_of(1, f"s3://b/{number}/"))])
        with pytest.raises(CommitError):
            other.observations.commit([written(other, 100 + number, refs_of(1, f"s3://other/{number}/"))])
    assert all(uri.startswith("s3://b/") for uri in uris(local))
    assert len(uris(local)) == 6


def test_two_drivers_make_one_table(local: Store, tmp_path: Path) -> None:
    stores = [Store.attach(Storage(), str(tmp_path / "new")) for _ in range(2)]
    stores[0].establish()
    assert [store.observations.version for store in stores] == [-1, -1]
    for store in stores:
        store.observations.create()
        store.observations.create()
    assert [store.observations.version for store in stores] == [0, 0]


def test_no_table_is_an_empty_one(tmp_path: Path) -> None:
    ledger = Store.attach(Storage(), str(tmp_path / "none")).observations
    assert ledger.files() == []
    assert ledger.version == -1
    rows = ledger.dataset().to_table(filter=pc.field("outcome") == "ok", columns=["uri"])
    assert rows.num_rows == 0
    assert not (tmp_path / "none").exists()


def test_facts_survive_checkpoints(local: Store) -> None:
    """delta-rs writes a checkpoint every hundred versions, and readers then take file facts from there."""
    file = written(local, 0, refs_of(1))
    refs = refs_of(1)
    for number in range(105):
        name = f"data/{number}.parquet"
        uri = f"s3://b/{number:03d}"
        local.observations.commit([replace(file, path=name, first_shard=number, last_shard=number, first_uri=uri)])
    assert list(Path(local.shown).glob("observations/_delta_log/*checkpoint.parquet"))
    files = sorted(reopened(local).observations.files(), key=lambda one: one.first_shard)
    assert [(one.first_shard, one.last_shard, one.first_uri) for one in files] == [
        (number, number, f"s3://b/{number:03d}") for number in range(105)
    ]
    assert {(one.rows, one.size, one.last_uri) for one in files} == {(1, file.size, refs[0].uri)}
    reopened(local).observations.commit([replace(file, path="data/more.parquet")])


@pytest.mark.parametrize(
    "wanted",
    [
        pc.field("shard") == 3,
        pc.field("uri") == "s3://b/3/0001",
        pc.field("outcome") == "GONE",
        pc.field("etag") == "e1",
        pc.field("size") >= 1,
        pc.field("format").is_null(),
    ],
)
def test_filters_find_what_is_there(local: Store, wanted: pc.Expression) -> None:
    """Statistics in the log must never hide a row."""
    tables = []
    for shard in range(5):
        rows = observed_rows(shard, refs_of(2, f"s3://b/{shard}/"), ["ok", "GONE"])
        tables.append(rows)
        file = write_observations(local.storage, local.uri, shard, rows)
        local.observations.commit([data_file(file, 2, [shard])])
    everything = pa.concat_tables(tables)
    found = reopened(local).observations.dataset().to_table(filter=wanted, columns=["shard", "uri"])
    expected = everything.filter(wanted).select(["shard", "uri"])
    assert expected.num_rows
    assert found.sort_by([("uri", "ascending")]) == expected.sort_by([("uri", "ascending")])


def test_the_log_tells_whose_commit_it_was(local: Store) -> None:
    local.observations.commit([written(local, 0, refs_of(1))], note={"assay.run": "run-7"})
    table = DeltaTable(f"{local.shown}/observations")
    assert table.history(1)[0]["assay.run"] == "run-7"
    assert table.transaction_version("assay") == 1


def test_a_damaged_log(local: Store) -> None:
    local.observations.commit([written(local, 0, refs_of(1))])
    log = Path(local.shown) / "observations" / "_delta_log"
    (log / f"{0:020}.json").write_text("not JSON")
    with pytest.raises(StorageError) as refusal:
        reopened(local).observations.files()
    assert "observations" in refusal.value.where


def test_a_log_that_cannot_be_written(local: Store, tmp_path: Path) -> None:
    (tmp_path / "store" / "observations").mkdir(exist_ok=True)
    (tmp_path / "other").write_bytes(b"a file")
    ledger = DeltaLedger(Storage(), str(tmp_path / "other" / "table"), OBSERVATIONS)
    with pytest.raises(StorageError):
        ledger.create()


def test_verdicts_name_their_columns(local: Store) -> None:
    file = write_verdicts(local.storage, local.uri, 0, judged_rows(0, refs_of(2)))
    local.verdicts.commit([data_file(file, 2, [0], {"release": "r", "policy": "p"})])
    rows = reopened(local).verdicts.dataset().to_table().select(VERDICTS.names)
    assert rows["release"].to_pylist() == ["r", "r"]
    assert rows["uri"].to_pylist() == [ref.uri for ref in refs_of(2)]


def test_own_commits_are_read_without_those_of_others_after_them(local: Store) -> None:
    """What a driver did not see when it was fenced off it does not see later."""
    ours, theirs = local.observations, reopened(local).observations
    files = [written(local, number, refs_of(2)) for number in range(3)]
    ours.commit([files[0]])
    ours.commit([files[1]])
    theirs.fence(9)
    theirs.commit([files[2]])
    assert ours.version == 2
    assert sorted(one.path for one in ours.files()) == sorted(one.path for one in files[:2])
    assert len(ours.dataset().to_table()) == 4
    with pytest.raises(FencedError):
        ours.commit([files[2]])


def test_a_table_is_written_down_as_a_whole_now_and_then(local: Store) -> None:
    for _ in range(CHECKPOINT_EVERY):
        local.observations.commit([])
    local.observations.commit([written(local, 1, refs_of(1))])
    log = Path(local.shown, "observations", "_delta_log")
    assert json.loads((log / "_last_checkpoint").read_text())["version"] == CHECKPOINT_EVERY
    for entry in range(CHECKPOINT_EVERY):
        (log / f"{entry:020d}.json").unlink()
    assert len(reopened(local).observations.files()) == 1
