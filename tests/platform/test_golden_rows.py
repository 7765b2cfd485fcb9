"""Rows of a golden set: what each column takes, what rows may not say against one another, and how that is told."""

from collections.abc import Iterable

import numpy as np
import pytest

from assay.platform.errors import GoldenError, SpecError
from assay.platform.golden_rows import MAX_TOLD, GoldenRow, Place, parse_rows
from tests.golden_strategies import unit

AT = "2026-11-23T10:00:00Z"
NOT_A_NUMBER = np.array([1, np.nan], "<f2").tobytes()


def parse(*rows: dict[str, object], known: Iterable[str] | None = None) -> tuple[GoldenRow, ...]:
    raw = ((Place("golden.csv", "line", number), dict(row)) for number, row in enumerate(rows, start=2))
    return parse_rows(raw, None if known is None else frozenset(known))


def row(**said: object) -> dict[str, object]:
    return {"uri": "s3://b/1", "time": AT, "reviewer": "ana", **said}


def refusal(*rows: dict[str, object], known: Iterable[str] | None = None) -> GoldenError:
    with pytest.raises(GoldenError) as caught:
        parse(*rows, known=known)
    return caught.value


def test_blanks_say_nothing() -> None:
    [found] = parse(
        row(labels={"weapons": "present", "nudity": None, "hate": ""}, note="", weight=None, split="", embedding=b"")
    )
    assert found.labels == {"weapons": "present"}
    assert (found.note, found.weight, found.split, found.etag, found.embedding) == (None, 1.0, None, "", None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"labels": {"weapons": "presnt"}}, "'presnt' is none of present, absent, unsure; did you mean 'present'?"),
        ({"labels": {"weapons": "Absent"}}, "did you mean 'absent'?"),
        ({"labels": {"weapons": "yes"}}, "'yes' is none of present, absent, unsure"),
        ({"labels": "weapons"}, "labels: input should be a valid dictionary"),
        ({"labels": [{"key": [], "value": "present"}]}, "labels: input should be a valid dictionary"),
        ({"labels": [1, 2]}, "labels: input should be a valid dictionary"),
        ({"labels": [("weapons", "present"), ("weapons", "absent")]}, "'weapons' is said twice"),
        ({"labels": {"weapons": "present"}, "reviewer": ""}, "it says labels and names no reviewer"),
        ({"time": "2026-11-23T10:00:00"}, "has no time zone; write 2026-11-23T10:00:00Z if it is UTC"),
        ({"time": "2026-11-23"}, "has no time zone"),
        ({"time": "yesterday"}, "'yesterday' is not a time such as"),
        ({"time": 1_763_892_000}, "1763892000 is not a time such as"),
        ({"time": "0001-01-01T00:00:00+14:00"}, "is not in the years 1 to 9999"),
        ({"time": None}, "it has no time"),
        ({"weight": -1.0}, "weight: input should be greater than 0, not -1.0"),
        ({"weight": 0}, "weight: input should be greater than 0"),
        ({"weight": "nan"}, "weight: input should be a finite number"),
        ({"weight": float("inf")}, "weight: input should be a finite number"),
        ({"split": "tests"}, "'tests' is none of calibrate, test; did you mean 'test'?"),
        ({"uri": ""}, "it has no uri"),
        ({"uri": 7}, "uri: input should be a valid string, not 7"),
        ({"uri": "\ud800"}, "uri: input should be a valid string"),
        ({"embedding": b"\0"}, "embedding: 1 bytes are not float16 numbers"),
        ({"embedding": NOT_A_NUMBER}, "embedding: number 2 is not finite"),
        ({"embedding": "no base64!"}, "embedding: not base64"),
        ({"wieght": 2}, "unknown column 'wieght'; did you mean 'weight'?"),
    ],
)
def test_a_bad_value_is_told_with_its_line(said: dict[str, object], told: str) -> None:
    error = refusal(row(), row(uri="s3://b/2") | said)
    assert error.where == "golden.csv, line 3"
    assert told in error.why
    assert error.fix
    assert isinstance(error, SpecError)


def test_an_unknown_label_is_told_once_with_a_suggestion() -> None:
    rows = [row(uri=f"s3://b/{number}", labels={"weapns": "absent"}) for number in range(40)]
    error = refusal(*rows, known=["weapons", "nudity"])
    assert error.why == "line 2: unknown label 'weapns'; did you mean 'weapons'?, in 40 rows"
    assert parse(*rows)[0].labels == {"weapns": "absent"}


def test_many_problems_are_told_at_once_and_counted() -> None:
    error = refusal(*(row(uri=f"s3://b/{number}", weight=-1) for number in range(30)))
    assert error.what.endswith("30 problems")
    assert len(error.why.splitlines()) == MAX_TOLD + 1
    assert error.why.endswith("and 20 more")


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({}, "ana says s3://b/1 at this time on line 2, too"),
        ({"labels": {"weapons": "absent"}, "policy": "other"}, "ana says s3://b/1 at this time on line 2, too"),
        ({"reviewer": "bo", "etag": "e1"}, "has an etag here or on line 2 and none on the other"),
        ({"reviewer": "bo", "weight": 3}, "the weight of s3://b/1 is another one than on line 2"),
        ({"reviewer": "bo", "split": "test"}, "the split of s3://b/1 is another one than on line 2"),
        ({"reviewer": "bo", "embedding": unit(2)}, "the embedding of s3://b/1 is another one than on line 2"),
    ],
)
def test_rows_of_one_image_may_not_contradict_each_other(second: dict[str, object], told: str) -> None:
    first = row(labels={"weapons": "present"}, split="calibrate", embedding=unit(1))
    error = refusal(first, row(**second))
    assert error.where == "golden.csv, line 3"
    assert told in error.why


def test_two_versions_of_an_object_are_two_images() -> None:
    assert len(parse(row(etag="a", weight=2), row(etag="b", weight=3))) == 2


def test_the_same_reviewer_may_look_again() -> None:
    assert len(parse(row(), row(time="2026-11-24T10:00:00+02:00"))) == 2
