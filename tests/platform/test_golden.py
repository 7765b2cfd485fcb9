"""Golden sets: reviewers become one truth by the documented rule, and the digest is of what is said, not how."""

import datetime
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.golden import GOLDEN, GoldenSet
from assay.platform.golden_rows import GoldenRow, Reviews
from tests.golden_strategies import reviews, unit


def row(uri: str, reviewer: str, hour: int = 0, **said: object) -> GoldenRow:
    time = datetime.datetime(2026, 11, 23, hour, tzinfo=datetime.UTC)
    return GoldenRow.model_validate({"uri": uri, "reviewer": reviewer, "time": time, **said})


def golden(*rows: GoldenRow) -> GoldenSet:
    return GoldenSet.of(Reviews(rows))


def words(*said: tuple[str, int, str]) -> int:
    """The truth that (reviewer, hour, word) make of one label."""
    rows = [row("a", reviewer, hour, labels={"x": word}) for reviewer, hour, word in said]
    return int(golden(*rows).truth(["x"])[0, 0])


def test_a_reviewers_latest_word_counts() -> None:
    assert words(("ana", 1, "absent"), ("ana", 2, "present")) == 1
    assert words(("ana", 2, "present"), ("ana", 1, "absent")) == 1
    assert words(("ana", 1, "present"), ("ana", 2, "unsure")) == -1


def test_reviewers_who_differ_make_it_unsure() -> None:
    assert words(("ana", 1, "present"), ("bo", 2, "present")) == 1
    assert words(("ana", 1, "present"), ("bo", 2, "absent")) == -1
    assert words(("ana", 1, "present"), ("bo", 2, "unsure")) == -1
    assert words(("ana", 1, "present"), ("bo", 2, "absent"), ("ana", 3, "absent")) == 0


def test_a_later_row_that_is_silent_takes_nothing_back() -> None:
    found = golden(row("a", "ana", 1, labels={"x": "present"}), row("a", "ana", 2, labels={"y": "absent"}))
    assert found.truth(["x", "y", "never asked"]).tolist() == [[1, 0, -1]]


def test_slices_are_merged_alike() -> None:
    found = golden(
        row("a", "ana", 1, slices={"style": "photo", "region": "EU"}),
        row("a", "bo", 2, slices={"style": "drawing"}),
        row("b", "ana", 1, slices={"style": "photo"}),
    )
    assert {name: column.tolist() for name, column in found.slices().items()} == {
        "region": ["EU", ""],
        "style": ["", "photo"],
    }


def test_one_row_for_each_image_with_who_and_when() -> None:
    found = golden(
        row("b", "ana", 1, weight=2.5, split="test"),
        row("a", "bo", 3, note="a toy", policy="strict", labels={"x": "present"}),
        row("a", "ana", 2, note="not sure", split="calibrate", embedding=unit(1)),
    )
    assert found.uris == ["a", "b"]
    assert found.weights.tolist() == [1.0, 2.5]
    assert found.splits == ["calibrate", "test"]
    first = found.table.to_pylist()[0]
    assert (first["reviewer"], first["note"], first["policy"]) == ("ana, bo", "not sure\na toy", "strict")
    assert first["time"].hour == 3
    assert first["embedding"] == unit(1)
    assert found.table.schema.remove_metadata() == GOLDEN


def test_rows_without_a_split_serve_both() -> None:
    found = golden(row("a", "ana", split="test"), row("b", "ana", split="calibrate"), row("c", "ana"))
    assert found.only("test").uris == ["a", "c"]
    assert found.only("calibrate").uris == ["b", "c"]
    assert found.only("test").digest not in (found.digest, found.only("calibrate").digest)
    assert len(golden(row("a", "ana", split="test")).only("calibrate")) == 0
    with pytest.raises(ValueError, match="neither calibrate nor test"):
        found.only("train")


def test_truth_has_the_columns_asked_for() -> None:
    found = golden(row("a", "ana", labels={"x": "present"})).truth(["y", "x"])
    assert found.dtype == np.int8
    assert found.tolist() == [[-1, 1]]


@settings(deadline=None, max_examples=40)
@given(reviews(), st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(said: Reviews, chance: random.Random) -> None:
    shuffled = chance.sample(said.rows, len(said.rows))
    # Texts that are joined are joined in order of time; of rows at one time, in that of reviewers.
    assert GoldenSet.of(Reviews(tuple(shuffled), said.asked, said.encoder)) == GoldenSet.of(said)


@settings(deadline=None, max_examples=40)
@given(reviews())
def test_a_golden_set_reads_back_as_itself(tmp_path_factory: pytest.TempPathFactory, said: Reviews) -> None:
    path = tmp_path_factory.getbasetemp() / "golden-set.parquet"
    merged = GoldenSet.of(said)
    merged.write(path)
    assert GoldenSet.read(path) == merged
    assert GoldenSet.read(path).table.schema.metadata == merged.table.schema.metadata


def test_the_digest_is_of_all_but_embeddings() -> None:
    plain = golden(row("a", "ana", labels={"x": "present"}))
    assert golden(row("a", "ana", labels={"x": "present"}, embedding=unit(1))).digest == plain.digest
    others = [
        row("a", "ana", labels={"x": "absent"}),
        row("a", "bo", labels={"x": "present"}),
        row("a", "ana", 1, labels={"x": "present"}),
        row("a", "ana", labels={"x": "present"}, weight=1.5),
        row("a", "ana", labels={"x": "present"}, slices={"style": "photo"}),
        row("a", "ana", labels={"x": "present"}, split="test"),
    ]
    assert len({golden(other).digest for other in others} | {plain.digest}) == 7


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    path = tmp_path / "golden.parquet"
    golden(row("a", "ana")).write(path)
    golden(row("b", "ana")).write(path)
    assert [one.name for one in tmp_path.iterdir()] == ["golden.parquet"]
    assert GoldenSet.read(path).uris == ["b"]
