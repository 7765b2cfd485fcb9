"""Settling, under every order of things: MLflow says what the log says when the last promoter is done, or the next."""

import random
from collections.abc import Callable

import pytest

from assay.platform.errors import AssayError, CredentialsError, RegistryError, SpecError
from assay.registry.promotion import PromoteSpec, RollbackSpec, promote, rollback
from assay.registry.settling import settle
from tests.promotion_model import VERSIONS, Promoter, World, patch

SCHEDULES = 1500


def run_schedule(world: World, chance: random.Random, kills: int) -> None:
    """Choose who goes on, call by call, until nobody has anything to do; some die on the way."""
    while left := [one for one in world.promoters if not one.is_over]:
        one = chance.choice(left)
        if kills and one.greenlet and chance.random() < 0.02:
            kills -= 1
            one.kill()
        else:
            for _ in range(chance.choice((1, 1, 2, 5, 40))):
                if not one.is_over:
                    one.go_on()


def new_world(monkeypatch: pytest.MonkeyPatch, chance: random.Random) -> World:
    world = World()
    patch(monkeypatch, world)
    for number in range(3):
        acts = [chance.choice([None, *range(1, VERSIONS + 1)]) for _ in range(3)]
        Promoter(world, f"p{number}", acts)
    return world


@pytest.mark.parametrize("kills", [0, 2])
def test_whatever_the_order(monkeypatch: pytest.MonkeyPatch, kills: int) -> None:
    written = conflicts = 0
    for seed in range(SCHEDULES):
        chance = random.Random(seed)
        world = new_world(monkeypatch, chance)
        run_schedule(world, chance, kills)
        told = sorted(number for one in world.promoters for number in one.moved)
        numbers = world.log.numbers()
        assert len(told) == len(set(told)), seed
        assert set(told) <= set(numbers), seed
        if not any(one.killed for one in world.promoters):
            assert told == numbers, seed
            world.check_followed()
        settle(world.registry)
        world.check_followed()
        written += len(numbers)
        conflicts += 9 - len(numbers)
    print(f"{SCHEDULES} schedules, {written} entries, {conflicts} attempts that wrote none")
    assert written > SCHEDULES
    assert conflicts > SCHEDULES


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """After three promotions: 1, 2, 3."""
    made = World()
    patch(monkeypatch, made)
    for number in range(1, VERSIONS + 1):
        assert promote(PromoteSpec(release=str(number), by="ann")).moved
    return made


@pytest.mark.parametrize("act", ["promote", "rollback", "settle"])
def test_a_log_that_lost_its_end_is_refused_and_not_written_over(world: World, act: str) -> None:
    gone = world.objects.pop("log/00000003.json")
    before = dict(world.objects), dict(world.aliases), world.description
    acts: dict[str, Callable[[], object]] = {
        "promote": lambda: promote(PromoteSpec(release="1")),
        "rollback": lambda: rollback(RollbackSpec()),
        "settle": lambda: settle(world.registry),
    }
    with pytest.raises(RegistryError, match="the promotion log is shorter than it was") as told:
        acts[act]()
    assert told.value.why == "MLflow followed it up to entry 3, its last one is 2"
    assert (world.objects, world.aliases, world.description) == before
    world.objects["log/00000003.json"] = gone
    assert settle(world.registry) == []


def test_what_was_moved_by_hand_is_set_back_and_told(world: World) -> None:
    world.aliases.update(champion=1, challenger=2, other=2)
    mended = settle(world.registry)
    assert mended == [
        "alias champion was moved by hand to version 1; set back to version 3, as the promotion log says",
        "alias challenger was moved by hand to version 2; set back to nothing, as the promotion log says",
    ]
    assert world.aliases == {"champion": 3, "other": 2}, "an alias that is not ours is nobody's business"
    assert settle(world.registry) == []


def test_an_alias_that_was_taken_away_is_set_again(world: World) -> None:
    world.aliases.clear()
    world.description = "Somebody wrote something nice."
    assert settle(world.registry) == [
        "alias champion was moved by hand to nothing; set back to version 3, as the promotion log says"
    ]
    world.check_followed()


def test_a_champion_that_was_deleted_is_told_and_gone_back_from(world: World) -> None:
    world.deleted.add(3)
    del world.aliases["champion"]
    assert settle(world.registry) == [
        "alias champion points nowhere: version 3 was deleted; promote another, or roll back"
    ]
    assert rollback(RollbackSpec(by="ann")).after.version == 2
    world.check_followed()
    with pytest.raises(SpecError, match="no registered release '3'"):
        promote(PromoteSpec(release="3"))


def test_a_former_champion_that_was_deleted_is_told_with_the_others(world: World) -> None:
    world.deleted.add(2)
    with pytest.raises(RegistryError, match=r"cannot go back to version 2 \(r-2\)") as told:
        rollback(RollbackSpec())
    assert told.value.why == "it was deleted from the registry"
    assert rollback(RollbackSpec(to="1")).moved
    world.check_followed()


@pytest.mark.parametrize("kind", [RegistryError, CredentialsError])
def test_who_is_refused_after_the_entry_is_told_that_it_counts(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[AssayError]
) -> None:
    def refuse(*_: object) -> None:
        raise kind("the registry refused to set alias 'champion'", why="a password that ended")

    with monkeypatch.context() as away:
        away.setattr(world.registry.models, "point", refuse)
        with pytest.raises(AssayError) as told:
            promote(PromoteSpec(release="1", by="ann"))
    assert told.value.what == "version 1 (r-1) is champion, but MLflow does not say so yet"
    assert "a password that ended" in told.value.why
    assert told.value.exit_code == 5
    assert world.aliases == {"champion": 3}
    last = world.log.last()
    assert last
    assert last.after.version == 1
    settle(world.registry)
    world.check_followed()


def test_promoting_the_champion_again_writes_nothing(world: World) -> None:
    before = dict(world.objects)
    facts = promote(PromoteSpec(release="3"))
    assert (facts.moved, facts.entry) == (True, 3)
    assert world.objects == before


def test_one_goes_back_as_often_as_one_went_on(world: World) -> None:
    assert [rollback(RollbackSpec()).after.version for _ in range(2)] == [2, 1]
    with pytest.raises(SpecError, match="there is no earlier champion"):
        rollback(RollbackSpec())
    world.check_followed()
