"""Golden files: whatever tool wrote the Parquet, its rows are read or refused by name; what is written reads back."""

import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from assay.platform.errors import GoldenError
from assay.platform.golden_file import ASKED_KEY, read_reviews, write_reviews
from assay.platform.golden_rows import GOLDEN, Reviews
from tests.golden_strategies import reviews

NOW = datetime.datetime(2026, 11, 23, 10, tzinfo=datetime.UTC)


def table(count: int = 2, /, **columns: pa.Array | None) -> pa.Table:
    """The least a file holds, and other columns."""
    least = {
        "uri": pa.array([f"s3://b/{number}" for number in range(count)]),
        "labels": pa.array([[("weapons", "present")]] * count, pa.map_(pa.string(), pa.string())),
        "reviewer": pa.array(["ana"] * count),
        "time": pa.array([NOW] * count, pa.timestamp("us", "UTC")),
    }
    return pa.table({name: column for name, column in (least | columns).items() if column is not None})


def saved(folder: Path, rows: pa.Table) -> Path:
    pq.write_table(rows, folder / "golden.parquet")
    return folder / "golden.parquet"


def refusal(path: Path) -> GoldenError:
    with pytest.raises(GoldenError) as caught:
        read_reviews(path)
    return caught.value


@settings(deadline=None, max_examples=40)
@given(reviews())
def test_what_is_written_reads_back(tmp_path_factory: pytest.TempPathFactory, written: Reviews) -> None:
    path = tmp_path_factory.getbasetemp() / "written.parquet"
    write_reviews(path, written)
    assert read_reviews(path) == written
    assert pq.read_schema(path).remove_metadata() == GOLDEN


def test_columns_left_out_have_defaults(tmp_path: Path) -> None:
    first, _ = read_reviews(saved(tmp_path, table())).rows
    assert (first.etag, first.weight, first.split, first.slices) == ("", 1.0, None, {})


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("uri", pa.array(["s3://b/0", "s3://b/1"], pa.large_string())),
        ("uri", pa.array(["s3://b/0", "s3://b/1"]).dictionary_encode()),
        ("weight", pa.array([1, 2], pa.int32())),
        ("note", pa.nulls(2)),
        ("time", pa.array([NOW] * 2, pa.timestamp("ns", "Europe/Berlin"))),
        ("time", pa.array([NOW] * 2, pa.timestamp("s", "+01:00"))),
    ],
)
def test_other_tools_types_are_read(tmp_path: Path, name: str, column: pa.Array) -> None:
    found = read_reviews(saved(tmp_path, table(**{name: column}))).rows
    assert [row.uri for row in found] == ["s3://b/0", "s3://b/1"]
    assert {row.time for row in found} == {NOW}


def test_lists_of_keys_and_values_are_maps(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "uri": ["s3://b/0"],
            "labels": [[{"value": "absent", "key": "weapons"}, {"value": None, "key": "nudity"}]],
            "reviewer": ["ana"],
            "time": [NOW],
        }
    )
    frame.write_parquet(tmp_path / "golden.parquet")
    [row] = read_reviews(tmp_path / "golden.parquet").rows
    assert row.labels == {"weapons": "absent"}


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"uri": None}, "column 'uri' is missing"),
        ({"time": pa.array([NOW.replace(tzinfo=None)] * 2)}, "a naive one could be any zone's"),
        ({"time": pa.array(["2026-11-23T10:00:00Z"] * 2)}, "column 'time' is string, not a timestamp"),
        ({"wieght": pa.array([1.0, 2.0])}, "unknown column 'wieght'; did you mean 'weight'?"),
        ({"weight": pa.array(["1", "2"])}, "column 'weight' is string, not a number"),
        ({"labels": pa.array(["weapons"] * 2)}, "column 'labels' is string, not a map"),
        ({"embedding": pa.array([[1.0], [2.0]])}, "column 'embedding' is list"),
        ({"uri": pa.array([1, 2])}, "column 'uri' is int64, not text"),
    ],
)
def test_other_columns_are_refused_by_name(tmp_path: Path, columns: dict[str, Any], told: str) -> None:
    error = refusal(saved(tmp_path, table(**columns)))
    assert told in error.why
    assert error.where == str(tmp_path / "golden.parquet")


def test_a_bad_row_is_told_with_its_number(tmp_path: Path) -> None:
    error = refusal(saved(tmp_path, table(9000, weight=pa.array([*[1.0] * 8999, -1.0]))))
    assert error.where.endswith("golden.parquet, row 9000")
    assert "row 9000: weight: input should be greater than 0" in error.why


def test_a_label_said_twice_in_a_map(tmp_path: Path) -> None:
    labels = pa.array([[("weapons", "present"), ("weapons", "absent")]], pa.map_(pa.string(), pa.string()))
    assert "'weapons' is said twice" in refusal(saved(tmp_path, table(1, labels=labels))).why


def test_an_empty_file(tmp_path: Path) -> None:
    assert "needs rows" in refusal(saved(tmp_path, table().slice(0, 0))).what


def test_times_nobody_can_hold(tmp_path: Path) -> None:
    late = pa.array([2**62, 0], pa.int64()).cast(pa.timestamp("us", "UTC"))
    assert "years 1 to 9999" in refusal(saved(tmp_path, table(time=late))).why


@pytest.mark.parametrize("content", [b"", b"uri,labels\n", None])
def test_no_parquet(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "golden.parquet"
    if content is not None:
        path.write_bytes(content)
    error = refusal(path)
    assert error.what == "this golden set cannot be read"
    assert "assay golden import" in error.fix


@pytest.mark.parametrize("asked", ["weapons", '{"weapons": 1}', "[1]"])
def test_damaged_metadata(tmp_path: Path, asked: str) -> None:
    error = refusal(saved(tmp_path, table().replace_schema_metadata({ASKED_KEY: asked})))
    assert ASKED_KEY in error.fix
