"""A world for the promotion protocol: promoters stopped and killed between any two calls to the log or to MLflow.

Promoters run production code (promote, rollback, settle, the log) over a log and a registered model in memory, each in
a greenlet of its own that hands over before and after every call. Knows what must hold. Does not know who is chosen
next: that is for the tests.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import greenlet

from assay.platform.errors import ConflictError, SpecError
from assay.platform.stored import StoredFile
from assay.registry import promotion
from assay.registry.announcement import SHOWN, describe_standing
from assay.registry.evidence import Documents
from assay.registry.models import Standing, Version
from assay.registry.promotion import PromoteSpec, RollbackSpec, promote, rollback
from assay.registry.promotion_log import PromotionLog
from assay.registry.registry import SETTLED_TAG

VERSIONS = 3


class Killed(BaseException):
    """The process is gone: nothing it would still do reaches anybody."""


@dataclass
class World:
    """What all promoters share: the log's objects, and the registered model of releases as MLflow keeps it."""

    objects: dict[str, bytes] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    description: str = ""
    deleted: set[int] = field(default_factory=set)
    promoters: list["Promoter"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.main = greenlet.getcurrent()
        self.log = PromotionLog(WorldStorage(self), "log")  # type: ignore[arg-type]  # has what a log asks
        place = SimpleNamespace(uri="world")
        self.registry: Any = SimpleNamespace(models=WorldModels(self), log=self.log, place=place)

    def hand_over(self) -> None:
        """Called by whoever runs, around every call."""
        running = greenlet.getcurrent()
        promoter = next((one for one in self.promoters if one.greenlet is running), None)
        if promoter is None:
            return  # the test itself looks
        if not promoter.killed:
            self.main.switch()
        if promoter.killed:
            raise Killed

    def check_followed(self) -> None:
        """MLflow says what the log says."""
        entries = list(self.log.entries())
        last = entries[-1] if entries else None
        assert self.aliases == ({name: side.version for name, side in last.aliases.items()} if last else {})
        if last:
            assert self.description == describe_standing(last, entries[-2 * SHOWN :], "log")
            assert self.tags[SETTLED_TAG] == str(last.number)


def _called(method: Callable[..., Any]) -> Callable[..., Any]:
    def call(self: Any, *asked: Any, **named: Any) -> Any:
        self.world.hand_over()
        answer = method(self, *asked, **named)
        self.world.hand_over()
        return answer

    return call


@dataclass
class WorldStorage:
    """Conditional writes into a dictionary."""

    world: World

    @_called
    def list(self, uri: str) -> Iterator[StoredFile]:
        names = [name.removeprefix(f"{uri}/") for name in self.world.objects if name.startswith(f"{uri}/")]
        return iter([StoredFile(name, 1, 0.0) for name in names])

    @_called
    def read(self, uri: str) -> bytes | None:
        return self.world.objects.get(uri)

    @_called
    def write(self, uri: str, data: bytes, *, if_absent: bool = False) -> bool:
        if if_absent and uri in self.world.objects:
            return False
        self.world.objects[uri] = data
        return True


@dataclass
class WorldModels:
    """The registered model of releases."""

    world: World

    def model(self, kind: str) -> str:
        return f"assay-{kind}"

    @_called
    def version(self, _kind: str, number: int) -> Version | None:
        if number > VERSIONS or number in self.world.deleted:
            return None
        tags = {"assay.digest": f"{number:064x}", "assay.release": f"r-{number}"}
        return Version(kind="release", model="assay-release", number=number, source="", run="", tags=tags, created=0.0)

    @_called
    def standing(self, _kind: str) -> Standing:
        world = self.world
        return Standing(aliases=dict(world.aliases), tags=dict(world.tags), description=world.description)

    @_called
    def point(self, _kind: str, alias: str, number: int | None) -> None:
        if number is None:
            self.world.aliases.pop(alias, None)
        else:
            self.world.aliases[alias] = number

    @_called
    def tag_model(self, _kind: str, tags: Mapping[str, str]) -> None:
        self.world.tags.update(tags)

    @_called
    def describe_model(self, _kind: str, text: str, _tags: Mapping[str, str]) -> None:
        self.world.description = text

    @_called
    def tag_version(self, _version: Version, _tags: Mapping[str, str]) -> None: ...


class Promoter:
    """One process: it promotes (a version) or rolls back (None), one after the other."""

    def __init__(self, world: World, name: str, acts: list[int | None]) -> None:
        self.world, self.name, self.acts = world, name, acts
        self.killed = False
        self.moved: list[int] = []
        """Entries that it was told it had written."""
        self.greenlet = greenlet(self._run)
        world.promoters.append(self)

    def _run(self) -> None:
        try:
            for act in self.acts:
                self._act(act)
        except Killed:
            pass

    def _act(self, act: int | None) -> None:
        try:
            if act is None:
                facts = rollback(RollbackSpec(by=self.name))
            else:
                facts = promote(PromoteSpec(release=str(act), by=self.name))
        except (ConflictError, SpecError):
            return  # another was first; or nobody was champion before
        if facts.before != facts.after:
            assert facts.entry
            self.moved.append(facts.entry)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing it would still do."""
        return self.greenlet.dead

    def go_on(self) -> None:
        """Run it up to its next call, or from there."""
        self.greenlet.switch()

    def kill(self) -> None:
        """It does nothing any more."""
        self.killed = True
        self.greenlet.switch()


def patch(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """Let production code find the world; what a release is, and what the gate asks of it, are others' tests."""
    monkeypatch.setattr(promotion, "Registry", lambda _spec: world.registry)
    for name, answer in {
        "fetch_release": lambda _registry, version: SimpleNamespace(
            id=version.tags["assay.release"], digest=version.digest
        ),
        "cached_release": lambda _registry, _digest: None,
        "gather": lambda *_: Documents(),
        "check_candidate": lambda *_: (),
        "keep_evidence": lambda *_: "run",
    }.items():
        monkeypatch.setattr(promotion, name, answer)
