"""An alias is followed by reading the promotion log alone."""

from pathlib import Path

import pytest

from assay.platform.errors import RegistryError, ReleaseError
from assay.registry.following import Follower
from assay.registry.place import RegistrySpec
from tests.small_registry import move, small_registry

CHAMPION = "models:/assay-release@champion"


def test_a_promotion_is_seen_at_once(tmp_path: Path) -> None:
    spec = small_registry(tmp_path, registered=2)
    follower = Follower(CHAMPION, spec)
    assert follower.last() is None
    for number in (1, 2, 1):
        move(spec, number)
        entry = follower.last()
        assert entry is not None
        assert entry.aliases["champion"].version == number


def test_the_registry_is_not_asked_twice(tmp_path: Path) -> None:
    spec = small_registry(tmp_path, registered=1, promoted=1)
    follower = Follower(CHAMPION, spec)
    assert follower.last() is not None
    (tmp_path / "mlflow.db").unlink()
    entry = follower.last()
    assert entry is not None
    assert entry.aliases["champion"].version == 1


@pytest.mark.parametrize("ref", ["models:/assay-release/4", "starter", "models:/assay-release", "@champion"])
def test_only_an_alias_can_be_followed(ref: str) -> None:
    with pytest.raises(ReleaseError, match="cannot be followed"):
        Follower(ref, RegistrySpec())


def test_a_damaged_log_is_told(tmp_path: Path) -> None:
    spec = small_registry(tmp_path, registered=1, promoted=1)
    follower = Follower(CHAMPION, spec)
    assert follower.last() is not None
    next((tmp_path / "promotions").rglob("00000001.json")).write_text("{}")
    with pytest.raises(RegistryError, match="not understood"):
        follower.last()
