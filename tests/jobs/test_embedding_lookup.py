"""Embeddings out of a store: exactly those asked for, whichever files they lie in, and no file read that cannot have
one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.jobs.embedding_lookup import Image, find_embeddings
from assay.jobs.image_rows import ImageRows
from assay.jobs.store import Store
from assay.platform.errors import StorageError
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.store_doubles import DIM, new_store, observe, refs_of, reopened


def cell(number: int) -> bytes:
    """The embedding `observe` writes for the n-th row of a shard."""
    return np.full(DIM, number, np.float16).tobytes()


def filled(store: Store) -> Store:
    """Three shards; the third has a fault, and another version of an image of the first."""
    refs = refs_of(20)
    observe(store, 0, refs[:10])
    observe(store, 1, refs[10:])
    later = (ImageRef("s3://b/0003", "newer", 1), ImageRef("s3://b/0021", "e21", 1), ImageRef("s3://b/0022", "e22", 1))
    observe(store, 2, later, ["ok", "CORRUPT", "ok"])
    return reopened(store)


EXPECTED: dict[Image, bytes] = {
    **{(f"s3://b/{number:04d}", f"e{number}"): cell(number % 10) for number in range(20)},
    **{(f"s3://b/{number:04d}", ""): cell(number % 10) for number in range(20)},
    ("s3://b/0003", "newer"): cell(0),
    ("s3://b/0003", ""): cell(0),
    ("s3://b/0022", "e22"): cell(2),
    ("s3://b/0022", ""): cell(2),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return filled(new_store(Storage(), tmp_path_factory.mktemp("lookup") / "store"))


MISSES: list[Image] = [("s3://b/0003", "other"), ("s3://b/0021", "e21"), ("s3://b/0021", ""), ("s3://b/0029", "")]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([*EXPECTED, *MISSES]), max_size=8))
def test_what_is_asked_for_and_no_more(store: Store, asked: list[Image]) -> None:
    assert find_embeddings(store, asked) == {image: EXPECTED[image] for image in asked if image in EXPECTED}


def test_only_files_that_can_have_them_are_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    really = ImageRows._read

    def noted(rows: ImageRows, path: str, uris: list[str], where: pc.Expression) -> pa.Table:
        read.append(path)
        return really(rows, path, uris, where)

    monkeypatch.setattr(ImageRows, "_read", noted)
    find_embeddings(store, [("s3://b/0002", "e2"), ("s3://b/0001", "e1")])
    assert len(read) == 1


def test_a_store_without_observations(tmp_path: Path) -> None:
    assert find_embeddings(new_store(Storage(), tmp_path / "store"), [("s3://b/0001", "")]) == {}


def test_a_lost_file_is_told(tmp_path: Path) -> None:
    store = filled(new_store(Storage(), tmp_path / "store"))
    for path in (tmp_path / "store" / "observations" / "data").rglob("*.parquet"):
        path.unlink()
    with pytest.raises(StorageError, match="a committed file cannot be read"):
        find_embeddings(store, [("s3://b/0001", "")])


def test_in_a_bucket(s3: S3Server, s3_place: str) -> None:
    found = find_embeddings(filled(new_store(s3.storage, f"{s3_place}/store")), list(EXPECTED))
    assert found == EXPECTED
