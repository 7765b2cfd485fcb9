from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.jobs.datafile import (
    JUDGED,
    NEIGHBOURS,
    OBSERVED,
    FileWriter,
    damage_of,
    read_by_shard,
    read_shard,
    write_observations,
    write_verdicts,
)
from assay.jobs.work import WrittenFile
from assay.platform.errors import StorageError
from assay.platform.rows import OBSERVATIONS, VERDICT_FILE
from assay.platform.storage import Storage
from assay.platform.uris import parse_uri
from tests.conftest import S3Server
from tests.store_doubles import DIM, judged_rows, observed_rows, refs_of

REFS = refs_of(3, "s3://b/\n<ü>/")


def file_at(store: str, table: str, path: str) -> pq.ParquetFile:
    return pq.ParquetFile(Path(parse_uri(store).key) / table / path)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


def test_observations_come_back_as_they_were(s3: S3Server, s3_place: str, store: str) -> None:
    rows = observed_rows(7, REFS, ["ok", "GONE", "ok"])
    for storage, place in ((Storage(), store), (s3.storage, f"{s3_place}/store")):
        written = write_observations(storage, place, 7, rows)
        assert read_shard(storage, place, written.path, 7) == rows
        assert written.size == len(storage.read(f"{place}/observations/{written.path}") or b"")
        assert (written.first_uri, written.last_uri) == (REFS[0].uri, REFS[-1].uri)


def test_embeddings_lie_plain_and_uncompressed(store: str) -> None:
    rows = observed_rows(7, REFS, ["ok", "GONE", "ok"])
    file = file_at(store, "observations", write_observations(Storage(), store, 7, rows).path)
    columns = [file.metadata.row_group(0).column(at) for at in range(file.metadata.num_columns)]
    [embedding] = [column for column in columns if column.path_in_schema == "embedding"]
    assert embedding.compression == "UNCOMPRESSED"
    assert set(embedding.encodings) <= {"PLAIN", "RLE"}  # RLE is of definition levels
    assert embedding.has_dictionary_page is False
    others = {column.compression for column in columns if column.path_in_schema != "embedding"}
    assert others == {"ZSTD"}


def test_embeddings_are_in_the_file_end_to_end(store: str) -> None:
    """A reader can view all vectors as a matrix: each is where its bytes are, after its length."""
    written = write_observations(Storage(), store, 7, observed_rows(7, refs_of(5)))
    raw = (Path(store) / "observations" / written.path).read_bytes()
    length = (2 * DIM).to_bytes(4, "little")
    vectors = b"".join(length + np.full(DIM, number, np.float16).tobytes() for number in range(5))
    assert vectors in raw


def test_statistics_serve_the_columns_people_filter_by(store: str) -> None:
    file = file_at(store, "observations", write_observations(Storage(), store, 7, observed_rows(7, REFS)).path)
    group = file.metadata.row_group(0)
    known = {group.column(at).path_in_schema for at in range(group.num_columns) if group.column(at).is_stats_set}
    assert known == {"shard", "uri", "etag", "outcome"}


def test_verdicts_leave_their_partition_to_the_log(store: str) -> None:
    rows = judged_rows(7, REFS)
    written = write_verdicts(Storage(), store, 7, rows)
    found = pq.read_table(Path(store) / "verdicts" / written.path, partitioning=None)
    assert found == rows.select(VERDICT_FILE.names)
    assert not {"release", "policy"} & set(found.column_names)


def test_two_writes_never_meet(store: str) -> None:
    rows = observed_rows(7, REFS)
    paths = {write_observations(Storage(), store, 7, rows).path for _ in range(8)}
    assert len(paths) == 8
    assert all("000000000007" in path for path in paths)


def test_request_limits_are_shared_out_by_prefix_but_not_among_neighbours(store: str) -> None:
    def folders(shards: range) -> set[str]:
        written = [write_observations(Storage(), store, shard, observed_rows(shard, REFS)) for shard in shards]
        return {file.path.split("/")[1] for file in written}

    assert len(folders(range(NEIGHBOURS - 4, NEIGHBOURS))) == 1
    assert len(folders(range(0, 16 * NEIGHBOURS, NEIGHBOURS))) > 12


def test_one_shard_out_of_a_compacted_file(store: str) -> None:
    pieces = [observed_rows(shard, refs_of(3, f"s3://b/{shard}/")) for shard in (3, 4, 5)]
    written = write_observations(Storage(), store, 3, pa.concat_tables(pieces))
    for shard, rows in zip((3, 4, 5), pieces, strict=True):
        assert read_shard(Storage(), store, written.path, shard) == rows
    assert read_shard(Storage(), store, written.path, 6).num_rows == 0


@pytest.mark.parametrize("folder", ["shard=9", "uri=x/etag=y", "a b#?", "ü"])
def test_a_folder_that_looks_like_a_column(tmp_path: Path, folder: str) -> None:
    """pyarrow would read `shard=9` on the way to a file as the value of that column."""
    store, rows = str(tmp_path / folder), observed_rows(7, REFS)
    written = write_observations(Storage(), store, 7, rows)
    assert read_shard(Storage(), store, written.path, 7) == rows


def whole(data: bytes) -> bytes:
    return data


def cut(data: bytes) -> bytes:
    return data[:-20]


def flipped(data: bytes) -> bytes:
    """One bit of the second embedding: 1.0 in float16, four times."""
    at = data.index(b"\x00\x3c" * DIM)
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def damaged(storage: Storage, place: str, damage: Callable[[bytes], bytes] | None) -> WrittenFile:
    written = write_observations(storage, place, 7, observed_rows(7, REFS))
    where = f"{place}/observations/{written.path}"
    data = storage.read(where)
    assert data is not None
    storage.remove(where)
    if damage is not None:
        storage.write(where, damage(data))
    return written


@pytest.mark.parametrize("damage", [None, cut, flipped])
def test_a_file_that_cannot_be_read(
    s3: S3Server, s3_place: str, store: str, damage: Callable[[bytes], bytes] | None
) -> None:
    for storage, place in ((Storage(), store), (s3.storage, f"{s3_place}/damaged")):
        written = damaged(storage, place, damage)
        for read in (
            lambda storage, place, path: read_shard(storage, place, path, 7),
            lambda storage, place, path: list(read_by_shard(storage, place, OBSERVED, path)),
        ):
            with pytest.raises(StorageError, match="assay verify") as refusal:
                read(storage, place, written.path)
            assert written.path in refusal.value.where
            assert f"assay repair {place}" in refusal.value.fix


def test_damage_is_told_from_the_content(store: str) -> None:
    for damage, told in ((whole, ""), (cut, "magic bytes"), (flipped, "CRC")):
        written = damaged(Storage(), store, damage)
        data = (Path(store) / "observations" / written.path).read_bytes()
        found = damage_of(data, 3)
        assert told in found
        assert bool(found) == bool(told)
        if damage is whole:
            assert damage_of(data, 4) == "3 rows, committed with 4"


def test_files_without_checksums_can_be_read(store: str) -> None:
    """Stores have some that were written before there were any."""
    rows = observed_rows(7, REFS)
    path = Path(store) / "observations" / "data" / "old.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(rows, path)
    assert read_shard(Storage(), store, "data/old.parquet", 7) == rows
    assert damage_of(path.read_bytes(), 3) == ""


def test_shards_come_out_one_by_one_wherever_row_groups_end(store: str) -> None:
    pieces = [observed_rows(shard, refs_of(5, f"s3://b/{shard}/")) for shard in (3, 4, 6)]
    path = Path(store) / "observations" / "data" / "cut.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(pa.concat_tables(pieces), path, row_group_size=2)
    assert dict(read_by_shard(Storage(), store, OBSERVED, "data/cut.parquet")) == dict(
        zip((3, 4, 6), pieces, strict=True)
    )
    pq.write_table(pa.concat_tables([*pieces, pieces[0]]), path)
    with pytest.raises(StorageError, match="shard 3 comes after shard 6"):
        list(read_by_shard(Storage(), store, OBSERVED, "data/cut.parquet"))


def test_row_groups_of_a_wide_file(store: str) -> None:
    """Observations are read shard by shard; verdicts never are."""
    for layout, make, groups in ((OBSERVED, observed_rows, 3), (JUDGED, judged_rows, 1)):
        writer = FileWriter(layout)
        for shard in (3, 4, 5):
            writer.add(make(shard, refs_of(2, f"s3://b/{shard}/")))
        written = writer.write(Storage(), store, 3)
        assert file_at(store, layout.table, written.path).num_row_groups == groups
        assert (written.first_uri, written.last_uri) == ("s3://b/3/0000", "s3://b/5/0001")
        assert writer.rows == 6


def test_an_empty_shard_has_a_file_too(store: str) -> None:
    written = write_observations(Storage(), store, 7, OBSERVATIONS.empty_table())
    assert (written.first_uri, written.last_uri) == ("", "")
    assert read_shard(Storage(), store, written.path, 7).num_rows == 0
    assert list(read_by_shard(Storage(), store, OBSERVED, written.path)) == []


def test_rows_must_have_the_schema(store: str) -> None:
    with pytest.raises((ValueError, pa.ArrowInvalid)):
        write_observations(Storage(), store, 7, observed_rows(7, REFS).drop_columns(["etag"]))
    assert OBSERVATIONS.names == observed_rows(7, REFS).column_names
