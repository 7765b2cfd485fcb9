"""The watcher follows the promotion log and the keyring, and what it cannot have changes nothing."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from assay.platform.errors import ReleaseError, SpecError
from assay.registry.place import RegistrySpec
from assay.registry.registry import Registry
from assay.serving.orders import Report
from assay.serving.serve_args import ServeArgs
from assay.serving.watcher import GONE_S, TURN_S, Watcher
from tests.service_double import new_key
from tests.small_registry import move, small_registry

CHAMPION = "models:/assay-release@champion"


def args_of(spec: RegistrySpec, **more: Any) -> ServeArgs:
    return ServeArgs.model_validate({"release": CHAMPION, "registry": spec, "keys": (new_key()[1],), **more})


def keyring(file: Path, *tenants: str) -> str:
    keys = [new_key(tenant=tenant)[1].model_dump(mode="json", exclude_none=True) for tenant in tenants]
    file.write_text(json.dumps({"keys": keys}))
    return str(file)


@pytest.fixture
def own(tmp_path: Path) -> RegistrySpec:
    """A registry of one's own, whole."""
    return small_registry(tmp_path, registered=3, promoted=1)


def test_a_promotion_is_followed_and_pinned(own: RegistrySpec) -> None:
    watcher = Watcher.start(args_of(own))
    assert (watcher.champion.version, watcher.champion.alias) == (1, "champion")
    move(own, 2)
    watcher.look()
    assert (watcher.champion.version, watcher.champion.ref) == (2, "models:/assay-release/2")
    assert watcher.troubles == {}


def test_a_challenger_is_followed_beside_it(own: RegistrySpec) -> None:
    watcher = Watcher.start(args_of(own))
    watcher.look()
    assert watcher.challenger is None
    move(own, 3, "challenger")
    watcher.look()
    assert watcher.challenger is not None
    assert (watcher.challenger.version, watcher.champion.version) == (3, 1)
    unshadowed = Watcher.start(args_of(own, shadow=False))
    unshadowed.look()
    assert unshadowed.challenger is None


def test_an_alias_moved_by_hand_moves_nothing(own: RegistrySpec) -> None:
    watcher = Watcher.start(args_of(own))
    Registry(own).models.point("release", "champion", 3)
    watcher.look()
    assert watcher.champion.version == 1


def test_a_release_that_cannot_be_had_is_told_and_the_old_one_stays(
    own: RegistrySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watcher = Watcher.start(args_of(own))
    move(own, 2)
    shutil.rmtree(tmp_path / "cache")
    kept = {file: file.read_text() for file in (tmp_path / "artifacts").rglob("release.json")}
    for file in kept:
        file.write_text("{}")
    watcher.look()
    assert (watcher.champion.version, list(watcher.troubles)) == (1, ["release"])
    for file, text in kept.items():
        file.write_text(text)
    watcher.look()
    assert watcher.champion.version == 1, "all of it would be fetched every second"
    monkeypatch.setattr("assay.serving.watcher.AGAIN_S", 0)
    watcher.look()
    assert (watcher.champion.version, watcher.troubles) == (2, {})


def test_a_log_that_cannot_be_read_is_told_and_the_champion_stays(own: RegistrySpec, tmp_path: Path) -> None:
    watcher = Watcher.start(args_of(own))
    entry = next((tmp_path / "promotions").rglob("00000001.json"))
    kept = entry.read_text()
    entry.write_text("?")
    watcher.look()
    assert (watcher.champion.version, list(watcher.troubles)) == (1, ["release"])
    entry.write_text(kept)
    watcher.look()
    assert watcher.troubles == {}


def test_a_version_and_a_directory_stay_what_they_are(own: RegistrySpec) -> None:
    version = Watcher.start(args_of(own, release="models:/assay-release/2"))
    starter = Watcher.start(args_of(own, release="starter"))
    move(own, 3)
    for watcher in (version, starter):
        before = watcher.champion
        watcher.look()
        assert watcher.champion == before
    assert version.champion.version == 2
    assert starter.champion.version is None


def test_a_service_of_no_release_does_not_start(own: RegistrySpec) -> None:
    for release in ("models:/assay-release@challenger", "models:/assay-release/9", "nowhere"):
        with pytest.raises(ReleaseError):
            Watcher.start(args_of(own, release=release))


def test_keys_come_and_go_with_the_file(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    watcher = Watcher.start(args_of(RegistrySpec(), release="starter", keyring=keyring(file, "one")))
    assert watcher.keyring is not None
    assert "one" in watcher.keyring
    keyring(file, "two")
    watcher.look()
    assert "two" in watcher.keyring
    file.write_text("keys: [{id: ")
    watcher.look()
    assert "two" in watcher.keyring, "a broken file takes nobody's key away"
    assert "keyring" in watcher.troubles
    file.unlink()
    watcher.look()
    assert "two" in watcher.keyring


def test_a_service_whose_keyring_is_not_there_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="keyring is not there"):
        Watcher.start(args_of(RegistrySpec(), release="starter", keyring=str(tmp_path / "none.yaml")))


def test_a_pasted_secret_is_not_printed() -> None:
    canary = f"assay_{'c4711' * 9}"
    with pytest.raises(ValueError, match="keys") as refused:
        ServeArgs.model_validate({"keys": [{"id": "a", "tenant": "a", "scopes": ["analyze"], "sha256": canary}]})
    assert canary not in str(refused.value)


class Talk:
    """Replicas that report to one watcher."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher, self.now = watcher, 0.0

    def asks(self, replica: str, digest: str = "old", failed: tuple[str, ...] = ()) -> bool:
        report = Report(replica, digest, dict.fromkeys(failed, "why"), waits=digest == "old" and not failed)
        return self.watcher.sync(report, self.now).may_load


@pytest.fixture
def talk() -> Talk:
    """A watcher whose champion is of digest `new`."""
    watcher = Watcher.start(args_of(RegistrySpec(), release="starter"))
    watcher.champion = watcher.champion.model_copy(update={"digest": "new"})
    return Talk(watcher)


def test_replicas_load_another_encoder_one_after_the_other(talk: Talk) -> None:
    assert talk.asks("a")
    assert not talk.asks("b")
    assert not talk.asks("c")
    assert talk.asks("a"), "its turn lasts until it is done"
    assert not talk.asks("a", "new")
    assert talk.asks("b")
    assert not talk.asks("c")
    assert not talk.asks("b", failed=("new",))
    assert talk.asks("c"), "one that fails stands in nobody's way"
    assert not talk.asks("c", "new")
    again = Report("b", "old", {"new": "why"}, waits=True)
    assert talk.watcher.sync(again, talk.now).may_load, "and may try again, when it does"


def test_a_replica_that_dies_in_its_turn_stands_in_nobodys_way(talk: Talk) -> None:
    assert talk.asks("a")
    talk.now = GONE_S / 2
    assert not talk.asks("b")
    talk.now = GONE_S + 1
    assert talk.asks("b")


def test_nor_does_one_that_never_ends(talk: Talk) -> None:
    assert talk.asks("a")
    while talk.now < TURN_S:
        talk.now += GONE_S / 2
        talk.asks("a")
        assert not talk.asks("b") or talk.now > TURN_S
    talk.now += 1
    assert talk.asks("b") or talk.asks("b")


def test_replicas_are_counted_while_they_report(talk: Talk) -> None:
    watcher = talk.watcher
    counts = [watcher.sync(Report(name, "new"), now).replicas for name, now in (("a", 0), ("b", 1), ("b", GONE_S + 1))]
    assert counts == [1, 2, 1]


def test_orders_hold_hashes_only(tmp_path: Path) -> None:
    secret, key = new_key()
    (tmp_path / "keys.yaml").write_text(json.dumps({"keys": [key.model_dump(mode="json", exclude_none=True)]}))
    watcher = Watcher.start(args_of(RegistrySpec(), release="starter", keyring=str(tmp_path / "keys.yaml")))
    orders = watcher.sync(Report("a", ""), 0)
    assert orders.keyring is not None
    assert secret not in repr(orders)
    assert hashlib.sha256(secret.encode()).hexdigest() in orders.keyring
