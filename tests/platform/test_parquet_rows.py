from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.platform.fetch import file_etag
from assay.platform.parquet_rows import chunk_span, find_columns, read_ahead_limits, read_values
from assay.platform.ranges import RangeFile
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.mark.parametrize(
    ("fields", "images", "unknown"),
    [
        ({"image": PICTURE, "label": pa.int64()}, ("image.bytes",), ()),
        ({"jpg": pa.binary(), "json": pa.string(), "__key__": pa.string()}, ("jpg",), ()),
        ({"Image": pa.large_binary(), "embedding": pa.binary()}, ("Image",), ("embedding",)),
        ({"image": PICTURE, "mask": PICTURE}, ("image.bytes", "mask.bytes"), ()),
        ({"blob": pa.binary()}, (), ("blob",)),
        ({"images": pa.list_(PICTURE)}, (), ("images",)),
        ({"images": pa.list_(pa.binary()), "texts": pa.list_(pa.string())}, (), ("images",)),
        ({"url": pa.string(), "image": pa.string()}, (), ()),
    ],
)
def test_which_columns_are_images(
    fields: dict[str, pa.DataType], images: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    found = find_columns(pa.schema(list(fields.items())))
    assert (found.images, found.unknown) == (images, unknown)


def written(path: Path, values: list[bytes | None], rows: int, **settings: object) -> tuple[RangeFile, pq.FileMetaData]:
    table = pa.table({"n": list(range(len(values))), "jpg": pa.array(values, pa.binary())})
    pq.write_table(table, path, row_group_size=rows, **settings)
    ref = ImageRef(path.as_uri(), file_etag(path.stat()), 0)
    file = RangeFile.by_its_end(Storage(), ref, 100)
    return file, pq.read_metadata(path)


@pytest.mark.parametrize(
    "settings", [{}, {"compression": "zstd"}, {"use_dictionary": False, "data_page_version": "2.0"}]
)
def test_values_of_a_row_group(tmp_path: Path, settings: dict[str, object]) -> None:
    values: list[bytes | None] = [bytes([n % 7]) * n for n in range(100)]
    values[50] = None
    file, facts = written(tmp_path / "a.parquet", values, 40, **settings)
    found = [list(read_values(file, facts, group, "jpg")) for group in range(3)]
    assert found == [values[:40], values[40:80], values[80:]]
    assert not file.closed


def test_where_chunks_lie_and_how_far_to_read_ahead(tmp_path: Path) -> None:
    _, facts = written(tmp_path / "a.parquet", [b"x" * 1000 * (n + 1) for n in range(4)], 1, compression="none")
    spans = [chunk_span(facts, group, "jpg") for group in range(4)]
    assert all(stop - start > 1000 for start, stop in spans)
    assert read_ahead_limits(facts, [0, 1, 3], "jpg") == {0: spans[3][1], 1: spans[3][1], 3: spans[3][1]}
    for group, column in ((4, "jpg"), (0, "png")):
        with pytest.raises(KeyError):
            chunk_span(facts, group, column)
