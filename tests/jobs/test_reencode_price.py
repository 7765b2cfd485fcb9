"""What encoding again costs: counted from manifests, and no dollar that nobody named."""

from pathlib import Path

import pytest

from assay.jobs.generation import Generation, publish
from assay.jobs.manifest import ManifestWriter, Shard
from assay.jobs.reencode_price import RatesSpec, price_of_reencoding
from assay.jobs.store import Store
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.store_doubles import new_store, refs_of


def planned(store: Store, *shards: tuple[ImageRef, ...]) -> None:
    """One generation of these shards."""
    writer = ManifestWriter(store, "generation-000000")
    for number, refs in enumerate(shards):
        writer.add(Shard(number, refs))
    images = [ref for refs in shards for ref in refs]
    facts = {"images": len(images), "bytes": sum(ref.size for ref in images), "shards": len(shards)}
    publish(store, Generation.empty([]).model_copy(update={**facts, "parts": writer.close()}))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return new_store(Storage(), tmp_path / "store")


def test_loose_images_cost_a_request_each(store: Store) -> None:
    planned(store, refs_of(10), refs_of(20, "s3://c/"))
    price = price_of_reencoding(store)
    assert (price.images, price.share, price.requests) == (30, 1.0, 30)
    assert price.bytes == sum(range(10)) + sum(range(20))
    assert price.hours is price.dollars_time is price.dollars_requests is None


def test_packed_images_cost_requests_by_the_shard(store: Store) -> None:
    members = [ImageRef(f"s3://b/0.tar!/{512 * row:015d}+100/{row}.jpg", "e", 100) for row in range(20)]
    planned(store, tuple(members[:10]), tuple(members[10:]))
    assert price_of_reencoding(store).requests == 2


def test_hours_and_dollars_are_told_when_their_rates_are(store: Store) -> None:
    planned(store, refs_of(3600))
    price = price_of_reencoding(store).at(2.0, RatesSpec(hour=3.0, million_gets=0.4))
    assert price.hours == pytest.approx(0.5)
    assert price.dollars_time == pytest.approx(1.5)
    assert price.dollars_requests == pytest.approx(0.4 * 3600 / 1e6)
    assert price.at(2.0, RatesSpec(hour=3.0)).dollars_requests is None
    assert price.at(0.0).hours is None


def test_a_part_costs_in_proportion(store: Store) -> None:
    planned(store, refs_of(100))
    whole = price_of_reencoding(store)
    part = whole.of_part(25)
    assert (part.images, part.share, part.requests) == (25, 0.25, 25)
    assert part.bytes == round(whole.bytes / 4)


def test_an_empty_store_costs_nothing(store: Store) -> None:
    price = price_of_reencoding(store)
    assert (price.images, price.share, price.bytes, price.requests) == (0, 0.0, 0, 0)
    assert price.of_part(0).share == 0
