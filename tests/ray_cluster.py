"""A Ray cluster of several nodes on this machine, in a process of its own: real raylets with logical CPUs, to be added
and killed one by one, beside the session's Ray.

`python -m tests.ray_cluster` is that process: it takes one JSON order a line and answers with one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

ROOT = Path(__file__).parent.parent
STORE_BYTES = 200 << 20


class RayCluster:
    """A head without CPUs, on which drivers run, and worker nodes beside it; use as a context."""

    def __init__(self, *nodes: int) -> None:
        # Without tokens: the session's Ray has its own. Off "cluster", drivers would look for 127.0.0.1 elsewhere.
        ours = {"RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        self.environment = {**os.environ, **ours}
        self.environment.pop("RAY_ADDRESS", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray_cluster"],
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        head = self._order(start="head")
        self.address = str(head["address"])
        self.gcs, self.head_raylet = int(head["gcs_server"]), int(head["raylet"])
        self.environment["RAY_ADDRESS"] = self.address
        self.raylets: list[int] = []
        for cpus in nodes:
            self.add_node(cpus)

    def __enter__(self) -> "RayCluster":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)  # its orders end, so it ends its nodes, then itself

    def add_node(self, cpus: int) -> int:
        """Start a worker node; the process id of its raylet."""
        self.raylets.append(int(self._order(start="node", cpus=cpus)["raylet"]))
        return self.raylets[-1]

    def processes(self, named: str) -> list[int]:
        """Workers of this cluster whose title has `named` in it."""
        nodes = {self.head_raylet, *self.raylets}
        return [one for one, parent, title in _all_processes() if parent in nodes and named in title]

    def _order(self, **order: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("{"):  # Ray may talk, too
                answer: dict[str, Any] = json.loads(line)
                return answer
        raise RuntimeError("the cluster's process ended")


def kill_dead(process_id: int) -> None:
    """SIGKILL, by process id only."""
    os.kill(process_id, signal.SIGKILL)


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait until something holds; the seconds it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)
    return time.monotonic() - began


def _all_processes() -> Iterator[tuple[int, int, str]]:
    """Process id, parent's id and command line of what runs on this machine."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):  # it has ended by now
                title = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                yield int(folder.name), int(parent), title


def _start_node(cluster: Any, cpus: int) -> Any:
    """Start a node; Ray gives one 30 s, which a busy machine may not make."""
    common = {"node_ip_address": "127.0.0.1", "object_store_memory": STORE_BYTES, "include_dashboard": False}
    for _ in range(3):
        try:
            return cluster.add_node(num_cpus=cpus, **common)
        except Exception as error:  # noqa: BLE001  # that is what Ray raises
            print(error, file=sys.stderr)
    raise RuntimeError("no node starts on this machine")


def _serve() -> None:
    from ray.cluster_utils import Cluster  # four seconds, in this process only

    cluster = Cluster()
    for line in sys.stdin:
        order = json.loads(line)
        node = _start_node(cluster, order.get("cpus", 0))
        ids = {kind: started[0].process.pid for kind, started in node.all_processes.items()}
        print(json.dumps({"address": cluster.address, **ids}), flush=True)
    cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's


if __name__ == "__main__":
    _serve()
