"""A store is migrated where its embeddings say enough, refused where they do not, and nothing is lost on the way."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from assay.jobs import image_embedder
from assay.jobs.binding import Binding, read_binding
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.datafile import write_observations
from assay.jobs.embedding_lookup import find_embeddings
from assay.jobs.forget import ForgetSpec, forget
from assay.jobs.generation import generations
from assay.jobs.migrate import migrate
from assay.jobs.migration_record import read_map, read_record
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from assay.platform.errors import AssayError, SpecError, StorageError, StoreVersionError
from assay.platform.faults import OK, Fault
from assay.platform.fetch import fetch
from assay.platform.rows import MAPPED, OBSERVATIONS, ImageRef, are_mapped
from assay.platform.storage import Storage
from assay.registry.place import RegistrySpec
from assay.registry.registering import RegisterSpec, register
from tests.encoder_doubles import load_doubles
from tests.migration_stores import PICTURES, Migrations
from tests.promoters import waived_promotion
from tests.registry_of_two import CHAMPION
from tests.serial_backfill import run_alone
from tests.store_doubles import data_file, tree

FAULTS = 2


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Migrations:
    return Migrations(tmp_path_factory.mktemp("migrations"))


@pytest.fixture
def rig(original: Migrations) -> Iterator[Migrations]:
    """The same for every test: what one leaves is taken away, and none may have changed the old store."""
    before = tree(original.folder / "store")
    yield original
    assert tree(original.folder / "store") == before
    for left in original.folder.glob("new*"):
        shutil.rmtree(left)


def rows_of(place: Path) -> pa.Table:
    """All observations, in order."""
    rows = Store.open(Storage(), str(place)).observations.dataset().to_table()
    return rows.select(OBSERVATIONS.names).sort_by([("uri", "ascending")])


def outcomes(place: Path) -> Counter[str]:
    return Counter(rows_of(place)["outcome"].to_pylist())


def facts_of(folder: Path) -> dict[str, bytes]:
    """Every file, but for what tells of leases and fences."""
    return {name: data for name, data in tree(folder).items() if "/lease/" not in name and "_delta_log" not in name}


def refuses(
    rig: Migrations, patch: pytest.MonkeyPatch, release: str, new_store: str | None = "new", **how: object
) -> AssayError:
    before = facts_of(rig.folder)
    with pytest.raises(AssayError) as refusal:
        rig.migrate(release, patch, new_store, **how)
    assert facts_of(rig.folder) == before
    assert refusal.value.fix
    return refusal.value


def test_a_space_that_was_only_turned_is_mapped_whole(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = rig.migrate("turned", monkeypatch)
    assert (facts.state, facts.measured.why_not) == ("migrated", "")
    assert facts.measured.every.clear == 1
    assert all(one.agreement.share == one.kept.share == 1 for one in facts.measured.every.policies)
    assert facts.measured.rule is not None
    assert facts.measured.rule.multiple == 0
    assert facts.measured.map.cosine > 0.9998
    assert facts.carried is not None
    assert (facts.carried.mapped, facts.carried.stale, facts.carried.faults) == (PICTURES, 0, FAULTS)
    assert facts.rest.images == 0

    old, new = rows_of(rig.folder / "store"), rows_of(rig.folder / "new")
    unchanged = [name for name in OBSERVATIONS.names if name not in {"embedding", "signals"}]
    assert new.select(unchanged).equals(old.select(unchanged))
    low = facts.measured.clear.low if facts.measured.clear else 0
    assert {tuple(cell) for cell in new["signals"].to_pylist() if cell} == {((MAPPED, float(np.float32(low))),)}
    assert [bool(cell) for cell in new["signals"].to_pylist()] == [one == OK for one in new["outcome"].to_pylist()]
    store = Store.open(Storage(), str(rig.folder / "new"))
    assert read_binding(store) == Binding.of(rig.releases["turned"])
    assert generations(store) == generations(Store.open(Storage(), str(rig.folder / "store")))

    rig.backfill("new", "turned", monkeypatch)
    proof = verify(VerifySpec(store=str(rig.folder / "new")))
    assert (proof.sound, proof.planned, proof.orphans) == (True, PICTURES + FAULTS, 0)


def test_what_is_to_be_done_next_names_the_version_not_the_champion(
    rig: Migrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = RegistrySpec(uri=f"sqlite:///{tmp_path}/registry/mlflow.db", cache=tmp_path / "cache")
    register(rig.releases["turned"], RegisterSpec(registry=registry))
    waived_promotion(registry, 1)
    spec = rig.spec("turned", None, dry_run=True).model_copy(update={"release": CHAMPION, "registry": registry})
    load_doubles(monkeypatch)
    facts = migrate(spec)
    assert facts.pair.release == rig.releases["turned"].id
    assert (facts.origins["release"].asked, facts.origins["release"].version) == (CHAMPION, 1)
    assert "--release models:/assay-release/1 " in facts.next


def test_what_is_not_clear_is_encoded_again_and_nothing_else(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = rig.migrate("wide", monkeypatch)
    assert facts.state == "migrated"
    assert facts.carried is not None
    assert facts.carried.stale > 5
    assert facts.carried.mapped + facts.carried.stale == PICTURES
    assert facts.rest.images == facts.carried.stale
    before = rows_of(rig.folder / "new")
    stale = {row["uri"] for row in before.to_pylist() if row["outcome"] == "STALE"}
    assert len(stale) == facts.carried.stale
    assert all(not row["views"] and not row["embedding"] for row in before.to_pylist() if row["outcome"] != OK)

    fetched: list[str] = []

    def noted(storage: Storage, ref: ImageRef, size: int) -> bytes | Fault:
        fetched.append(ref.uri)
        return fetch(storage, ref, size)

    monkeypatch.setattr("assay.jobs.stages.fetch", noted)
    rig.backfill("new", "wide", monkeypatch, retry_faults=True)
    assert sorted(fetched) == sorted(stale)
    assert verify(VerifySpec(store=str(rig.folder / "new"))).sound
    after = rows_of(rig.folder / "new")
    assert outcomes(rig.folder / "new") == outcomes(rig.folder / "store")
    assert sum(are_mapped(after["signals"]).to_pylist()) == facts.carried.mapped
    kept = [row for row in after.to_pylist() if row["uri"] not in stale]
    assert kept == [row for row in before.to_pylist() if row["uri"] not in stale]
    compact(CompactSpec(store=str(rig.folder / "new"), segment_shards=4))
    assert rows_of(rig.folder / "new").equals(after)

    # Against the truth, which is a backfill of every image: as many decisions agree as were promised.
    rig.backfill("new-truth", "wide", monkeypatch)
    other = VerifySpec(store=str(rig.folder / "new"), against=str(rig.folder / "new-truth"))
    actions = [
        dict(zip(*(rows[name].to_pylist() for name in ("uri", "action")), strict=True))
        for rows in (
            Store.open(Storage(), place).verdicts.dataset().to_table() for place in (other.store, other.against or "")
        )
    ]
    same = sum(actions[0][uri] == actions[1][uri] for uri in actions[1]) / len(actions[1])
    assert len(actions[0]) == len(actions[1]) == PICTURES + FAULTS
    assert same >= 0.95


def test_an_unrelated_encoder_is_refused(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(rig.folder)
    facts = rig.migrate("scrambled", monkeypatch)
    assert tree(rig.folder) == before
    assert (facts.state, facts.carried) == ("refused", None)
    assert "no images are clear enough" in facts.measured.why_not
    assert (facts.price.images, facts.rest.images) == (PICTURES + FAULTS, PICTURES)
    assert facts.price.hours is not None
    assert "--retry-faults" not in facts.next


def test_a_dry_run_writes_nothing(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(rig.folder)
    facts = rig.migrate("noisy", monkeypatch, None, dry_run=True, price={"hour": 2, "million_gets": 0.4})
    assert tree(rig.folder) == before
    assert (facts.state, facts.new_store, facts.carried) == ("measured", None, None)
    assert facts.price.dollars_requests == pytest.approx(0.4 * 402 / 1e6)
    assert facts.price.dollars_time is not None
    again = rig.migrate("noisy", monkeypatch, dry_run=True)
    assert again.measured.model_dump(exclude={"sample"}) == facts.measured.model_dump(exclude={"sample"})
    assert tree(rig.folder) == before


def test_again_it_goes_on_and_samples_nothing(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    first = rig.migrate("noisy", monkeypatch)
    rows = rows_of(rig.folder / "new")

    def fails(*_: object) -> None:
        raise AssertionError("nothing is to be encoded")

    monkeypatch.setattr(image_embedder.ImageEmbedder, "embed", fails)
    again = rig.migrate("noisy", monkeypatch)
    assert again.state == "migrated"
    assert again.measured == first.measured
    assert again.carried is not None
    assert (again.carried.shards, again.carried.rows, again.carried.already_done) == (0, 0, 13)
    assert again.rest.images == first.rest.images
    assert rows_of(rig.folder / "new").equals(rows)
    assert any("goes on with what was measured" in note for note in again.notes)


def test_what_was_mapped_is_never_mapped_again(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = rig.migrate("wide", monkeypatch).carried
    assert carried is not None
    rig.backfill("new", "wide", monkeypatch, retry_faults=True)
    real = carried.stale
    spec = rig.spec("turned", "new2", agreement=0.2, flagged=0.0, least_clear=0.001)
    facts = migrate(spec.model_copy(update={"store": str(rig.folder / "new")}))
    assert facts.measured.sample.mapped_before == carried.mapped
    assert facts.measured.sample.encoded == real
    assert facts.carried is not None
    assert facts.carried.mapped <= real
    assert facts.carried.stale >= carried.mapped
    assert any("mapped themselves" in note for note in facts.notes)


def test_golden_sets_do_not_take_mapped_embeddings(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    carried = rig.migrate("wide", monkeypatch).carried
    assert carried is not None
    store = Store.open(Storage(), str(rig.folder / "new"))
    images = [(uri, "") for uri in rows_of(rig.folder / "new")["uri"].to_pylist()]
    assert len(find_embeddings(store, images)) == carried.mapped
    assert find_embeddings(store, images, mapped=False) == {}


def test_the_same_encoder_is_for_reaudit(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "assay reaudit" in refuses(rig, monkeypatch, "plain").fix


@pytest.mark.parametrize("place", ["store", "store/new", ".", "bucket/new"])
def test_a_store_in_the_wrong_place(rig: Migrations, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    assert isinstance(refuses(rig, monkeypatch, "turned", place), SpecError)


def test_a_place_that_is_taken(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    (rig.folder / "new").mkdir()
    (rig.folder / "new" / "thesis.txt").write_text("precious")
    assert "not empty: thesis.txt" in refuses(rig, monkeypatch, "turned").why
    rig.backfill("new-other", "turned", monkeypatch)
    assert "another store" in refuses(rig, monkeypatch, "turned", "new-other").why
    assert "not named" in refuses(rig, monkeypatch, "turned", None).why


def test_a_new_store_of_another_pair(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.migrate("turned", monkeypatch)
    refusal = refuses(rig, monkeypatch, "noisy")
    assert isinstance(refusal, StoreVersionError)
    assert "release" in refusal.why
    assert "policies" in refuses(rig, monkeypatch, "turned", policies=["firm"]).why


def test_one_policy_is_asked_for(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = rig.migrate("noisy", monkeypatch, None, dry_run=True, policies=["firm"])
    assert [one.policy for one in facts.measured.every.policies] == ["firm"]
    assert facts.pair.policies == ("firm",)


def test_images_that_are_gone_are_counted(rig: Migrations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(0, PICTURES, 2):
        shutil.move(rig.folder / "bucket" / f"colour-{number:05d}.png", tmp_path)
    try:
        facts = rig.migrate("turned", monkeypatch, None, dry_run=True)
        assert facts.measured.sample.missing == {"GONE": PICTURES // 2}
        assert facts.measured.sample.encoded == PICTURES // 2
        assert any("200 GONE" in note for note in facts.notes)
    finally:
        for path in tmp_path.glob("*.png"):
            shutil.move(path, rig.folder / "bucket")


def test_a_bucket_that_is_gone_leaves_nothing_to_sample(rig: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    (rig.folder / "bucket").rename(rig.folder / "away")
    try:
        refusal = refuses(rig, monkeypatch, "turned")
        assert "nothing to sample" in refusal.what
        assert f"GONE {PICTURES}" in refusal.why
        assert refusal.exit_code == 2
    finally:
        (rig.folder / "away").rename(rig.folder / "bucket")


@pytest.fixture
def own(tmp_path: Path, original: Migrations) -> Migrations:
    """A copy that a test may change: only the store and what is beside it, not the bucket its manifests name."""
    copy = object.__new__(Migrations)
    copy.folder, copy.releases = tmp_path, original.releases
    shutil.copytree(original.folder / "store", tmp_path / "store")
    return copy


def test_a_store_that_was_never_observed(own: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    (own.folder / "store" / "binding.json").unlink()
    assert "nothing was observed" in refuses(own, monkeypatch, "turned").what


def test_half_a_store_stays_half(own: Migrations, original: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards that are planned and not observed stay so; once they are, the same command carries them over, too."""
    store = Store.open(Storage(), str(own.folder / "store"))
    lost = [file for file in store.observations.files() if file.first_shard in {2, 5}]
    store.observations.commit([], lost)
    facts = own.migrate("turned", monkeypatch)
    assert facts.carried is not None
    assert (facts.carried.shards, facts.carried.unobserved_shards) == (11, 2)
    assert any("2 shards were never observed" in note for note in facts.notes)
    Store.open(Storage(), str(own.folder / "store")).observations.commit(lost)
    again = own.migrate("turned", monkeypatch)
    assert again.carried is not None
    assert (again.carried.shards, again.carried.already_done, again.carried.unobserved_shards) == (2, 11, 0)
    assert outcomes(own.folder / "new") == outcomes(own.folder / "store")


def test_wide_files_are_carried_shard_by_shard(own: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    compact(CompactSpec(store=str(own.folder / "store"), segment_shards=4))
    facts = own.migrate("turned", monkeypatch)
    assert facts.carried is not None
    assert facts.carried.rows == PICTURES + FAULTS
    assert outcomes(own.folder / "new") == outcomes(own.folder / "store")


def test_a_damaged_file_stops_it_and_is_named(own: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(Storage(), str(own.folder / "store"))
    [file] = [file for file in store.observations.files() if file.first_shard == 6]
    path = own.folder / "store" / "observations" / file.path
    record = read_record(store)
    assert record is None
    own.migrate("turned", monkeypatch, "new-whole")
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    shutil.copytree(own.folder / "new-whole" / "migration", own.folder / "aside")
    shutil.rmtree(own.folder / "new-whole" / "observations")
    with pytest.raises(StorageError) as refusal:
        own.migrate("turned", monkeypatch, "new-whole")
    assert file.path in refusal.value.where
    assert "assay repair" in refusal.value.fix
    path.write_bytes(whole)
    assert own.migrate("turned", monkeypatch, "new-whole").carried is not None
    assert outcomes(own.folder / "new-whole") == outcomes(own.folder / "store")


def test_rows_that_nobody_planned_are_not_carried(own: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(Storage(), str(own.folder / "store"))
    [file] = [file for file in store.observations.files() if file.first_shard == 3]
    rows = store.observations.dataset().to_table().select(OBSERVATIONS.names)
    mine = rows.filter(pa.compute.equal(rows["shard"], 3))
    fewer = write_observations(store.storage, store.uri, 3, mine.slice(1))
    store.observations.commit([data_file(fewer, len(mine) - 1, [3])], [file])
    with pytest.raises(AssayError, match="not what was planned") as refusal:
        own.migrate("turned", monkeypatch)
    assert "shard 3" in refusal.value.where
    assert "32 images planned, 31 observed" in refusal.value.why


def test_what_was_forgotten_does_not_come_back(
    own: Migrations, original: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = str(original.folder / "bucket" / "colour-00007.png")
    forget(ForgetSpec(place=place, store=str(own.folder / "store")))
    facts = own.migrate("turned", monkeypatch)
    assert facts.carried is not None
    assert facts.carried.rows == PICTURES + FAULTS - 1
    places = {"source": str(original.folder / "bucket"), "store": str(own.folder / "new")}
    run = run_alone({**places, "release": own.release("turned"), "max_fault_rate": 1.0}, monkeypatch)
    assert (run.planned, run.fetched) == (PICTURES + FAULTS - 1, 0)
    for path in (own.folder / "new").rglob("*"):
        assert not path.is_file() or b"colour-00007" not in path.read_bytes(), path


def test_forgotten_in_the_new_store_it_stays_forgotten(
    own: Migrations, original: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while only half of it is carried over."""
    store = Store.open(Storage(), str(own.folder / "store"))
    lost = [file for file in store.observations.files() if file.first_shard in {0, 5}]
    store.observations.commit([], lost)
    own.migrate("turned", monkeypatch)
    place = str(original.folder / "bucket" / "colour-00007.png")
    forget(ForgetSpec(place=place, store=str(own.folder / "new")))
    Store.open(Storage(), str(own.folder / "store")).observations.commit(lost)
    facts = own.migrate("turned", monkeypatch)
    assert facts.carried is not None
    assert facts.carried.shards == 2
    assert outcomes(own.folder / "new").total() == PICTURES + FAULTS - 1
    assert not any("colour-00007" in uri for uri in rows_of(own.folder / "new")["uri"].to_pylist())


def test_forgotten_in_the_old_store_since_it_is_begun_anew(
    own: Migrations, original: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.migrate("turned", monkeypatch)
    forget(ForgetSpec(place=str(original.folder / "bucket" / "colour-00007.png"), store=str(own.folder / "store")))
    refusal = refuses(own, monkeypatch, "turned")
    assert "forget something since" in refusal.what
    assert "remove the new store" in refusal.fix


def test_a_map_that_is_lost_or_damaged(own: Migrations, monkeypatch: pytest.MonkeyPatch) -> None:
    own.migrate("turned", monkeypatch)
    store = Store.open(Storage(), str(own.folder / "new"))
    assert read_map(store).matrix.shape == (64, 64)
    kept = own.folder / "new" / "migration" / "map.safetensors"
    kept.write_bytes(kept.read_bytes()[:-1])
    assert "cannot be read" in refuses(own, monkeypatch, "turned").what
    kept.unlink()
    assert "is gone" in refuses(own, monkeypatch, "turned").what
    (own.folder / "new" / "migration" / "migration.json").write_text(json.dumps({"pair": 1}))
    assert isinstance(refuses(own, monkeypatch, "turned"), StoreVersionError)


def test_a_new_store_that_somebody_else_planned(
    own: Migrations, original: Migrations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off before its manifests were copied, then planned by a backfill: shards would have other images."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("assay.jobs.migration_writer.publish", killed)
        with pytest.raises(KeyboardInterrupt):
            own.migrate("turned", monkeypatch)
    plan(Store.open(Storage(), str(own.folder / "new")), str(original.folder / "bucket"), PlanSpec())
    refusal = refuses(own, monkeypatch, "turned")
    assert "planned into the new store" in refusal.what
