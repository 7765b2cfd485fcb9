"""Packs as people make them: tars by the standard library, Parquet files by pyarrow as Hugging Face lays them out."""

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from assay.platform.fetch import file_etag
from assay.platform.rows import ImageRef

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def tar_of(members: Sequence[tuple[str, bytes]], layout: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of files, in this order."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=layout) as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return sink.getvalue()


def parquet_of(values: Sequence[bytes | None], rows: int = 100, **settings: object) -> bytes:
    """A Parquet file with a struct of bytes and path, `rows` to a row group; a null is a row without a picture."""
    pictures = [None if value is None else {"bytes": value, "path": f"{n}.jpg"} for n, value in enumerate(values)]
    table = pa.table({"image": pa.array(pictures, PICTURE), "label": list(range(len(values)))})
    sink = io.BytesIO()
    pq.write_table(table, sink, row_group_size=rows, **settings)
    return sink.getvalue()


def file_ref(path: Path) -> ImageRef:
    """A file as a listing has it."""
    return ImageRef(path.as_uri(), file_etag(path.stat()), path.stat().st_size)
