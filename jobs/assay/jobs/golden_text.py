"""Golden sets as text: CSV for spreadsheets and review tools, JSON Lines for programs. Every column survives.

    uri,etag,label=weapons,label=nudity,slice=style,reviewer,policy,time,note,weight,split
    {"uri": "…", "labels": {"weapons": "present", "nudity": null}, "slices": {"style": "photo"}, "reviewer": "ana", …}

In CSV a label is a column `label=NAME` and a slice a column `slice=NAME`; in JSON both are maps. A blank cell, or null,
says nothing: the label is asked for and not answered. Where embeddings are kept they are base64, with their encoder's
digest in `encoder`. Knows spellings; what rows mean is in `golden_rows.py`.
"""

import base64
import csv
import io
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from assay.platform.document import did_you_mean
from assay.platform.errors import GoldenError
from assay.platform.golden_file import no_rows
from assay.platform.golden_rows import GoldenRow, Place, Raw, Reviews, parse_rows

LABEL, SLICE = "label=", "slice="
PLAIN = ("reviewer", "policy", "time", "note", "weight", "split")
KEPT = ("encoder", "embedding")
"""Columns written only when embeddings are kept."""
COLUMNS = ("uri", "etag", *PLAIN, *KEPT)
FORMATS = (".csv", ".jsonl")

Sign = Callable[[dict[str, object]], dict[str, object]]
"""Completes a row before it is checked, such as with the name of who reviewed it."""


@dataclass
class _Sheet:
    """What a file says beside its rows. `encoders` has the first place of each."""

    where: str
    asked: set[str] = field(default_factory=set)
    encoders: dict[str, Place] = field(default_factory=dict)

    def encoder(self) -> str:
        """The one encoder of all embeddings."""
        if len(self.encoders) > 1:
            first, second, *_ = self.encoders.items()
            raise GoldenError(
                "the embeddings of this golden set are of more than one encoder",
                where=f"{self.where}, {second[1]}",
                why=f"{first[0]} on {first[1]}, {second[0]} on {second[1]}",
                fix="keep those of one encoder, and leave the others' cells blank",
            )
        return next(iter(self.encoders), "")


def read_text(path: Path, known_labels: Collection[str] | None = None, sign: Sign = dict) -> Reviews:
    """The rows of a CSV or JSON Lines file, by the end of its name.

    Raises:
        GoldenError: it cannot be read, or its rows do not hold together; with the line.
    """
    text, sheet = _text(path), _Sheet(str(path))
    rows = _read_csv(text, sheet) if path.suffix.lower() == ".csv" else _read_json(text, sheet)
    parsed = parse_rows(((place, sign(values)) for place, values in rows), known_labels)
    if not parsed:
        raise no_rows(str(path))
    return Reviews(parsed, tuple(sorted(sheet.asked)), sheet.encoder())


def write_text(path: Path, reviews: Reviews) -> bytes:
    """The bytes of a CSV or JSON Lines file, by the end of its name."""
    return (_csv(reviews) if path.suffix.lower() == ".csv" else _json(reviews)).encode()


def is_text(path: Path) -> bool:
    """Whether a file's name says CSV or JSON Lines.

    Raises:
        GoldenError: it says neither these nor Parquet.
    """
    suffix = path.suffix.lower()
    if suffix not in (*FORMATS, ".parquet"):
        raise GoldenError(
            "this is no format of golden sets",
            where=str(path),
            why=f"its name ends in {suffix or 'nothing'!r}",
            fix="name it .parquet, .csv or .jsonl",
        )
    return suffix in FORMATS


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise GoldenError("this file cannot be read", where=str(path), why=why, fix="check the path") from error
    try:
        return data.decode("utf-8-sig")  # Excel marks UTF-8 with a BOM
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        fix = "save it as UTF-8 (Excel: “CSV UTF-8”)"
        raise GoldenError(
            "this file is not UTF-8 text", where=f"{path}, line {line}", why=str(error), fix=fix
        ) from error


def _read_csv(text: str, sheet: _Sheet) -> Iterator[Raw]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            fix = "quote cells with commas, quotes or line breaks, and double the quotes in them"
            raise GoldenError(
                "this is not CSV", where=f"{sheet.where}, line {line}", why=str(error), fix=fix
            ) from error
        if cells is None:
            return
        if not cells:
            continue
        if header is None:
            header = cells
            _check_header(header, f"{sheet.where}, line {line}")
            sheet.asked |= {name.removeprefix(LABEL) for name in header if name.startswith(LABEL)}
        else:
            yield _from_cells(header, cells, Place(sheet.where, "line", line), sheet)


def _check_header(header: list[str], where: str) -> None:
    prefixed = [name for name in header if name.startswith((LABEL, SLICE))]
    known = [*COLUMNS, *prefixed]
    problems = [f"unknown column {name!r}{did_you_mean(name, known)}" for name in header if name not in known]
    problems += [f"column {name!r} is there twice" for name in sorted(set(header)) if header.count(name) > 1]
    problems += [f"column {name!r} has no name after the =" for name in prefixed if name in (LABEL, SLICE)]
    problems += ["there is no column 'uri'"] if "uri" not in header else []
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        problems.append("the cells are not separated by commas")
    if problems:
        raise GoldenError(
            "this is not the header of a golden set",
            where=where,
            why="\n       ".join(problems),
            fix=f"the columns are {', '.join(COLUMNS)}, and {LABEL}NAME and {SLICE}NAME for labels and slices",
        )


def _from_cells(header: list[str], cells: list[str], place: Place, sheet: _Sheet) -> Raw:
    if len(cells) != len(header):
        raise GoldenError(
            "this line has another number of cells than the header",
            where=f"{sheet.where}, {place}",
            why=f"{len(cells)} cells, the header has {len(header)}",
            fix="quote cells with commas or line breaks",
        )
    said = {name: cell for name, cell in zip(header, cells, strict=True) if cell}
    values: dict[str, object] = {name: said[name] for name in COLUMNS if name in said}
    for prefix, name in ((LABEL, "labels"), (SLICE, "slices")):
        values[name] = {key.removeprefix(prefix): cell for key, cell in said.items() if key.startswith(prefix)}
    return place, _without_encoder(values, place, sheet)


def _without_encoder(values: dict[str, object], place: Place, sheet: _Sheet) -> dict[str, object]:
    encoder = values.pop("encoder", None)
    if encoder and values.get("embedding"):
        sheet.encoders.setdefault(str(encoder), place)
    return values


def _read_json(text: str, sheet: _Sheet) -> Iterator[Raw]:
    # Not splitlines(): JSON may have U+2028 and its like within a text.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        place = Place(sheet.where, "line", number)
        try:
            values = json.loads(line, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise _not_json(place, str(error)) from error
        if not isinstance(values, dict):
            raise _not_json(place, f"it is a {type(values).__name__}, not an object")
        if isinstance(values.get("labels"), dict):
            sheet.asked |= values["labels"].keys()
        yield place, _without_encoder(values, place, sheet)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key, _ in pairs if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"{twice!r} is said twice")
    return found


def _not_json(place: Place, why: str) -> GoldenError:
    fix = "write one JSON object on each line"
    return GoldenError("this line is no row of a golden set", where=f"{place.file}, {place}", why=why, fix=fix)


def _values(row: GoldenRow, encoder: str) -> dict[str, object]:
    """A row's columns but for its maps, blank where nothing is said."""
    said = row.model_dump(mode="json", exclude={"labels", "slices", "embedding"})
    if row.embedding is None:
        return said
    return said | {"encoder": encoder, "embedding": base64.b64encode(row.embedding).decode()}


def _csv(reviews: Reviews) -> str:
    kept = KEPT if any(row.embedding is not None for row in reviews.rows) else ()
    labels, slices = reviews.labels, reviews.slices
    header = ["uri", "etag", *(LABEL + name for name in labels), *(SLICE + name for name in slices), *PLAIN, *kept]
    sink = io.StringIO(newline="")
    writer = csv.writer(sink)
    writer.writerow(header)
    for row in reviews.rows:
        cells: Mapping[str, object] = {
            **_values(row, reviews.encoder),
            **{LABEL + name: word.value for name, word in row.labels.items()},
            **{SLICE + name: value for name, value in row.slices.items()},
        }
        writer.writerow([cells.get(name) for name in header])
    return sink.getvalue()


def _json(reviews: Reviews) -> str:
    lines = []
    for row in reviews.rows:
        labels = dict.fromkeys(reviews.asked) | {name: word.value for name, word in row.labels.items()}
        values = {**_values(row, reviews.encoder), "labels": labels, "slices": row.slices}
        said = {name: value for name, value in values.items() if value is not None}
        lines.append(json.dumps(said, ensure_ascii=False) + "\n")
    return "".join(lines)
