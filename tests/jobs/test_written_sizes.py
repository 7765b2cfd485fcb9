"""Sizes of written files: right whatever is asked, and few requests for many neighbours."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from assay.jobs.datafile import NEIGHBOURS, write_observations
from assay.jobs.store import Store
from assay.jobs.written_sizes import LISTED_FROM, written_sizes
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.store_doubles import observed_rows, refs_of


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint) as running:
        yield running


def fill(store: Store, shards: list[int]) -> dict[str, int]:
    """Files of shards, as the product writes them, and their sizes."""
    found = {}
    for shard in shards:
        written = write_observations(store.storage, store.uri, shard, observed_rows(shard, refs_of(1 + shard % 3)))
        found[f"observations/{written.path}"] = written.size
    return found


SHARDS = [*range(3, 3 + LISTED_FROM + 4), NEIGHBOURS + 1, 5 * NEIGHBOURS]


def asked_of(wanted: dict[str, int]) -> list[str]:
    """The names, in another order, with names of nothing among them."""
    some = next(iter(wanted))
    return [*sorted(wanted, key=hash), some.replace(".parquet", ".none"), "observations/data/none.parquet"]


def test_sizes_on_disk(tmp_path: Path) -> None:
    store = Store(Storage(), str(tmp_path / "store"))
    wanted = fill(store, SHARDS)
    names = asked_of(wanted)
    assert written_sizes(store, names) == [wanted.get(name) for name in names]
    assert written_sizes(store, []) == []


def test_neighbours_in_a_bucket_are_listed(s3: S3Server, s3_place: str, proxy: FaultProxy, tmp_path: Path) -> None:
    spec = s3.spec().model_copy(update={"endpoint": proxy.endpoint})
    store = Store(Storage(spec), f"{s3_place}/{tmp_path.name}")
    # What came before and after is told apart by its name, however much it is.
    others = fill(store, [0, 1, 2, 200])
    wanted = fill(store, SHARDS)
    before = len(proxy.asked)
    assert written_sizes(store, list(wanted)) == list(wanted.values())
    listings, looks = 1, 2
    assert len(proxy.asked) - before == listings + looks
    names = asked_of(wanted | others)
    assert written_sizes(store, names) == [(wanted | others).get(name) for name in names]
