"""A golden file: reviews as Parquet, read with care from whatever tool wrote them, and written whole or not at all.

Knows Parquet's types. Does not know what the words in it mean (`golden_rows.py`).
"""

import json
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.platform.disk import write_file
from assay.platform.document import did_you_mean
from assay.platform.errors import GoldenError
from assay.platform.golden_rows import GOLDEN, GoldenRow, Place, Raw, Reviews, parse_rows

ENCODER_KEY, ASKED_KEY = "assay.encoder", "assay.labels"
"""Keys of the file's metadata: the digest of the encoder of its embeddings; a JSON list of labels to be filled in."""
REQUIRED = ("uri", "labels", "time")
"""Columns every file has; the others have defaults."""
MICROSECONDS = pa.timestamp("us", "UTC")


def read_reviews(path: Path | str, known_labels: Collection[str] | None = None) -> Reviews:
    """The rows of a Parquet file.

    Raises:
        GoldenError: it cannot be read, has columns of other names or types, no rows, or rows that do not hold together.
    """
    table = _read(Path(path))
    _check_columns(table.schema, str(path))
    if not table.num_rows:
        raise no_rows(str(path))
    rows = parse_rows(_raw(table, str(path)), known_labels)
    return Reviews(rows, asked_of(table.schema, str(path)), encoder_of(table.schema))


def write_reviews(path: Path | str, reviews: Reviews) -> None:
    """Write rows as Parquet, in their order.

    Raises:
        StorageError: the disk is full, or may not be written.
    """
    write_table(path, table_of(reviews))


def write_table(path: Path | str, table: pa.Table) -> None:
    """Write a table of the schema `GOLDEN` aside, then name it."""
    write_file(Path(path), bytes_of(table), if_absent=False)


def bytes_of(table: pa.Table) -> bytes:
    """A table of the schema `GOLDEN` as the content of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    content: bytes = sink.getvalue().to_pybytes()
    return content


def refuse_existing(path: Path, replace: bool) -> None:
    """People's work is not written over by a slip.

    Raises:
        GoldenError: something is there, and is not to be replaced.
    """
    if path.exists() and not replace:
        fix = "write to another file, or say --replace"
        raise GoldenError("there is a file here", where=str(path), why="it may hold what people have said", fix=fix)


def table_of(reviews: Reviews) -> pa.Table:
    """Rows as an Arrow table, what is said about all of them in its metadata."""
    about = {ENCODER_KEY: reviews.encoder} if reviews.encoder else {}
    about |= {ASKED_KEY: json.dumps(reviews.asked)} if reviews.asked else {}
    columns = [pa.array([_arrow(getattr(row, field.name)) for row in reviews.rows], field.type) for field in GOLDEN]
    return pa.table(columns, schema=GOLDEN.with_metadata(about or None))


def _arrow(value: object) -> object:
    return sorted(value.items()) if isinstance(value, dict) else value


def rows_of(table: pa.Table) -> list[GoldenRow]:
    """The rows of a table that `table_of` made."""
    return [GoldenRow.model_validate(row) for row in table.to_pylist()]


def encoder_of(schema: pa.Schema) -> str:
    """The digest of the encoder of a table's embeddings; empty when it is not said."""
    said: bytes = (schema.metadata or {}).get(ENCODER_KEY.encode(), b"")
    return said.decode("utf-8", "replace")


def asked_of(schema: pa.Schema, where: str) -> tuple[str, ...]:
    """The labels a table asks for.

    Raises:
        GoldenError: its metadata does not hold a list of them.
    """
    said = (schema.metadata or {}).get(ASKED_KEY.encode(), b"[]")
    try:
        labels = json.loads(said)
    except ValueError as error:
        raise _bad_metadata(where, str(error)) from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise _bad_metadata(where, f"not a list of texts: {said[:80]!r}")
    return tuple(sorted(set(labels)))


def no_rows(where: str) -> GoldenError:
    """The refusal of a file without a row."""
    return GoldenError("a golden set needs rows", where=where, why="it has none", fix="write at least one image")


def _bad_metadata(where: str, why: str) -> GoldenError:
    fix = f'write a JSON list such as ["weapons"] under {ASKED_KEY}, or leave it out'
    return GoldenError("the labels this golden set asks for cannot be read", where=where, why=why, fix=fix)


def _read(path: Path) -> pa.Table:
    # Not `pq.read_table`: it would take `key=value` in the path for columns.
    try:
        with pq.ParquetFile(path) as file:
            return file.read()
    except (OSError, pa.ArrowException) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise GoldenError(
            "this golden set cannot be read",
            where=str(path),
            why=why,
            fix="check the path; CSV and JSON Lines become Parquet with `assay golden import`",
        ) from error


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_texts(kind: pa.DataType) -> bool:
    """A map, or what tools without maps have: a list of {key, value}."""
    if pa.types.is_map(kind):
        return _is_text(kind.key_type) and _is_text(kind.item_type)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_struct(kind.value_type):
        return False
    inside = {field.name: field.type for field in kind.value_type}
    return set(inside) == {"key", "value"} and all(map(_is_text, inside.values()))


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) and kind.tz)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


Fits = Callable[[pa.DataType], bool]

_KINDS: dict[str, tuple[Fits, str]] = {
    **dict.fromkeys(("uri", "etag", "reviewer", "policy", "note", "split"), (_is_text, "text")),
    **dict.fromkeys(("labels", "slices"), (_is_texts, "a map from text to text (or a list of {key, value})")),
    "time": (_is_time, "a timestamp with a time zone; a naive one could be any zone's"),
    "weight": (_is_number, "a number"),
    "embedding": (_is_bytes, "binary"),
}
assert set(_KINDS) == set(GOLDEN.names)


def _check_columns(schema: pa.Schema, where: str) -> None:
    problems = [f"column {name!r} is missing" for name in REQUIRED if name not in schema.names]
    problems += [
        f"column {name!r} is there twice" for name in sorted(set(schema.names)) if schema.names.count(name) > 1
    ]
    for field in schema:
        fits, wanted = _KINDS.get(field.name, (None, ""))
        if fits is None:
            problems.append(f"unknown column {field.name!r}{did_you_mean(field.name, GOLDEN.names)}")
        elif not (pa.types.is_null(field.type) or fits(field.type)):
            problems.append(f"column {field.name!r} is {field.type}, not {wanted}")
    if problems:
        raise GoldenError(
            "these are not the columns of a golden set",
            where=where,
            why="\n       ".join(problems),
            fix="write the columns of infra/docs/golden.md, and no others",
        )


def _raw(table: pa.Table, where: str) -> Iterator[Raw]:
    """Rows as Python values, some thousands at a time."""
    number = 0
    for batch in _in_microseconds(table, where).to_batches(max_chunksize=8192):
        for values in batch.to_pylist():
            number += 1
            yield Place(where, "row", number), values


def _in_microseconds(table: pa.Table, where: str) -> pa.Table:
    """The same table with times that Python can hold."""
    place = table.schema.get_field_index("time")
    if pa.types.is_null(table.schema.field(place).type):
        return table
    options = pc.CastOptions(MICROSECONDS, allow_time_truncate=True)
    try:
        times = table["time"].cast(options=options)
        pc.min_max(times).as_py()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        why = f"column 'time' holds a time that is not in the years 1 to 9999: {error}"
        fix = "check the unit of the timestamps"
        raise GoldenError("these times cannot be read", where=where, why=why, fix=fix) from error
    return table.set_column(place, "time", times)
