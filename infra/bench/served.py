"""The online service in a process of its own, as people start it: `assay serve`, on loopback, stopped here.

Knows its command line and how it says that it is up. Does not know what is asked of it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.bench.object_store import free_port

START_S = 180.0
STOP_S = 60.0


@dataclass(frozen=True)
class Served:
    """A running service."""

    url: str
    key: str
    """Has all scopes; empty when the service has a keyring."""
    release: str
    process: int
    log: Path

    @property
    def headers(self) -> dict[str, str]:
        """What shows the key."""
        return {"authorization": f"Bearer {self.key}"}

    def replicas(self) -> list[int]:
        """Process ids of its replicas."""
        return [process for process, title in _descendants(self.process) if ":Replica" in title]


@contextmanager
def served(folder: Path, flags: Sequence[str] = (), environment: Mapping[str, str] | None = None) -> Iterator[Served]:
    """Start one, and wait until it answers; `folder` takes its log. Its Ray is its own.

    Raises:
        RuntimeError: it ended, or did not come up; with the end of its log.
    """
    log = folder / "serve.log"
    command = [str(Path(sys.executable).with_name("assay")), "serve", "--port", str(free_port()), "--json", *flags]
    ours = {"RAY_AUTH_MODE": "disabled", "PYTHONUNBUFFERED": "1"}
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"} | ours | dict(environment or {})
    with (
        log.open("wb") as told,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=told, env=env, cwd=folder, start_new_session=True
        ) as process,
    ):
        try:
            yield _wait_for(process, log)
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def _wait_for(process: subprocess.Popen[bytes], log: Path) -> Served:
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    until, said = time.monotonic() + START_S, b""
    while time.monotonic() < until and process.poll() is None:
        said += process.stdout.read() or b""
        if said.endswith(b"\n"):
            facts = json.loads(said)
            return Served(facts["url"], facts["key"] or "", facts["release"], process.pid, log)
        time.sleep(0.1)
    raise RuntimeError(f"`assay serve` did not come up: {log.read_text(errors='replace')[-3000:]}")


def _descendants(ancestor: int) -> list[tuple[int, str]]:
    """Processes below one, with their titles."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            facts = (entry / "stat").read_text().rpartition(")")[2].split()
            title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended meanwhile
            continue
        parents[int(entry.name)] = (int(facts[1]), title)
    found = []
    for process, (parent, title) in parents.items():
        above = parent
        while above in parents and above != ancestor:
            above = parents[above][0]
        if above == ancestor:
            found.append((process, title))
    return found
