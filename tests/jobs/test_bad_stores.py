"""Stores that something is wrong with: a clear error or a repair command, never a wrong "verified", nothing changed."""

import shutil
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from assay.jobs.cli import main
from assay.jobs.committer import Committer
from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.generation import generations
from assay.jobs.manifest import read_shards
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from assay.jobs.work import Receipt, Task, Work, digest_of_keys
from assay.jobs.written_sizes import written_sizes
from assay.platform.errors import ConservationError
from tests.store_damage import READERS, Told, change_json, cut_short, emptied, filled, garbage, run, source_of
from tests.store_doubles import PARTITION, judged_rows, observed_rows, reopened, tree


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(place: Path, tmp_path: Path) -> Store:
    return filled(place, tmp_path / "source")


def test_the_store_is_sound_before_anything_happens(store: Store, place: Path) -> None:
    assert verify(VerifySpec(store=store.uri)).sound
    assert [run(command, place) for command in READERS] == [0, 0, 0, 0]


def test_a_generation_that_was_not_published_does_not_exist(store: Store, place: Path) -> None:
    folder = place / "manifests/generation-000001"
    folder.mkdir()
    shutil.copy(next((place / "manifests/generation-000000").glob("*.parquet")), folder / "part-00000-1.parquet")
    assert verify(VerifySpec(store=store.uri)).sound
    (place.parent / "source" / "more").write_bytes(b"1")
    assert main(source_of(place)) == 0
    assert [one.images for one in generations(reopened(store))] == [8, 1]


def test_a_lost_generation_is_not_planned_anew(store: Store, place: Path, capsys: Told) -> None:
    """The new one's shards would be taken for done."""
    (place / "manifests/generation-000000/generation.json").unlink()
    assert run("verify", place) == 5
    (place.parent / "source" / "0-first").write_bytes(b"1")
    before = tree(place)
    assert main(source_of(place)) == 5
    assert "restore the missing generation.json" in capsys.readouterr().err
    assert tree(place) == before


def test_a_generation_that_is_there_twice(store: Store, place: Path) -> None:
    """By name it is refused; renumbered as if it were the next one, its images are planned twice."""
    shutil.copytree(place / "manifests/generation-000000", place / "manifests/generation-000001")
    with pytest.raises(ConservationError, match="follow on"):
        verify(VerifySpec(store=store.uri))
    change_json(
        place / "manifests/generation-000001/generation.json", lambda facts: facts.update(number=1, first_shard=4)
    )
    facts = verify(VerifySpec(store=store.uri))
    assert facts.duplicated == 8
    assert not facts.sound


def part_of(place: Path) -> Path:
    return next((place / "manifests/generation-000000").glob("*.parquet"))


def gone(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b"\x28\xb5\x2f\xfd") + 8  # inside the first compressed page
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize("damage", [gone, cut_short, emptied, garbage, flipped])
def test_a_damaged_manifest_part(store: Store, place: Path, damage: Callable[[Path], None], capsys: Told) -> None:
    damage(part_of(place))
    before = tree(place)
    for command in (["verify", str(place)], source_of(place)):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert "a manifest part cannot be read" in err
        assert part_of(place).name in err if damage is not gone else "part-" in err
    assert tree(place) == before


def test_a_manifest_part_with_other_rows(store: Store, place: Path, capsys: Told) -> None:
    """Sound by itself, and of another store: what it plans is not what was observed."""
    filled(place.parent / "other", place.parent / "other-source")
    shutil.copy(part_of(place.parent / "other"), part_of(place))
    assert run("verify", place) == 5
    assert "unplanned" in capsys.readouterr().out


def test_receipts_for_unknown_shards(store: Store) -> None:
    """Of a shard that no manifest has, and of one that is not under way."""
    refs = next(read_shards(store, generations(store)[0], {0})).refs
    keys = digest_of_keys((ref.uri, ref.etag) for ref in refs)
    committer = Committer(store.observations, store.verdicts, PARTITION, "run-2", partial(written_sizes, store))
    committer.expect([Work(shard=3, task=Task.OBSERVE, rows=2, keys=keys)])
    before = reopened(store).observations.files()
    for shard in (0, 99):
        receipt = Receipt(
            shard=shard,
            task=Task.OBSERVE,
            rows=2,
            keys=keys,
            outcomes=Counter(ok=2),
            observed=write_observations(store.storage, store.uri, shard, observed_rows(shard, refs)),
            judged=write_verdicts(store.storage, store.uri, shard, judged_rows(shard, refs)),
        )
        with pytest.raises(ConservationError, match=f"shard {shard}"):
            committer.take(receipt)
    assert committer.commit() == []
    assert reopened(store).observations.files() == before
    assert verify(VerifySpec(store=store.uri)).sound
