import errno
import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs import manifest
from assay.jobs.generation import Generation, generations
from assay.jobs.manifest import ManifestWriter, Shard, ShardSpec, cut, read_rows, read_shards
from assay.jobs.store import Store
from assay.platform.errors import ConservationError, ManifestError
from assay.platform.rows import MANIFEST, ImageRef
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.store_doubles import refs_of

SIZES = st.lists(st.integers(0, 50), max_size=40)
SPECS = st.builds(ShardSpec, images=st.integers(1, 6), bytes=st.integers(1, 100))


def refs_with(sizes: list[int]) -> list[ImageRef]:
    return [ImageRef(f"s3://b/\n{number:04d}", f"e{number}", size) for number, size in enumerate(sizes)]


@settings(derandomize=True, max_examples=200)
@given(SIZES, SPECS, st.integers(0, 10**9))
def test_cutting_loses_nothing(sizes: list[int], spec: ShardSpec, first: int) -> None:
    refs = refs_with(sizes)
    shards = list(cut(iter(refs), first, spec))
    assert list(itertools.chain.from_iterable(shard.refs for shard in shards)) == refs
    assert [shard.number for shard in shards] == list(range(first, first + len(shards)))
    for shard in shards:
        assert 1 <= len(shard.refs) <= spec.images
        assert len(shard.refs) == 1 or sum(ref.size for ref in shard.refs) <= spec.bytes


@settings(derandomize=True, max_examples=100)
@given(SIZES, SPECS)
def test_a_shard_ends_only_when_it_must(sizes: list[int], spec: ShardSpec) -> None:
    for one, following in itertools.pairwise(cut(refs_with(sizes), 0, spec)):
        longer = [*one.refs, following.refs[0]]
        assert len(longer) > spec.images or sum(ref.size for ref in longer) > spec.bytes


def new(tmp_path: Path) -> Store:
    store = Store.attach(Storage(), str(tmp_path / "store"))
    store.establish()
    return store


def write(store: Store, number: int, shards: list[Shard]) -> Generation:
    """Write a whole generation, as the planner does."""
    writer = ManifestWriter(store, f"generation-{number:06d}")
    for shard in shards:
        writer.add(shard)
    images = sum(len(shard.refs) for shard in shards)
    generation = Generation(
        number=number, source="s", root="r", created="now", listed=images, images=images, bytes=0,
        first_shard=shards[0].number, shards=len(shards), parts=writer.close(),
    )  # fmt: skip
    publish(store, generation)
    return generation


def publish(store: Store, generation: Generation) -> None:
    where = store.path("manifests", generation.folder, "generation.json")
    store.storage.write(where, generation.model_dump_json().encode())


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups and parts so small that a few shards fill several."""
    monkeypatch.setattr(manifest, "ROWS_PER_GROUP", 5)
    monkeypatch.setattr(manifest, "ROWS_PER_PART", 12)


@pytest.mark.usefixtures("small_groups")
def test_any_subset_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    store = new(tmp_path)
    shards = list(cut(refs_of(40, "s3://b/\n<ü>"), 7, ShardSpec(images=3)))
    generation = write(store, 0, shards)
    assert len(generation.parts) > 2
    assert sum(part.rows for part in generation.parts) == 40

    @settings(derandomize=True, max_examples=40, deadline=None)
    @given(st.sets(st.integers(0, 25)))
    def check(wanted: set[int]) -> None:
        assert list(read_shards(store, generation, wanted)) == [one for one in shards if one.number in wanted]

    check()
    assert list(read_shards(store, generation, frozenset(range(100)))) == shards


@pytest.mark.usefixtures("small_groups")
def test_rows_outside_the_range_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new(tmp_path)
    generation = write(store, 0, list(cut(refs_of(60), 0, ShardSpec(images=3))))
    read: list[int] = []
    real = pq.ParquetFile.read_row_group

    def counting(file: pq.ParquetFile, group: int) -> pa.Table:
        rows = real(file, group)
        read.append(len(rows))
        return rows

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", counting)
    rows = pa.concat_tables(read_rows(store, generation))
    assert rows.schema.equals(MANIFEST)
    assert rows["uri"].to_pylist() == [ref.uri for ref in refs_of(60)]
    assert sum(read) == 60
    read.clear()
    [shard] = read_shards(store, generation, {10})
    assert shard.number == 10
    assert sum(read) <= 6


def test_parts_end_between_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "ROWS_PER_GROUP", 4)
    monkeypatch.setattr(manifest, "ROWS_PER_PART", 4)
    store = new(tmp_path)
    generation = write(store, 0, list(cut(refs_of(30), 0, ShardSpec(images=3))))
    ranges = [(part.first_shard, part.last_shard) for part in generation.parts]
    assert ranges == [(number, number + 1) for number in range(0, 10, 2)]


def test_a_manifest_in_a_bucket(s3: S3Server, s3_place: str) -> None:
    store = Store.attach(s3.storage, f"{s3_place}/store")
    shards = list(cut(refs_of(9, "s3://b/\nü "), 0, ShardSpec(images=2)))
    write(store, 0, shards)
    [generation] = generations(store)
    assert list(read_shards(store, generation, set(range(9)))) == shards
    aborted = ManifestWriter(store, "generation-000001")
    aborted.add(shards[0])
    aborted.abort()
    assert generations(store) == [generation]


def test_a_generation_without_its_json_is_not_there(tmp_path: Path) -> None:
    store = new(tmp_path)
    shards = list(cut(refs_of(4), 0, ShardSpec(images=2)))
    assert generations(store) == []
    writer = ManifestWriter(store, "generation-000000")
    writer.add(shards[0])
    writer.close()
    assert generations(store) == []
    generation = write(store, 0, shards)  # a later planner takes the number, and its parts have other names
    assert generations(store) == [generation]
    assert list(read_shards(store, generation, {0, 1})) == shards


def test_generations_follow_on_each_other(tmp_path: Path) -> None:
    store = new(tmp_path)
    known, first = [], 0
    for number in range(12):
        shards = list(cut(refs_of(number + 1), first, ShardSpec(images=2)))
        known.append(write(store, number, shards))
        first = known[-1].next_shard
    assert generations(store) == known


@pytest.mark.parametrize("harm", ["gap", "shift"])
def test_a_missing_generation_is_noticed(tmp_path: Path, harm: str) -> None:
    store = new(tmp_path)
    first = write(store, 0, list(cut(refs_of(4), 0, ShardSpec(images=2))))
    write(store, 1, list(cut(refs_of(4), 2, ShardSpec(images=2))))
    write(store, 2, list(cut(refs_of(4), 4, ShardSpec(images=2))))
    if harm == "gap":
        store.storage.remove(store.path("manifests", "generation-000001", "generation.json"))
    else:
        publish(store, first.model_copy(update={"shards": 1}))
    with pytest.raises(ConservationError, match="generation 1 from shard"):
        generations(store)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b'{"number": 0}'])
def test_a_generation_that_cannot_be_read(tmp_path: Path, data: bytes) -> None:
    store = new(tmp_path)
    store.storage.write(store.path("manifests", "generation-000000", "generation.json"), data)
    with pytest.raises(ManifestError, match=r"generation\.json") as refusal:
        generations(store)
    assert refusal.value.exit_code == 2


def test_a_part_that_cannot_be_read(tmp_path: Path) -> None:
    store = new(tmp_path)
    generation = write(store, 0, list(cut(refs_of(4), 0, ShardSpec(images=2))))
    part = tmp_path / "store" / "manifests" / generation.folder / generation.parts[0].name
    for damage in (b"not Parquet", None):
        part.unlink()
        if damage:
            part.write_bytes(damage)
        with pytest.raises(ManifestError, match="part") as refusal:
            list(read_shards(store, generation, {0}))
        assert generation.parts[0].name in refusal.value.where


@pytest.mark.usefixtures("small_groups")
def test_an_aborted_generation_leaves_nothing(tmp_path: Path) -> None:
    store = new(tmp_path)
    writer = ManifestWriter(store, "generation-000000")
    for shard in cut(refs_of(40), 0, ShardSpec(images=3)):
        writer.add(shard)
    writer.abort()
    assert not (tmp_path / "store" / "manifests" / "generation-000000").exists()
    assert generations(store) == []


def test_aborting_spares_the_winner(tmp_path: Path) -> None:
    """Two planners write generation 0; the one that fails must not take the other's files with it."""
    store = new(tmp_path)
    shards = list(cut(refs_of(4), 0, ShardSpec(images=2)))
    loser = ManifestWriter(store, "generation-000000")
    loser.add(shards[0])
    winner = write(store, 0, shards)
    loser.abort()
    assert generations(store) == [winner]
    assert list(read_shards(store, winner, {0, 1})) == shards


def test_a_full_disk_is_aborted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = new(tmp_path)
    writer = ManifestWriter(store, "generation-000000")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", full)
        patch.setattr(manifest, "ROWS_PER_GROUP", 1)
        with pytest.raises(OSError, match="No space"):
            writer.add(Shard(0, refs_of(3)))
    writer.abort()
    assert not (tmp_path / "store" / "manifests" / "generation-000000").exists()
