"""The rows of a golden set: what one reviewer says of one image at one time, and when such rows hold together.

Knows columns, words and contradictions. Does not know how files spell them (`golden_file.py`), nor how reviewers are
merged (`golden.py`).
"""

import base64
import binascii
import datetime
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, Self, get_args

import numpy as np
import pyarrow as pa
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from assay.platform.document import did_you_mean
from assay.platform.errors import GoldenError

TEXTS = pa.map_(pa.string(), pa.string())

GOLDEN = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),  # "" = not known
        pa.field(
            "labels", TEXTS, nullable=False
        ),  # label -> present | absent | unsure; a label not asked for is not there
        pa.field("slices", TEXTS),  # such as style -> photo
        pa.field("reviewer", pa.string(), nullable=False),  # "" = nobody has said anything yet
        pa.field("policy", pa.string()),  # under which it was reviewed
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("note", pa.string()),
        pa.field("weight", pa.float64(), nullable=False),  # images of the population this one stands for
        pa.field("split", pa.string()),  # calibrate | test; null serves both
        pa.field("embedding", pa.binary()),  # float16[views, dim] little endian; null = not kept
    ]
)
"""A golden set, and review decisions: `infra/docs/golden.md`."""

MAX_TOLD = 10
"""Problems told at once."""


class Truth(StrEnum):
    """What a person says of a label: it is in the picture, it is not, or nobody can tell."""

    PRESENT = "present"
    ABSENT = "absent"
    UNSURE = "unsure"


Split = Literal["calibrate", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


def _pairs(value: object) -> object:
    """A map as a dict, whether it came as one, as Arrow's pairs, or as a list of {key, value}. Blanks say nothing."""
    if isinstance(value, list):
        found: dict[object, object] = {}
        for one in value:
            pair = (one.get("key"), one.get("value")) if isinstance(one, dict) else one
            if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
                return value
            if pair[0] in found:
                raise ValueError(f"{pair[0]!r} is said twice")
            found[pair[0]] = pair[1]
        value = found
    return {key: word for key, word in value.items() if word not in (None, "")} if isinstance(value, dict) else value


def _time(value: object) -> object:
    """A time with its zone. Numbers are refused: nobody can tell whether they count seconds or milliseconds."""
    if isinstance(value, str):
        try:
            value = datetime.datetime.fromisoformat(value)
        except ValueError as error:
            raise ValueError(f"{value!r} is not a time such as 2026-11-23T10:00:00Z") from error
    if not isinstance(value, datetime.datetime):
        raise ValueError(f"{value!r} is not a time such as 2026-11-23T10:00:00Z")  # noqa: TRY004  # for pydantic
    if value.tzinfo is None:
        raise ValueError(f"{value.isoformat()} has no time zone; write {value.isoformat()}Z if it is UTC")
    try:
        return value.astimezone(datetime.UTC)
    except OverflowError as error:
        raise ValueError(f"{value.isoformat()} is not in the years 1 to 9999, UTC") from error


def _bytes(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


def _halves(value: bytes) -> bytes:
    if len(value) % 2:
        raise ValueError(f"{len(value)} bytes are not float16 numbers")
    numbers = np.frombuffer(value, "<f2")
    if not np.isfinite(numbers).all():
        raise ValueError(f"number {int(np.flatnonzero(~np.isfinite(numbers))[0]) + 1} is not finite")
    return value


Name = Annotated[str, Field(min_length=1)]
Bytes = Annotated[bytes, BeforeValidator(_bytes), AfterValidator(_halves)]


class GoldenRow(BaseModel, frozen=True, extra="forbid"):
    """What one reviewer says of one image at one time; see `GOLDEN`."""

    uri: Name
    etag: str = ""
    labels: Annotated[dict[Name, Truth], BeforeValidator(_pairs)] = {}
    slices: Annotated[dict[Name, str], BeforeValidator(_pairs)] = {}
    reviewer: str = ""
    policy: str | None = None
    time: Annotated[datetime.datetime, BeforeValidator(_time)]
    note: str | None = None
    weight: float = Field(1.0, gt=0, allow_inf_nan=False)
    split: Split | None = None
    embedding: Bytes | None = None

    @model_validator(mode="after")
    def _is_signed(self) -> Self:
        if self.labels and not self.reviewer:
            raise ValueError("it says labels and names no reviewer")
        return self

    @property
    def image(self) -> tuple[str, str]:
        """The image's identity."""
        return self.uri, self.etag


@dataclass(frozen=True, slots=True)
class Reviews:
    """Rows as they were written, each reviewer's own. `asked` are labels to be filled in, said or not; `encoder` is the
    digest of the encoder that made the embeddings, if any are kept."""

    rows: tuple[GoldenRow, ...]
    asked: tuple[str, ...] = ()
    encoder: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that is said or asked for, sorted."""
        return tuple(sorted({*self.asked, *(label for row in self.rows for label in row.labels)}))

    @property
    def slices(self) -> tuple[str, ...]:
        """The names of slices, sorted."""
        return tuple(sorted({name for row in self.rows for name in row.slices}))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row stands: the file, what its rows are counted in (`row` or `line`), and the number, from 1."""

    file: str
    unit: str
    number: int

    def __str__(self) -> str:
        return f"{self.unit} {self.number}"


Raw = tuple[Place, dict[str, object]]
"""A row as a file has it. Nulls and empty texts say nothing."""


def parse_rows(raw: Iterable[Raw], known_labels: Collection[str] | None = None) -> tuple[GoldenRow, ...]:
    """Rows that hold together, each for itself and with one another.

    Raises:
        GoldenError: they do not; every problem (of the first `MAX_TOLD`) with its row and remedy.
    """
    placed: list[tuple[Place, GoldenRow]] = []
    problems: list[tuple[Place, str]] = []
    for place, values in raw:
        said = {name: value for name, value in values.items() if value is not None and value not in ("", b"")}
        try:
            row = GoldenRow.model_validate(said)
        except ValidationError as error:
            problems += [(place, _explain(one)) for one in error.errors(include_url=False)]
            continue
        placed.append((place, row))
    problems += _unknown(placed, known_labels)
    problems += _contradictions(placed)
    if problems:
        raise _refusal(problems)
    return tuple(row for _, row in placed)


def _refusal(problems: list[tuple[Place, str]]) -> GoldenError:
    problems.sort(key=lambda one: one[0].number)
    first, count = problems[0][0], len(problems)
    told = [f"{place}: {text}" for place, text in problems[:MAX_TOLD]]
    more = [f"and {count - MAX_TOLD:,} more"] if count > MAX_TOLD else []
    return GoldenError(
        f"this golden set does not hold together: {count:,} problem{'s' * (count > 1)}",
        where=f"{first.file}, {first}",
        why="\n       ".join([*told, *more]),
        fix="mend the rows named; infra/docs/golden.md says what each column holds",
    )


def _explain(error: ErrorDetails) -> str:
    name = ".".join(str(part) for part in error["loc"] if part != "[key]")
    match error["type"]:
        case "missing":
            return f"it has no {name}"
        case "extra_forbidden":
            return f"unknown column {name!r}{did_you_mean(name, GOLDEN.names)}"
        case "enum" | "literal_error":
            words = SPLITS if name == "split" else tuple(truth.value for truth in Truth)
            told = f"{name}: {error['input']!r} is none of {', '.join(words)}"
            return told + did_you_mean(str(error["input"]).casefold(), words)
        case "value_error":
            return f"{name}: {error['ctx']['error']}".removeprefix(": ")
        case _:
            given = repr(error["input"])
            return f"{name}: {error['msg'].lower()}, not {given if len(given) <= 40 else given[:40] + '…'}"


def _unknown(
    placed: list[tuple[Place, GoldenRow]], known_labels: Collection[str] | None
) -> Iterator[tuple[Place, str]]:
    """Labels the library does not have, each told once."""
    if known_labels is None:
        return
    known, found = frozenset(known_labels), dict[str, list[Place]]()
    for place, row in placed:
        for label in row.labels.keys() - known:
            found.setdefault(label, []).append(place)
    for label, places in found.items():
        more = f", in {len(places):,} rows" if len(places) > 1 else ""
        yield places[0], f"unknown label {label!r}{did_you_mean(label, known)}{more}"


def _contradictions(placed: list[tuple[Place, GoldenRow]]) -> Iterator[tuple[Place, str]]:
    """What rows of one image say against each other. Labels and slices may differ: people disagree."""
    said: dict[tuple[str, str, str], tuple[Place, object]] = {}
    etagged: dict[str, tuple[Place, bool]] = {}
    rounds: dict[tuple[str, str, str, datetime.datetime], Place] = {}
    for place, row in placed:
        earlier = rounds.setdefault((*row.image, row.reviewer, row.time), place)
        if earlier is not place:
            yield place, f"{row.reviewer or 'nobody'} says {row.uri} at this time on {earlier}, too"
        first, has_etag = etagged.setdefault(row.uri, (place, bool(row.etag)))
        if has_etag is not bool(row.etag):
            yield place, f"{row.uri} has an etag here or on {first} and none on the other; write it on both or neither"
        for name, value in (("weight", row.weight), ("split", row.split), ("embedding", row.embedding)):
            if value is None:
                continue
            where, other = said.setdefault((*row.image, name), (place, value))
            if other != value:
                yield place, f"the {name} of {row.uri} is another one than on {where}"
