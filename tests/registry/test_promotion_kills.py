"""Killed at a step: what is left is whole, and the same command again finishes it."""

from pathlib import Path

import pytest

from assay.registry.models import KINDS
from assay.registry.place import RegistrySpec
from assay.registry.registry import Registry
from tests.conftest import S3Server
from tests.promoters import Act, Killed, kill, registered, waived_promotion


def check_moves(kills: list[Killed], act: Act) -> None:
    """Each kill left a log that holds together, and whether the move was made is in the log alone."""
    count = 2
    for one in kills:
        moved = len(one.left.numbers) - count
        assert moved in {0, 1}, one.step
        assert one.left.numbers == list(range(1, count + moved + 1)), one.step
        count += {"promote": 1, "rollback": 2 * moved}[act]  # the next command goes on, or back from where it went
        assert one.then.numbers == list(range(1, count + 1)), f"{one.step}: an entry for a move, killed or not"
        assert one.then.alias == one.then.last, one.step
        assert f"**Champion: version {one.then.last} (" in one.then.description, one.step
    made = [len(one.then.numbers) - len(one.left.numbers) for one in kills]
    assert len(set(made)) == 2, "some died before the entry, some after it"


@pytest.fixture
def promoted(local: RegistrySpec, tmp_path: Path) -> RegistrySpec:
    """Version 2 is champion, after version 1."""
    registered(local, tmp_path / "made", 2)
    for version in (1, 2):
        waived_promotion(local, version)
    return local


def test_a_promotion_killed_at_every_step(promoted: RegistrySpec, tmp_path: Path) -> None:
    kills = kill(promoted, "promote", folder=tmp_path / "kills")
    print(len(kills), [one.step for one in kills])
    check_moves(kills, "promote")


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_rollback_killed(promoted: RegistrySpec, tmp_path: Path, stride: int) -> None:
    check_moves(kill(promoted, "rollback", folder=tmp_path / "kills", stride=stride), "rollback")


@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_registration_killed(local: RegistrySpec, tmp_path: Path, stride: int) -> None:
    """A version is whole or not there, at every moment; and registered once, however often one begins."""
    kills = kill(local, "register", folder=tmp_path / "kills", stride=stride)
    check_registrations(kills)
    if stride == 1:
        counts = {tuple(one.left.whole.get(kind, 0) - turn for kind in KINDS) for turn, one in enumerate(kills)}
        assert counts == {(0, 0, 0), (1, 0, 0), (1, 1, 0), (1, 1, 1)}, "it died between all of them"


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=[pytest.mark.nightly, pytest.mark.timeout(1200)])])
@pytest.mark.parametrize("act", ["promote", "register"])
def test_killed_between_requests_to_a_server_and_a_bucket(
    remote: RegistrySpec, s3: S3Server, s3_place: str, tmp_path: Path, act: Act, stride: int
) -> None:
    spec = remote.model_copy(update={"log": f"{s3_place}/{act}-{stride}", "storage": s3.spec()})
    Registry(spec).establish()  # the server does not say of what is not there that it is not
    if act == "promote":
        registered(spec, tmp_path / "made", 2)
        for version in (1, 2):
            waived_promotion(spec, version)
    kills = kill(spec, act, folder=tmp_path / "kills", stride=stride)
    print(len(kills), [one.step for one in kills])
    if act == "promote":
        check_moves(kills, act)
    else:
        check_registrations(kills)


def check_registrations(kills: list[Killed]) -> None:
    for turn, one in enumerate(kills):
        assert all(turn <= count <= turn + 1 for count in [*one.left.whole.values()]), one.step
        assert one.left.whole.get("release", 0) <= min(one.left.whole.get(kind, 0) for kind in ("encoder", "library"))
        assert one.then.whole == {"encoder": turn + 1, "library": turn + 1, "release": turn + 1}, one.step
        assert one.then.digests == 3 * (turn + 1), f"{one.step}: nothing is registered twice"
