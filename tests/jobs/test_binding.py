"""A store is bound once: each part of the binding binds, races have one winner, and what cannot be read is refused."""

from pathlib import Path
from typing import Any

import pytest

from assay.jobs.binding import Binding, bind, check_binding, read_binding
from assay.jobs.store import Store
from assay.platform.errors import StoreVersionError
from assay.platform.storage import Storage
from tests.store_doubles import established, tree

BINDING = Binding(encoder="abc", dim=64, preprocess={"size": 32})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "store"


def test_a_binding_is_for_ever(place: Path) -> None:
    store = established(place)
    check_binding(store, BINDING)  # nothing to compare with yet
    assert read_binding(store) is None
    bind(store, BINDING)
    bind(store, BINDING)
    assert read_binding(Store.open(Storage(), str(place))) == BINDING
    before = tree(place)
    other = BINDING.model_copy(update={"encoder": "xyz", "dim": 32})
    for refuse in (bind, check_binding):
        with pytest.raises(StoreVersionError, match="another encoder, dim") as refusal:
            refuse(store, other)
        assert "encoder: store abc, release xyz" in refusal.value.why
        assert "preprocess" not in str(refusal.value)
        assert refusal.value.exit_code == 2
    assert tree(place) == before


@pytest.mark.parametrize(
    "change", [{"encoder": "xyz"}, {"dim": 1}, {"preprocess": {"size": 33}}, {"code": BINDING.code + 1}]
)
def test_each_part_of_a_binding_binds(place: Path, change: dict[str, Any]) -> None:
    store = established(place)
    bind(store, BINDING)
    with pytest.raises(StoreVersionError, match=f"another {next(iter(change))}\n"):
        check_binding(store, BINDING.model_copy(update=change))


@pytest.mark.parametrize("data", [b"", b"{", b'{"encoder": "abc"}', b'{"encoder":"a","dim":1,"preprocess":{},"new":1}'])
def test_a_binding_that_cannot_be_read(place: Path, data: bytes) -> None:
    store = established(place)
    (place / "binding.json").write_bytes(data)
    with pytest.raises(StoreVersionError, match=r"binding\.json"):
        check_binding(store, BINDING)
    with pytest.raises(StoreVersionError):
        bind(store, BINDING)
    assert (place / "binding.json").read_bytes() == data


def test_the_loser_of_a_race_to_bind_is_refused(place: Path) -> None:
    other = BINDING.model_copy(update={"encoder": "xyz"})
    first, second = established(place), established(place)
    check_binding(first, BINDING)
    check_binding(second, other)
    bind(first, BINDING)
    with pytest.raises(StoreVersionError):
        bind(second, other)
    assert read_binding(first) == BINDING
