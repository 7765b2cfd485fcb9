"""The lease: which driver may change a store now, and since which epoch.

    STORE/lease/epoch-0000000001.json …    one object per holder, put only if absent; the highest one counts

Knows taking, keeping and giving back. It makes drivers polite, not safe: a paused driver can wake up after its lease
went to another. Safety is the fence that every holder puts into the tables with its epoch (`ledger.py`).

No clocks are compared: a lease is free when its holder gave it back, when its holder's process is known to be dead
(same machine), or when it has not changed for `TTL_S` as watched from here.
"""

import itertools
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from assay.platform.errors import AssayError, FencedError, StoreVersionError

TTL_S = 60.0
"""Seconds without a sign of life after which a lease goes to who wants it."""
BEAT_S = 15.0
"""Seconds between signs of life: three may go astray."""
POLL_S = 1.0
"""Seconds between looks at a lease that is waited for."""


class Objects(Protocol):
    """What a lease needs of object storage."""

    def read(self, uri: str) -> bytes | None:
        """One object, or None when it is not there."""

    def write(self, uri: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write one object; with `if_absent`, False when another one is there."""


class Holder(BaseModel):
    """Who holds or held a lease."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    epoch: int
    name: str
    """Random: two holders never write the same bytes."""
    machine: str
    """Boot and process namespace, where the system tells them; process ids mean nothing elsewhere."""
    process: str
    """Process id and start time."""
    purpose: str
    since: str
    beats: int = 0
    released: bool = False

    @property
    def lives(self) -> bool | None:
        """Whether the holder's process runs; None when that cannot be told from here."""
        if not self.machine or self.machine != _machine():
            return None
        return self.process == _process(self.process.partition("@")[0])


def _machine() -> str:
    """This boot of this machine and this process namespace; empty where the system does not tell."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _process(pid: str) -> str:
    """A process by id and start time (ids are used again); empty when there is none."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return f"{pid}@{facts.rpartition(')')[2].split()[19]}"


class Lease:
    """A lease that is held. A thread keeps it alive; leaving the context gives it back."""

    def __init__(self, objects: Objects, folder: str, holder: Holder) -> None:
        self.objects, self.folder, self.holder = objects, folder, holder
        self._lost: AssayError | None = None
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def epoch(self) -> int:
        """The number that fences use."""
        return self.holder.epoch

    def check(self) -> None:
        """Say so if the lease went to another driver.

        Raises:
            FencedError: it did.
        """
        if self._lost is not None:
            raise self._lost

    def beat(self) -> None:
        """Give a sign of life, and look whether another driver took over.

        Raises:
            FencedError: one did.
            StorageError: the store cannot be asked.
        """
        self.holder = self.holder.model_copy(update={"beats": self.holder.beats + 1})
        _put(self.objects, self.folder, self.holder)
        after = _read(self.objects, self.folder, self.epoch + 1)
        if after is not None:
            raise _taken(self.folder, after)

    def release(self) -> None:
        """Give the lease back."""
        self.holder = self.holder.model_copy(update={"released": True})
        _put(self.objects, self.folder, self.holder)

    def _keep(self) -> None:
        while not self._over.wait(BEAT_S):
            try:
                self.beat()
            except FencedError as error:
                self._lost = error
                return
            except AssayError:
                # A store that cannot be asked for a while costs at most the lease, and then the fence says so.
                continue

    def __enter__(self) -> "Lease":
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._keeper.join()
        if self._lost is not None:
            return
        try:
            self.release()
        except AssayError:
            if error is None:
                raise  # otherwise what went wrong first is what to tell; the lease runs out by itself


def take_lease(
    objects: Objects,
    folder: str,
    purpose: str,
    since: str,
    tell: Callable[[str], None] = lambda _line: None,
    fenced: int = 0,
) -> Lease:
    """Take the lease of a store, waiting up to `TTL_S` for a holder that may be dead. Its epoch is above `fenced`.

    Raises:
        FencedError: another driver holds it, or took it at the same moment.
    """
    last = _last(objects, folder)
    if last is not None:
        _wait_until_free(objects, folder, last, tell)
    epoch = max(last.epoch if last else 0, fenced) + 1
    holder = Holder(
        epoch=epoch,
        name=uuid.uuid4().hex,
        machine=_machine(),
        process=_process(str(os.getpid())),
        purpose=purpose,
        since=since,
    )
    if not _put(objects, folder, holder, if_absent=True):
        raise _taken(folder, _read(objects, folder, epoch) or holder)
    return Lease(objects, folder, holder)


def _wait_until_free(objects: Objects, folder: str, seen: Holder, tell: Callable[[str], None]) -> None:
    if seen.released or seen.lives is False:
        return
    if seen.lives:
        raise _taken(folder, seen)
    tell(f"{seen.purpose} has had this store since {seen.since}: waiting {TTL_S:.0f} s for a sign of life")
    deadline = time.monotonic() + TTL_S
    while time.monotonic() < deadline:
        time.sleep(POLL_S)
        now = _read(objects, folder, seen.epoch)
        if now is None or now.released:
            return
        if now.beats != seen.beats:
            raise _taken(folder, now)
    tell("no sign of life: taking over")


def _last(objects: Objects, folder: str) -> Holder | None:
    """The holder with the highest epoch. Epochs have no gaps; the hint spares the walk from the first."""
    hint = objects.read(f"{folder}/last.json") or b"0"
    first = int(hint) if hint.strip().isdigit() else 0
    last = _read(objects, folder, first) if first else None
    for epoch in itertools.count(first + 1 if last else 1):
        holder = _read(objects, folder, epoch)
        if holder is None:
            return last
        last = holder
    raise AssertionError("itertools.count has no end")


def _read(objects: Objects, folder: str, epoch: int) -> Holder | None:
    where = _place(folder, epoch)
    data = objects.read(where)
    try:
        return None if data is None else Holder.model_validate_json(data)
    except ValidationError as error:
        raise StoreVersionError(
            "a store's lease cannot be read",
            where=where,
            why=str(error),
            fix="make sure that no other driver runs, then remove that object",
        ) from error


def _put(objects: Objects, folder: str, holder: Holder, *, if_absent: bool = False) -> bool:
    data = holder.model_dump_json(indent=1).encode()
    if not objects.write(_place(folder, holder.epoch), data, if_absent=if_absent):
        return False
    if if_absent:
        objects.write(f"{folder}/last.json", str(holder.epoch).encode())
    return True


def _place(folder: str, epoch: int) -> str:
    return f"{folder}/epoch-{epoch:010d}.json"


def _taken(folder: str, holder: Holder) -> FencedError:
    return FencedError(
        "another driver has this store",
        where=folder,
        why=f"{holder.purpose}, since {holder.since}, process {holder.process.partition('@')[0]}, epoch {holder.epoch}",
        fix="wait for it or stop it, then run the same command again",
    )
