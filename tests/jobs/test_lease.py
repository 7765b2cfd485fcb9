"""Who may drive a store: one at a time, a dead one not for ever, and never by comparing clocks."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from assay.jobs import lease as lease_module
from assay.jobs.lease import TTL_S, Holder, take_lease
from assay.platform.errors import FencedError, StorageError, StoreVersionError
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.ledger_doubles import MemoryObjects
from tests.store_doubles import new_store, reopened


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.during: list[object] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for act in self.during:
            assert callable(act)
            act()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease_module, "time", clock)
    return clock


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders look as if they ran on machines of their own."""
    monkeypatch.setattr(lease_module, "_machine", lambda: "")


def test_one_after_the_other(clock: Clock) -> None:
    objects = MemoryObjects()
    for epoch in range(1, 5):
        with take_lease(objects, "lease", "a backfill", "now") as lease:
            assert lease.epoch == epoch
    assert clock.now == 1000.0  # nobody waited


@pytest.mark.usefixtures("elsewhere")
def test_who_gives_signs_of_life_keeps_it(clock: Clock) -> None:
    objects, told = MemoryObjects(), list[str]()
    holder = take_lease(objects, "lease", "a backfill", "noon")
    clock.during = [holder.beat]
    with pytest.raises(FencedError, match="another driver") as refusal:
        take_lease(objects, "lease", "a vacuum", "now", told.append)
    assert "a backfill, since noon" in refusal.value.why
    assert "waiting" in told[0]
    assert clock.now < 1000 + TTL_S / 2


@pytest.mark.usefixtures("elsewhere")
def test_who_gives_none_loses_it_after_a_while(clock: Clock) -> None:
    objects, told = MemoryObjects(), list[str]()
    dead = take_lease(objects, "lease", "a backfill", "noon")
    late = take_lease(objects, "lease", "a backfill", "later", told.append)
    assert (late.epoch, told[-1]) == (2, "no sign of life: taking over")
    assert TTL_S <= clock.now - 1000 < TTL_S + 2
    with pytest.raises(FencedError):
        dead.beat()


@pytest.mark.usefixtures("elsewhere")
def test_who_gives_it_back_while_another_waits(clock: Clock) -> None:
    objects = MemoryObjects()
    holder = take_lease(objects, "lease", "a backfill", "noon")
    clock.during = [holder.release]
    assert take_lease(objects, "lease", "a backfill", "later").epoch == 2
    assert clock.now - 1000 < 5


def test_a_living_process_of_this_machine_is_believed_at_once(clock: Clock) -> None:
    objects = MemoryObjects()
    take_lease(objects, "lease", "a backfill", "noon")
    with pytest.raises(FencedError, match=f"process {os.getpid()}"):
        take_lease(objects, "lease", "a backfill", "later")
    assert clock.now == 1000.0


def test_a_dead_process_of_this_machine_is_not_waited_for(tmp_path: Path, clock: Clock) -> None:
    """Also when its id was given to another process since."""
    store = tmp_path / "store"
    code = (
        "import sys; from assay.jobs.lease import take_lease; from assay.platform.storage import Storage;"
        "print(take_lease(Storage(), sys.argv[1], 'dies', 'noon').epoch)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    assert take_lease(Storage(), str(store), "goes on", "later").epoch == 2
    assert clock.now == 1000.0
    holder = Holder.model_validate_json((store / "epoch-0000000002.json").read_bytes())
    again = holder.model_copy(update={"process": f"{os.getpid()}@1"})
    assert again.lives is False


def test_many_at_once(s3: S3Server, s3_place: str) -> None:
    """On a real store: of those who try at the same moment, one gets it."""
    start, won, lost = threading.Barrier(6), list[int](), list[str]()

    def go() -> None:
        storage = Storage(s3.spec())
        start.wait()
        try:
            won.append(take_lease(storage, f"{s3_place}/lease", "races", "now").epoch)
        except FencedError as error:
            lost.append(error.what)

    threads = [threading.Thread(target=go) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [1]
    assert len(lost) == 5


def test_signs_of_life_are_given_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.01)
    objects = MemoryObjects()
    with take_lease(objects, "lease", "a backfill", "noon") as lease:
        while lease.holder.beats < 3:
            time.sleep(0.01)
        lease.check()
    holder = Holder.model_validate_json(objects.contents["lease/epoch-0000000001.json"])
    assert holder.released
    assert holder.beats >= 3


def test_a_lease_that_was_lost_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.01)
    objects = MemoryObjects()
    with take_lease(objects, "lease", "a backfill", "noon") as lease:
        later = lease.holder.model_copy(update={"epoch": 2, "name": "another", "purpose": "takes over"})
        objects.contents["lease/epoch-0000000002.json"] = later.model_dump_json().encode()
        with pytest.raises(FencedError, match="takes over"):  # noqa: PT012  # it takes a beat to notice
            while True:
                lease.check()
                time.sleep(0.01)
    assert not Holder.model_validate_json(objects.contents["lease/epoch-0000000002.json"]).released


def test_a_store_that_fails_for_a_while_does_not_end_a_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_S", 0.01)
    objects, failures = MemoryObjects(), list[str]()

    def fail(call: str) -> None:
        if len(failures) < 4 and threading.current_thread().name == "lease":
            failures.append(call)
            raise StorageError("as told")

    objects.around = fail
    with take_lease(objects, "lease", "a backfill", "noon") as lease:
        while lease.holder.beats < 8:
            time.sleep(0.01)
        lease.check()
    assert len(failures) == 4


@pytest.mark.parametrize("hint", [None, b"", b"not a number", b"0", b"1", b"99"])
def test_the_hint_is_only_a_hint(clock: Clock, hint: bytes | None) -> None:
    objects = MemoryObjects()
    for _ in range(3):
        with take_lease(objects, "lease", "a backfill", "noon"):
            pass
    objects.contents.pop("lease/last.json")
    if hint is not None:
        objects.contents["lease/last.json"] = hint
    assert take_lease(objects, "lease", "a backfill", "noon").epoch == 4


def test_a_lease_that_cannot_be_read(clock: Clock) -> None:
    objects = MemoryObjects({"lease/epoch-0000000001.json": b"not JSON"})
    with pytest.raises(StoreVersionError, match="epoch-0000000001"):
        take_lease(objects, "lease", "a backfill", "noon")


def test_a_held_store_refuses_another_driver(tmp_path: Path) -> None:
    """And the first one goes on as if nothing had been."""
    store = new_store(Storage(), tmp_path / "store")
    with store.hold("a backfill") as lease:
        with pytest.raises(FencedError, match="a backfill"), reopened(store).hold("a vacuum"):
            raise AssertionError("two drivers")
        store.observations.commit([])
        lease.check()
    with reopened(store).hold("a vacuum") as after:
        assert after.epoch == 2
    with pytest.raises(FencedError):
        store.observations.commit([])
