"""The watcher: the one place that asks who is champion, who the challenger is, and which keys there are.

Knows the promotion log and the keyring's file, and which replica's turn it is to load another encoder. Does not know
Ray (`app.py` makes a deployment of it), nor how a replica takes on a release. What it cannot find out changes nothing:
the release and the keys that are known go on serving, and the trouble is told.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from prometheus_client import Metric

from assay.platform.errors import AssayError, SpecError
from assay.platform.release import Release, resolve_release
from assay.platform.storage import Storage
from assay.registry.following import Follower
from assay.registry.place import RegistrySpec
from assay.registry.promotion_entry import Entry, Side
from assay.registry.resolving import is_registered, resolve
from assay.serving.keys import Keyring
from assay.serving.orders import Orders, Pin, Report
from assay.serving.serve_args import ServeArgs

GONE_S = 8.0
"""A replica that did not report for so long is taken for gone."""
AGAIN_S = 30.0
"""When a release that could not be had is asked for again: each time, all of it may be fetched."""
TURN_S = 600.0
"""The longest one replica may take to load another encoder before the next may try."""


@dataclass
class _Replica:
    report: Report
    at: float


@dataclass
class _Turn:
    replica: str
    digest: str
    since: float


@dataclass
class Watcher:
    """What should be served. `look` blocks and runs in a thread; `sync` answers at once."""

    args: ServeArgs
    champion: Pin
    challenger: Pin | None = None
    keyring: str | None = None
    troubles: dict[str, str] = field(default_factory=dict)
    _replicas: dict[str, _Replica] = field(default_factory=dict)
    _turn: _Turn | None = None
    _follower: Follower | None = None
    _refused: dict[str, tuple[float, AssayError]] = field(default_factory=dict)
    """Releases that could not be had, by digest: when, and why."""

    @classmethod
    def start(cls, args: ServeArgs) -> Self:
        """Find out what to serve, for the first time.

        Raises:
            AssayError: there is no such release, it is not whole, or the keyring is not.
        """
        ref = args.release
        if is_registered(ref) and "@" in ref:
            follower = Follower(ref, args.registry)
            watcher = cls(args, pin_registered(ref, args.registry), _follower=follower)
        elif is_registered(ref):
            watcher = cls(args, pin_registered(ref, args.registry))
        else:
            watcher = cls(args, pin_directory(resolve_release(ref)))
        if args.keyring is not None:
            watcher.keyring = read_keyring(args)
        return watcher

    def look(self) -> None:
        """Ask once more for everything that may have changed."""
        self._look_after("release", self._look_for_releases)
        self._look_after("keyring", self._look_for_keys)

    def _look_after(self, what: str, ask: Callable[[], None]) -> None:
        try:
            ask()
        except AssayError as error:
            told = f"{error.what}: {error.why}" if error.why else error.what
            self.troubles = {**self.troubles, what: told}  # a new one: the loop may be reading the other
        else:
            self.troubles = {name: why for name, why in self.troubles.items() if name != what}

    def _look_for_releases(self) -> None:
        entry = self._follower.last() if self._follower else None
        if entry is None or self._follower is None:
            return
        self.champion = self._followed(entry, self._follower.alias, self.champion) or self.champion
        if self.args.shadow:
            self.challenger = self._followed(entry, "challenger", self.challenger)

    def _followed(self, entry: Entry, alias: str, known: Pin | None) -> Pin | None:
        side = next((side for name, side in entry.aliases.items() if name == alias), None)
        if side is None or self._follower is None:
            return None
        if known is not None and known.digest == side.digest:
            return known.model_copy(update={"version": side.version, "entry": entry.number})
        return self._fetched(self._follower.environment, side, alias, entry.number)

    def _fetched(self, environment: str, side: Side, alias: str, number: int) -> Pin:
        """A release that is here and whole, before any replica hears of it."""
        at, error = self._refused.get(side.digest, (0.0, None))
        if error is not None and time.monotonic() - at < AGAIN_S:
            raise error
        try:
            return pin_side(environment, side, self.args.registry, alias, number)
        except AssayError as refused:
            self._refused = {side.digest: (time.monotonic(), refused)}
            raise

    def _look_for_keys(self) -> None:
        if self.args.keyring is not None:
            self.keyring = read_keyring(self.args, self.keyring)

    def sync(self, report: Report, now: float | None = None) -> Orders:
        """Take a replica's report; tell it what should be."""
        moment = time.monotonic() if now is None else now
        self._replicas[report.replica] = _Replica(report, moment)
        self._replicas = {name: one for name, one in self._replicas.items() if moment - one.at < GONE_S}
        return Orders(
            champion=self.champion,
            challenger=self.challenger,
            keyring=self.keyring,
            replicas=len(self._replicas),
            may_load=self._may_load(report, moment),
            troubles=tuple(f"{what}: {why}" for what, why in self.troubles.items()),
        )

    def _may_load(self, report: Report, now: float) -> bool:
        wanted, turn = self.champion.digest, self._turn
        done = report.digest == wanted
        if turn is not None:
            finished = turn.replica == report.replica and (done or not report.waits)
            if finished or turn.digest != wanted or turn.replica not in self._replicas or now - turn.since > TURN_S:
                turn = self._turn = None
        if not report.waits or done:
            return False
        if turn is None:
            turn = self._turn = _Turn(report.replica, wanted, now)
        return turn.replica == report.replica

    def metrics(self) -> dict[str, tuple[Metric, ...]]:
        """Every replica's numbers, as last reported."""
        return {name: one.report.metrics for name, one in self._replicas.items()}


def pin_registered(ref: str, registry: RegistrySpec) -> Pin:
    """Pin what a reference to a registry stands for now.

    Raises:
        AssayError: there is no such release, or it is not whole.
    """
    resolved = resolve(ref, registry)
    origin, release = resolved.origin, resolved.release
    assert origin is not None, "a registered release has an origin"
    pinned = f"models:/{origin.model}/{origin.version}"
    return Pin(
        ref=pinned,
        digest=release.digest,
        release=release.id,
        version=origin.version,
        alias=origin.alias,
        entry=origin.entry,
    )


def pin_side(environment: str, side: Side, registry: RegistrySpec, alias: str, entry: int) -> Pin:
    """Pin what an entry of the promotion log names, once it is here and whole.

    Raises:
        AssayError: it cannot be had, or is not what was promoted.
    """
    ref = f"models:/{environment}-release/{side.version}"
    release = resolve(ref, registry).release
    if release.digest != side.digest:
        why = f"promoted with digest {side.digest[:12]}, found {release.digest[:12]}"
        raise SpecError("the promoted version was changed", where=ref, why=why, fix="ask who did it")
    return Pin(ref=ref, digest=release.digest, release=release.id, version=side.version, alias=alias, entry=entry)


def pin_directory(release: Release) -> Pin:
    """Pin a release directory."""
    return Pin(ref=str(Path(release.directory).absolute()), digest=release.digest, release=release.id)


def read_keyring(args: ServeArgs, known: str | None = None) -> str:
    """The keyring's text, which holds together; `known` is one that does.

    Raises:
        SpecError: it is not there, or is none.
        StorageError: the store refuses.
    """
    assert args.keyring is not None
    data = Storage(args.storage).read(args.keyring)
    if data is None:
        fix = "`assay key new` makes a key and prints its entry"
        raise SpecError("the keyring is not there", where=args.keyring, why="no such file", fix=fix)
    text = data.decode("utf-8", errors="replace")
    if text != known:
        Keyring.parse(text, args.keyring, beside=args.keys)
    return text
