"""A world for the commit protocol: drivers stopped, killed, doubled and deceived between any two calls to storage.

Drivers run production code (lease, ledger, backlog, committer) over storage in memory, each in a greenlet of its own
that hands over before and after every call. Knows what must hold of the tables at every moment. Does not know who is
chosen next: that is for the tests.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from greenlet import greenlet

from assay.jobs import lease as lease_module
from assay.jobs.backlog import Backlog, backlog_of
from assay.jobs.committer import Committer
from assay.jobs.file_table import FileTable
from assay.jobs.ledger import DataFile, Ledger, NotAcknowledgedError, Transaction
from assay.jobs.store import Store
from assay.jobs.work import Receipt, Task, Work, WrittenFile, digest_of_keys
from assay.platform.errors import AssayError, CommitError, ConservationError
from assay.platform.rows import ImageRef
from tests.ledger_doubles import MemoryLog, MemoryObjects

SHARDS = range(3)
ROWS = 2
PARTITION = {"release": "r", "policy": "p"}
REFS = {shard: tuple(ImageRef(f"s3://b/{shard}/{number}", "e", 1) for number in range(ROWS)) for shard in SHARDS}
KEYS = {shard: digest_of_keys((ref.uri, ref.etag) for ref in refs) for shard, refs in REFS.items()}
SIZE = 9


class Killed(BaseException):
    """The process is gone: nothing it would still do reaches storage."""


@dataclass(frozen=True)
class Content:
    """What a data file holds: one shard's rows, and for verdicts the file they were judged from."""

    shard: int
    flaky: bool = False
    """One of its images could not be reached."""
    source: str = ""


class Drifting:
    """Time in the world: it passes for whoever sleeps."""

    def __init__(self, world: "World") -> None:
        self.world, self.now = world, 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.world.hand_over("asleep")
        self.now += seconds


@dataclass
class World:
    """What all drivers share."""

    objects: dict[str, bytes] = field(default_factory=dict)
    observations: list[Transaction] = field(default_factory=list)
    verdicts: list[Transaction] = field(default_factory=list)
    files: dict[str, Content] = field(default_factory=dict)
    drivers: list["Driver"] = field(default_factory=list)
    vanished: set[str] = field(default_factory=set)
    names: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.clock = Drifting(self)
        self.main = greenlet.getcurrent()

    def hand_over(self, call: str) -> None:
        """Called by whoever runs, around every call to storage."""
        running = greenlet.getcurrent()
        driver = next((one for one in self.drivers if one.greenlet is running), None)
        if driver is None:
            return  # the test itself looks
        driver.at = call
        if not driver.killed:
            self.main.switch()
        if driver.killed:
            raise Killed
        if driver.loses and call.endswith("append"):
            driver.loses = False
            raise NotAcknowledgedError("as told")

    def check(self) -> None:
        """What must hold at every moment, for every reader."""
        seen, judged = _visible(self.observations), _visible(self.verdicts)
        for found in (seen, judged):
            doubled = [shard for shard, count in Counter(one.first_shard for one in found).items() if count > 1]
            assert not doubled, f"shards {doubled} are there twice"
            missing = [one.path for one in found if one.path not in self.files]
            assert not missing, f"{missing} are named and not there"
        sources = {one.first_shard: one.path for one in seen}
        for one in judged:
            assert self.files[one.path].source == sources.get(one.first_shard), "a verdict of rows that are not there"

    def check_complete(self, versions: tuple[int, int] | None = None) -> None:
        """All is done; or was, at these versions of the two tables."""
        self.check()
        for number, table in enumerate((self.observations, self.verdicts)):
            found = _visible(table if versions is None else table[: versions[number] + 1])
            assert sorted(one.first_shard for one in found) == list(SHARDS), "shards are lost"


def _visible(table: list[Transaction]) -> list[DataFile]:
    return MemoryLog(table).files()


class ModelStore(Store):
    """A store whose bucket and tables are in memory: `hold` is the real one."""

    def __init__(self, world: World) -> None:
        self.uri = "store"
        self.objects = MemoryObjects(world.objects, world.hand_over)
        self.storage = self.objects  # type: ignore[assignment]  # all that a lease needs
        logs = [MemoryLog(table, world.hand_over) for table in (world.observations, world.verdicts)]
        ledgers = [Ledger(log, pause=lambda _seconds: None) for log in logs]
        self.observations, self.verdicts = ledgers  # type: ignore[assignment]  # without rows


class Driver:
    """One run of a backfill, from its lease to its end."""

    def __init__(self, world: World, *, retry: bool, twice: bool, group: int) -> None:
        self.world, self.retry, self.twice, self.group = world, retry, twice, group
        self.store = ModelStore(world)
        self.greenlet = greenlet(self._run)
        self.at, self.killed, self.loses, self.loses_file = "start", False, False, False
        self.outcome: AssayError | None = None
        self.done = False
        self.lease: lease_module.Lease | None = None
        world.drivers.append(self)

    @property
    def versions(self) -> tuple[int, int]:
        """The versions of both tables that it saw last. A later driver may have begun to replace rows since."""
        return self.store.observations.version, self.store.verdicts.version

    @property
    def over(self) -> bool:
        """Whether it ended, one way or another."""
        return self.killed or self.greenlet.dead

    def step(self) -> None:
        """Go on until the next call to storage."""
        if not self.over:
            self.greenlet.switch()

    def kill(self) -> None:
        """End it where it stands."""
        if not self.over:
            self.killed = True
            self.greenlet.switch()

    def _run(self) -> None:
        try:
            with self.store.hold("a backfill") as self.lease:
                self._work_through()
            self.done = True
        except Killed:
            return
        except (CommitError, ConservationError) as error:
            self.outcome = error

    def _work_through(self) -> None:
        backlog = self._backlog()
        store, name = self.store, f"run-{id(self)}"
        committer = Committer(
            store.observations, store.verdicts, PARTITION, name, self._sizes_of, backlog.observed, backlog.judged
        )
        work = list(_work(backlog))
        committer.expect(work)
        for one in work:
            committer.take(self._receipt(one))
            if len(committer.held) >= self.group:
                committer.commit()
            if self.twice:  # its task ran again, after all
                committer.take(self._receipt(one))
        committer.commit()
        assert self.lease is not None
        self.lease.check()

    def _backlog(self) -> Backlog:
        observed, verdicts = self.store.observations.files(), self.store.verdicts.files()
        files = FileTable.of(observed), FileTable.of(verdicts)
        flaky = [one.first_shard for one in observed if self.world.files[one.path].flaky] if self.retry else []
        retry = {shard: REFS[shard][:1] for shard in flaky}
        return backlog_of(*files, PARTITION, SHARDS, len(SHARDS) * ROWS, retry)

    def _sizes_of(self, names: Sequence[str]) -> list[int | None]:
        self.world.hand_over("before sizes")
        return [SIZE if name.partition("/")[2] in self.world.files else None for name in names]

    def _receipt(self, work: Work) -> Receipt:
        source = work.observed[0] if work.observed else ""
        if work.task is not Task.JUDGE:
            source = self._write(Content(work.shard, flaky=work.task is Task.OBSERVE and work.shard == 0))
        judged = self._write(Content(work.shard, source=source))
        seen = None if work.task is Task.JUDGE else _written(source)
        return Receipt(
            shard=work.shard,
            task=work.task,
            rows=ROWS,
            keys=KEYS[work.shard],
            outcomes=Counter(ok=ROWS),
            observed=seen,
            judged=_written(judged),
        )

    def _write(self, content: Content) -> str:
        path = f"file-{next(self.world.names)}"
        self.world.hand_over("before file")
        if self.loses_file:
            self.loses_file = False
            self.world.vanished.add(path)
        else:
            self.world.files[path] = content
        self.world.hand_over("after file")
        return path


def _written(path: str) -> WrittenFile:
    return WrittenFile(path=path, size=SIZE, first_uri="a", last_uri="z")


def _work(backlog: Backlog) -> Iterator[Work]:
    for shard in SHARDS:
        if shard in backlog.observe:
            yield Work(shard=shard, task=Task.OBSERVE, rows=ROWS, keys=KEYS[shard], refs=REFS[shard])
        elif shard in backlog.judge or shard in backlog.retry:
            task = Task.RETRY if shard in backlog.retry else Task.JUDGE
            path = backlog.observed[shard].path
            yield Work(shard=shard, task=task, rows=ROWS, keys=KEYS[shard], observed=(path,))
