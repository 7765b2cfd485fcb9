"""A data file that is gone or damaged is named by verify, unnamed by repair, and made again by the same backfill."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.jobs.backlog import Backlog, find_backlog
from assay.jobs.cli import main
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.generation import generations
from assay.jobs.manifest import ShardSpec
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.repair import RepairFacts, RepairSpec, repair
from assay.jobs.store import Store
from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from assay.platform.errors import FencedError, SpecError, StorageError
from assay.platform.storage import Storage
from tests.conftest import S3Server, write_pictures
from tests.serial_backfill import ForkServer
from tests.store_doubles import PARTITION, judge, new_store, observe, refs_of, reopened, tree

OLDER = {"release": "older", "policy": "lenient"}
SHARDS = 4

Damage = Callable[[Store, str], None]


def deleted(store: Store, name: str) -> None:
    store.storage.remove(store.path(name))


def changed(store: Store, name: str, change: Callable[[bytes], bytes]) -> None:
    data = store.storage.read(store.path(name))
    assert data is not None
    store.storage.write(store.path(name), change(data))


def cut_short(store: Store, name: str) -> None:
    changed(store, name, lambda data: data[:-20])


def emptied(store: Store, name: str) -> None:
    changed(store, name, lambda _data: b"")


def without_footer(store: Store, name: str) -> None:
    changed(store, name, lambda data: data[:-12] + bytes(12))


def of_other_rows(store: Store, name: str) -> None:
    """A sound file of the same length: only its number of rows tells."""

    def other(data: bytes) -> bytes:
        at = data.rindex(b"PAR1") - 4
        return data[:4] + bytes(at - 4 - 1000) + data[at - 1000 :] if at > 1000 else b"PAR1" + bytes(len(data) - 4)

    changed(store, name, other)


def flipped(store: Store, name: str) -> None:
    """One bit of a page that is not compared: an embedding's, or of a verdict's last column. No size tells of it."""

    def change(data: bytes) -> bytes:
        one = b"\x00\x3c" * 4  # 1.0 in float16, four times: the second picture's embedding
        at = data.index(one) if name.startswith("observations") else data.rindex(b"\x28\xb5\x2f\xfd") + 8
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]

    changed(store, name, change)


TELLING = [deleted, cut_short, emptied, without_footer, of_other_rows]
"""Damage that a quick look finds."""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store of four shards of two images, judged under two releases."""
    source = tmp_path / "source"
    source.mkdir()
    for number in range(2 * SHARDS):
        (source / str(number)).write_bytes(b"1")
    store = new_store(Storage(), tmp_path / "store")
    plan(store, str(source), PlanSpec(shard=ShardSpec(images=2)))
    return filled(reopened(store))


def filled(store: Store) -> Store:
    for generation in generations(store):
        for shard in range(generation.shards):
            refs = refs_of(2, f"s3://b/{shard}/")
            observe(store, shard, refs)
            judge(store, shard, refs)
            judge(store, shard, refs, partition=OLDER)
    store.write_run("run-1", {"run": "run-1", **PARTITION})
    return reopened(store)


def name_of(store: Store, table: str, shard: int, partition: dict[str, str] | None = None) -> str:
    """The file that holds a shard."""
    ledger = store.observations if table == "observations" else store.verdicts
    wanted = {} if table == "observations" else (partition or PARTITION)
    [file] = [
        one for one in ledger.files() if one.first_shard <= shard <= one.last_shard and dict(one.partition) == wanted
    ]
    return f"{table}/{file.path}"


def proof(store: Store, **more: object) -> VerifyFacts:
    settings = {"store": store.uri, "storage": store.storage.spec.model_dump(), **more}
    return verify(VerifySpec.model_validate(settings))


def mend(store: Store, **more: object) -> RepairFacts:
    settings = {"store": store.uri, "storage": store.storage.spec.model_dump(), **more}
    return repair(RepairSpec.model_validate(settings))


def left(store: Store, partition: dict[str, str] = PARTITION) -> Backlog:
    again = reopened(store)
    return find_backlog(again, generations(again), partition, retry_faults=False)


def test_a_sound_store_is_left_as_it_is(store: Store) -> None:
    files = store.observations.files() + store.verdicts.files()
    for deep in (False, True):
        facts = mend(store, deep=deep)
        assert (facts.damaged, facts.looked_at, facts.shards) == ((), 12, 0)
    again = reopened(store)
    assert again.observations.files() + again.verdicts.files() == files


@pytest.mark.parametrize("damage", TELLING)
def test_lost_observations_fall_with_their_verdicts(store: Store, damage: Damage) -> None:
    name = name_of(store, "observations", 2)
    damage(store, name)
    found = proof(store)
    assert not found.sound
    assert [one.partition(":")[0] for one in found.damaged] == [name]
    assert found.missing >= 2

    before = tree(Path(store.shown))
    dry = mend(store, dry_run=True)
    assert tree(Path(store.shown)) == before
    facts = mend(store)
    assert facts == dry.model_copy(update={"dry_run": False})
    assert (len(facts.damaged), facts.observations, facts.verdicts, facts.shards) == (1, 2, 4, 1)
    assert facts.releases == ("older/lenient", "release-1/strict")
    for partition in (PARTITION, OLDER):
        assert left(store, partition).observe == {2}
        assert left(store, partition).judge == frozenset()
    assert proof(store).damaged == ()
    assert mend(store).damaged == ()


@pytest.mark.parametrize("damage", TELLING)
def test_lost_verdicts_are_judged_from_what_is_stored(store: Store, damage: Damage) -> None:
    name = name_of(store, "verdicts", 1, OLDER)
    damage(store, name)
    found = [one for one in proof(store, **OLDER).damaged if one.startswith(name)]
    assert len(found) == 1
    facts = mend(store)
    assert (facts.observations, facts.verdicts, facts.shards, facts.releases) == (0, 2, 1, ("older/lenient",))
    assert left(store, OLDER).judge == {1}
    assert left(store).shards == 0


@pytest.mark.parametrize("table", ["observations", "verdicts"])
def test_a_flipped_bit_is_found_by_its_checksum(store: Store, table: str) -> None:
    name = name_of(store, table, 3)
    flipped(store, name)
    assert mend(store).damaged == (), "sizes and footers say nothing of it"
    found = proof(store, deep=True)
    assert not found.sound
    assert [one.partition(":")[0] for one in found.damaged] == [name]
    facts = mend(store, deep=True)
    assert [one.partition(":")[0] for one in facts.damaged] == [name]
    assert mend(store, deep=True).damaged == ()
    assert (left(store).observe if table == "observations" else left(store).judge) == {3}


def test_a_flipped_bit_in_what_is_compared_needs_no_deep_look(store: Store) -> None:
    """The uri column is read by every verify."""
    name = name_of(store, "observations", 0)

    def change(data: bytes) -> bytes:
        at = data.index(b"(\xb5/\xfd", 80)  # the second compressed page: uri
        return data[: at + 8] + bytes([data[at + 8] ^ 4]) + data[at + 9 :]

    changed(store, name, change)
    found = proof(store)
    assert [one.partition(":")[0] for one in found.damaged] == [name]
    assert not found.sound


def test_several_at_once(store: Store) -> None:
    deleted(store, name_of(store, "observations", 0))
    cut_short(store, name_of(store, "verdicts", 0))
    emptied(store, name_of(store, "verdicts", 3))
    assert len(proof(store).damaged) == 3
    facts = mend(store)
    assert (len(facts.damaged), facts.observations, facts.verdicts, facts.shards) == (3, 2, 6, 2)
    assert left(store).observe == {0}
    assert left(store).judge == {3}
    assert left(store, OLDER).judge == frozenset()


def test_a_compacted_segment_is_observed_again_as_a_whole(store: Store) -> None:
    compact(CompactSpec(store=store.uri, segment_shards=4))
    deleted(store, name_of(reopened(store), "observations", 1))
    facts = mend(store)
    assert (facts.observations, facts.verdicts, facts.shards) == (8, 16, 4)
    assert left(store).observe == {0, 1, 2, 3}


def test_verdicts_of_whole_shards_survive_in_a_wide_file(store: Store) -> None:
    """Observations lie one by one, verdicts in a wide file."""
    compact(CompactSpec(store=store.uri, segment_shards=4))
    wide = reopened(store)
    with wide.hold("test"):
        from assay.jobs.compact import split, tables_of  # only here

        observations, _ = tables_of(wide)
        for file in observations.ledger.files():
            split(wide, observations, file)
    deleted(store, name_of(reopened(store), "observations", 1))
    dry, facts = mend(store, dry_run=True), mend(store)
    assert (facts.observations, facts.verdicts, facts.shards) == (2, 4, 1)
    assert dry.verdicts == 4
    assert left(store).observe == {1}
    assert left(store).judge == frozenset()
    assert reopened(store).verdicts.dataset().count_rows() == 12


def test_a_store_that_cannot_be_asked_condemns_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage must not look like damage."""
    files = store.observations.files()

    def refuse(_self: Storage, uri: str) -> bytes | None:
        raise StorageError("the store is away", where=uri)

    cut_short(store, name_of(store, "observations", 0))
    real = Store.size_of
    monkeypatch.setattr(Store, "size_of", lambda self, name: refuse(self.storage, name) or real(self, name))
    with pytest.raises(StorageError, match="away"):
        mend(store)
    assert reopened(store).observations.files() == files


def test_only_the_driver_repairs(store: Store) -> None:
    deleted(store, name_of(store, "observations", 0))
    with reopened(store).hold("assay backfill of somebody"), pytest.raises(FencedError, match="somebody"):
        mend(store)
    assert len(reopened(store).observations.files()) == 4


def test_a_place_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no store"):
        repair(RepairSpec(store=str(tmp_path / "none")))


def test_on_a_real_s3_server(store: Store, s3: S3Server, s3_place: str) -> None:
    for name, data in tree(Path(store.shown)).items():
        if not name.startswith(("observations", "verdicts")):
            s3.put(f"{s3_place}/repaired/{name}", data)
    remote = filled(new_store(s3.storage, f"{s3_place}/repaired"))
    deleted(remote, name_of(remote, "observations", 2))
    flipped(remote, name_of(remote, "verdicts", 1))
    found = proof(remote, deep=True)
    assert len(found.damaged) == 2
    facts = mend(remote, deep=True)
    assert (facts.observations, facts.verdicts, facts.shards) == (2, 6, 2)
    assert proof(remote, deep=True).damaged == ()


def test_the_commands_say_what_to_do(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    deleted(store, name_of(store, "observations", 0))
    assert main(["verify", store.shown]) == 5
    assert f"assay repair {store.shown}" in capsys.readouterr().err
    assert main(["repair", store.shown, "--dry-run", "--json"]) == 5
    assert f"assay repair {store.shown}" in capsys.readouterr().err
    assert main(["repair", store.shown]) == 0
    told = capsys.readouterr()
    assert "gone" in told.out
    assert "run the backfill again" in told.err
    assert main(["repair", store.shown]) == 0


def test_repaired_and_backfilled_is_as_if_nothing_had_happened(tmp_path: Path, release_dir: Path) -> None:
    write_pictures(tmp_path / "bucket", 12)
    driver, place = ForkServer(), tmp_path / "store"
    settings: dict[str, object] = {"source": str(tmp_path / "bucket"), "store": str(place), "release": str(release_dir)}
    settings |= {"shard": {"images": 4}}
    driver.finish(dict(settings), tmp_path / "told")
    shutil.copytree(place, tmp_path / "undisturbed")
    store = Store.open(Storage(), str(place))
    whole = proof(store)
    by_shard = {file.first_shard: file.path for file in store.observations.files()}
    deleted(store, f"observations/{by_shard[0]}")
    cut_short(store, f"verdicts/{next(file.path for file in store.verdicts.files() if file.first_shard == 2)}")
    assert not proof(store).sound
    facts = mend(store)
    assert (len(facts.damaged), facts.shards) == (2, 2)
    driver.finish(dict(settings), tmp_path / "told")
    done = store.run() or {}
    assert (done["fetched"], done["judged"], done["planned"]) == (4, 4, 12)
    after = proof(store, against=str(tmp_path / "undisturbed"))
    assert (after.sound, after.digest, after.differing) == (True, whole.digest, 0)
