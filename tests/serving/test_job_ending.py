"""Why a job failed: the words of its error, and of its output nothing else."""

import pytest

from assay.platform.errors import StorageError
from assay.serving.job_ending import read_ending

TORN = ["Running entrypoint for job assay-1: assay backfill s3://b/x", "some native line with s3://b/secret"]


def written(error: StorageError) -> list[str]:
    return [*TORN, *f"{type(error).__name__} {error}".splitlines()]


def test_the_error_is_told_without_its_place() -> None:
    error = StorageError("cannot list", where="s3://b/secret", why="403 Forbidden\n  for nobody", fix="grant it")
    ending = read_ending(written(error), 5)
    assert (ending.message, ending.fix) == ("cannot list: 403 Forbidden for nobody", "grant it")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("assay backfill 's3://b/in put/' --store=s3://b/x/, since 13:00", "assay backfill … --store=…, since 13:00"),
        ("assay reaudit /stores/rival --release '/re leases/x', epoch 3", "assay reaudit … --release …, epoch 3"),
        ("https://head:5000/x; sqlite:////data/mlflow.db, ~/x and file:///etc/x", "…; …, … and …"),
        ("models:/assay-release/4 has 1/2 of 3 GET/s, and/or more", None),
    ],
)
def test_no_place_is_told(said: str, told: str | None) -> None:
    ending = read_ending(written(StorageError("cannot", why=said, fix=said)), 5)
    assert (ending.message, ending.fix) == (f"cannot: {told or said}", told or said)


def test_the_last_error_counts() -> None:
    first, last = StorageError("one", why="a", fix="b"), StorageError("two", why="c")
    ending = read_ending([*written(first), *written(last)], 5)
    assert (ending.message, ending.fix) == ("two: c", "")


def test_without_a_word() -> None:
    assert "exit code -9" in read_ending(TORN, -9).message
    ending = read_ending([], None)
    assert "without a word: " in ending.message
    assert "another Idempotency-Key" in ending.fix


def test_finished_badly_is_finished() -> None:
    assert read_ending(TORN, 3).message.startswith("finished: every image has its verdict")


def test_a_flood_is_cut() -> None:
    ending = read_ending(written(StorageError("x" * 10_000, fix="y" * 10_000)), 5)
    assert (len(ending.message), len(ending.fix)) == (2000, 2000)
