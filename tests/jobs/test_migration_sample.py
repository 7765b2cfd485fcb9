"""Old and new embeddings are paired where both encoders took the same look, and split without near-duplicates."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from assay.jobs.image_embedder import ImageEmbedder
from assay.jobs.judged import find_judged
from assay.jobs.migration_sample import DrawSpec, Pairs, sample_pairs
from assay.jobs.store import Store
from assay.platform.errors import SpecError
from assay.platform.release import Release
from assay.platform.storage import Storage
from tests.golden_store import COPIES, PICTURES, judged
from tests.jobs.colour_releases import colour_release

SPEC = DrawSpec(sample=PICTURES + COPIES + 20)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A release with another encoder."""
    return colour_release(tmp_path_factory.mktemp("other"), dim=96)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, release_dir: Path) -> Store:
    with pytest.MonkeyPatch.context() as patch:
        return Store.open(Storage(), str(judged(tmp_path_factory.mktemp("sampled"), release_dir, patch)))


def sampled(store: Store, release: Release, spec: DrawSpec = SPEC) -> Pairs:
    return sample_pairs(store, find_judged(store), ImageEmbedder(store.storage, release), spec, lambda *_: None)[0]


def test_every_view_has_its_twin(store: Store, other: Release) -> None:
    told: list[tuple[int, int]] = []
    embedder = ImageEmbedder(store.storage, other)
    pairs, facts = sample_pairs(store, find_judged(store), embedder, SPEC, lambda *counts: told.append(counts))
    images = PICTURES + COPIES
    assert (facts.drawn, facts.encoded, facts.population, facts.missing) == (images, images, images, {})
    assert facts.learnt_from + facts.tested_on == images
    assert facts.images_per_second == pytest.approx(facts.encoded / facts.seconds, rel=0.1)
    assert told[-1] == (images, images)
    assert pairs.twins.old.shape == (images, 64)
    assert pairs.twins.new.shape == (images, 96)
    assert pairs.same_old.tolist() == pairs.same_new.tolist() == pairs.same_image.tolist() == [*range(images)]
    assert pairs.twins.weights.tolist() == [1.0] * images


def test_near_duplicates_are_on_one_side(store: Store, other: Release) -> None:
    pairs = sampled(store, other)
    sides = {(group, side) for group, side in zip(pairs.twins.groups.tolist(), pairs.is_test.tolist(), strict=True)}
    assert len(sides) == len(set(pairs.twins.groups.tolist())) == PICTURES


def test_a_part_of_the_twins_has_their_views(store: Store, other: Release) -> None:
    twins = sampled(store, other).twins
    rows = np.arange(len(twins.weights)) % 3 == 0
    part = twins.part(rows)
    assert np.array_equal(part.old, twins.old[rows])
    assert np.array_equal(part.new, twins.new[rows])
    assert part.old_starts.tolist() == [*range(rows.sum())]
    assert np.array_equal(part.by_old_view(), twins.groups[rows])


def test_images_with_several_views(tmp_path: Path, release_dir: Path, other: Release) -> None:
    """An animation's frames, and what is see-through on white and on black, are paired one by one."""
    from PIL import Image

    from tests.serial_backfill import run_alone

    bucket = tmp_path / "bucket"
    bucket.mkdir()
    for number in range(80):
        rng = np.random.default_rng(number)
        frames = [
            Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((32, 32), 0) for _ in range(3)
        ]
        first, *rest = frames
        if number % 2:
            first.save(bucket / f"{number:03d}.gif", save_all=True, append_images=rest, duration=300)
        else:
            first.putalpha(Image.fromarray(rng.integers(0, 256, (32, 32), dtype=np.uint8)))
            first.save(bucket / f"{number:03d}.png")
    with pytest.MonkeyPatch.context() as patch:
        places = {"source": str(bucket), "store": str(tmp_path / "store"), "release": str(release_dir)}
        run_alone({**places, "max_fault_rate": 1.0}, patch)
    store = Store.open(Storage(), str(tmp_path / "store"))
    rows = store.observations.dataset().to_table()
    views = int(pa.compute.sum(pa.compute.list_value_length(rows["views"])).as_py())
    assert views > 160
    pairs = sampled(store, other, DrawSpec(sample=100, duplicate_cosine=0.999))
    assert len(pairs.twins.old) == len(pairs.twins.new) == len(pairs.same_old) == views
    assert pairs.same_old.tolist() == pairs.same_new.tolist() == [*range(views)]
    assert len(set(pairs.same_image.tolist())) == 80


def test_too_few_are_refused(store: Store, other: Release) -> None:
    with pytest.raises(SpecError, match="too few images") as refusal:
        sampled(store, other, DrawSpec(sample=64, duplicate_cosine=0.2))
    assert f"{PICTURES + COPIES} are near-duplicates" in refusal.value.why
    assert "--duplicate-cosine" in refusal.value.fix
