"""Processes that register, promote and roll back: many at once, or killed at a step of theirs.

Each is forked from one that has imported everything and connected to nothing. That one is a process of its own, run as
`python -m tests.promoters`: the tests' has threads, which do not outlive a fork.
"""

import gc
import itertools
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from assay.platform.encoder import encoder_digest, file_sha256
from assay.platform.errors import AssayError, ConflictError, SpecError
from assay.registry.fetching import fetch_release
from assay.registry.gate import CHECKS
from assay.registry.models import KINDS
from assay.registry.place import RegistrySpec
from assay.registry.promotion import MoveFacts, PromoteSpec, RollbackSpec, promote, rollback
from assay.registry.registering import RegisterSpec, register
from assay.registry.registry import Registry
from tests.jobs.colour_releases import colour_release

ROOT = Path(__file__).parent.parent
WAIVED = tuple(f"{name}=a test of what comes after the gate" for name in CHECKS)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
Act = Literal["register", "promote", "rollback"]


class Registered(BaseModel, frozen=True):
    """What a registry looks like to who asks for everything."""

    numbers: list[int]
    """Of the log's entries, which were held against each other."""
    champions: list[int]
    """Versions, one for each entry."""
    last: int
    """Version that the last entry makes champion."""
    alias: int | None
    description: str
    whole: dict[str, int]
    """Versions by kind; each release was fetched with its parts and held against its digests."""
    digests: int
    """Different digests among them all."""
    unended: int
    """Runs that nobody ended."""


class Killed(BaseModel, frozen=True):
    """A process that was killed at a step, what it left, and what the next command made of it."""

    step: str
    left: Registered
    then: Registered


def waived_promotion(spec: RegistrySpec, version: int) -> MoveFacts:
    """Promote a version without evidence."""
    return promote(PromoteSpec(release=str(version), registry=spec, waive=WAIVED, reason="because", by="tester"))


def registered(spec: RegistrySpec, folder: Path, count: int) -> list[int]:
    """Register so many releases, each with a library of its own; their versions."""
    return [_register(spec, folder / f"release-{number}", f"red {number}") for number in range(count)]


def look_at(spec: RegistrySpec, cache: Path) -> Registered:
    """Ask a registry for everything; what `cache` has is from an earlier look.

    Raises:
        AssayError: something of it is not whole.
    """
    registry = Registry(spec.model_copy(update={"cache": cache}))
    entries = list(registry.log.entries())
    versions = [version for kind in KINDS for version in registry.models.versions(kind)]
    for version in versions:
        if version.kind == "release":
            assert fetch_release(registry, version).digest == version.digest
        elif not (cache / "seen" / version.digest).is_dir():
            folder = registry.runs.fetch(version.source, cache / "seen" / version.digest)
            files = {path.name: file_sha256(path) for path in folder.iterdir()}
            assert encoder_digest(files) == version.digest
    runs = registry.models._client.mlflow.search_runs([registry.runs.experiment], "attributes.status = 'RUNNING'")
    standing = registry.models.standing("release")
    return Registered(
        numbers=[entry.number for entry in entries],
        champions=[entry.aliases["champion"].version for entry in entries],
        last=entries[-1].aliases["champion"].version if entries else 0,
        alias=standing.aliases.get("champion"),
        description=standing.description,
        whole=dict(Counter(version.kind for version in versions)),
        digests=len({version.digest for version in versions}),
        unended=len(runs),
    )


def race(spec: RegistrySpec, *, processes: int, acts: int, versions: int, folder: Path) -> Counter[str]:
    """Let processes promote and roll back at once, `acts` each; what became of their attempts, by word."""
    asked = {"task": "race", "processes": processes, "acts": acts, "versions": versions}
    told = _drive(spec, folder, asked)
    return Counter({str(word): int(count) for word, count in told.items()})


def kill(spec: RegistrySpec, act: Act, *, folder: Path, stride: int = 1) -> list[Killed]:
    """Kill a process at every so many of its steps, each time doing the same again afterwards."""
    told = _drive(spec, folder, {"task": "kill", "act": act, "stride": stride})
    return [Killed.model_validate(one) for one in told]


def _drive(spec: RegistrySpec, folder: Path, asked: dict[str, object]) -> Any:
    secret = spec.password.get_secret_value() if spec.password else None
    keys = {key: one.get_secret_value() for key, one in _keys(spec).items()}
    dumped = spec.model_dump(mode="json")
    dumped |= {"password": secret, "storage": {**dumped["storage"], **keys}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "asked.json").write_text(json.dumps({**asked, "registry": dumped, "folder": str(folder)}))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.promoters", str(folder / "asked.json")],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return json.loads((folder / "told.json").read_text())


def _keys(spec: RegistrySpec) -> dict[str, Any]:
    names = ("access_key", "secret_key", "session_token")
    return {name: getattr(spec.storage, name) for name in names if getattr(spec.storage, name) is not None}


def _main(asked: dict[str, Any]) -> object:
    # Which MLflow imports when it connects.
    import mlflow.store.model_registry.sqlalchemy_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401

    gc.disable()  # it would touch, and so copy, all that the forks share; they live for a second
    spec, folder = RegistrySpec.model_validate(asked["registry"]), Path(asked["folder"])
    if asked["task"] == "race":
        return _race(spec, folder, asked["processes"], asked["acts"], asked["versions"])
    return list(_kill(spec, folder, asked["act"], asked["stride"]))


def _race(spec: RegistrySpec, folder: Path, processes: int, acts: int, versions: int) -> dict[str, int]:
    def run(number: int) -> None:
        words = Counter(_act(spec, random.Random(f"{number} {one}"), versions) for one in range(acts))
        (folder / f"race-{number}.json").write_text(json.dumps(words))

    for child in [_fork(run, number) for number in range(processes)]:
        child.join()
        assert child.exitcode == 0, child.exitcode
    return sum(
        (Counter(json.loads((folder / f"race-{number}.json").read_text())) for number in range(processes)), Counter()
    )


def _act(spec: RegistrySpec, chance: random.Random, versions: int) -> str:
    try:
        if chance.random() < 0.3:
            moved = rollback(RollbackSpec(registry=spec, by="tester"))
        else:
            moved = waived_promotion(spec, chance.randint(1, versions))
    except ConflictError:
        return "told that another was first"
    except SpecError as error:
        return error.what
    except AssayError as error:
        return f"{error.what}: {error.why[:300]}"
    return f"{moved.action} again" if moved.before == moved.after else moved.action


def _kill(spec: RegistrySpec, folder: Path, act: Act, stride: int) -> Iterator[Killed]:
    first = 1 + os.getpid() % stride
    for turn, number in enumerate(itertools.count(first, stride)):
        mark = folder / f"struck-{number}"
        child = _fork(_until, number, mark, partial(_begin, spec, folder, act, turn))
        child.join()
        if child.exitcode == 0:
            return
        assert child.exitcode == -signal.SIGKILL, child.exitcode
        yield _in_child(folder, partial(_look_after, mark, spec, folder, act, turn))


def _look_after(mark: Path, spec: RegistrySpec, folder: Path, act: Act, turn: int) -> Killed:
    left = look_at(spec, folder / "cache")
    _go_on(spec, folder, act, turn)
    return Killed(step=mark.read_text(), left=left, then=look_at(spec, folder / "cache"))


def _begin(spec: RegistrySpec, folder: Path, act: Act, turn: int) -> None:
    """What is killed."""
    if act == "rollback":
        rollback(RollbackSpec(registry=spec))
    else:
        _go_on(spec, folder, act, turn)


def _go_on(spec: RegistrySpec, folder: Path, act: Act, turn: int) -> None:
    """The next command: the same again, or back to what was rolled back."""
    if act == "register":
        _register(spec, folder / f"release-{turn}", f"red {turn}")
    else:
        waived_promotion(spec, 2 if act == "rollback" else 1 + turn % 2)


def _register(spec: RegistrySpec, folder: Path, red: str) -> int:
    made = folder.with_name(f"{folder.name}-{os.getpid()}")  # a killed process may have left half of one
    release = colour_release(made, red=red, dim=int(red.split()[-1]) + 8)
    return register(release, RegisterSpec(registry=spec)).number


def _until(number: int, mark: Path, run: Callable[[], None]) -> None:
    with _struck_at(number, mark):
        run()


@contextmanager
def _struck_at(number: int, mark: Path) -> Iterator[None]:
    """Die before the step with this number (from 1): a commit, a request, or a file written where others look."""
    from requests.adapters import HTTPAdapter
    from sqlalchemy import Engine, event

    from assay.platform.storage import Storage

    count = 0

    def step(name: str) -> None:
        nonlocal count
        count += 1
        if count == number:
            mark.write_text(name)
            os.kill(os.getpid(), signal.SIGKILL)

    send, ask = HTTPAdapter.send, Storage._ask

    def counted_send(self: HTTPAdapter, request: Any, *rest: Any, **named: Any) -> Any:
        step(f"{request.method} {request.path_url}")
        return send(self, request, *rest, **named)

    def counted_ask(self: Storage, asked: Any) -> Any:
        step("a request to the bucket")
        return ask(self, asked)

    def hear(name: str, said: tuple[Any, ...]) -> None:
        if name == "open" and isinstance(said[2], int) and said[2] & WRITES and "registry" in Path(str(said[0])).parts:
            step(f"write {Path(str(said[0])).name.split('.')[0]}")
        elif name in {"os.rename", "os.link"} and "registry" in Path(str(said[1])).parts:
            step(f"name {Path(str(said[1])).name}")

    event.listen(Engine, "commit", lambda _connection: step("commit"))
    setattr(HTTPAdapter, "send", counted_send)  # noqa: B010  # for this process's life; mypy knows no such assignment
    setattr(Storage, "_ask", counted_ask)  # noqa: B010  # likewise
    sys.addaudithook(hear)
    yield


def _fork(run: Callable[..., None], *arguments: Any) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=run, args=arguments)
    process.start()
    return process


def _in_child(folder: Path, run: Callable[[], Killed]) -> Killed:
    """Do it in a process of its own, since this one connects to nothing."""

    def tell() -> None:
        try:
            (folder / "child.json").write_text(run().model_dump_json())
        except AssayError:
            (folder / "failed").write_text(traceback.format_exc())
            raise

    child = _fork(tell)
    child.join()
    assert child.exitcode == 0, (folder / "failed").read_text() if (folder / "failed").exists() else child.exitcode
    return Killed.model_validate_json((folder / "child.json").read_bytes())


if __name__ == "__main__":
    told = _main(json.loads(Path(sys.argv[1]).read_text()))
    shown = [one.model_dump() for one in told] if isinstance(told, list) else told
    Path(sys.argv[1]).with_name("told.json").write_text(json.dumps(shown))
