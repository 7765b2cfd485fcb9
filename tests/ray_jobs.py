"""A Ray with a job server on loopback, in a process of its own, beside the session's Ray, which has none.

`python -m tests.ray_jobs PORT` is that process: it says a line when it is up, tells for each line it is sent what a
worker of the cluster sees, and ends when its input does.
"""

import json
import os
import subprocess
import sys
from types import TracebackType

from infra.bench.object_store import free_port
from tests.ray_cluster import ROOT, STORE_BYTES


class RayJobs:
    """Ray with a job server at `address`; use as a context."""

    def __init__(self) -> None:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
        environment.pop("RAY_ADDRESS", None)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.ray_jobs", str(port)],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        self._orders, self._answers = self._process.stdin, self._process.stdout
        told = next((line.split() for line in self._answers if line.startswith("up ")), None)
        if told is None:
            raise RuntimeError("Ray's job server did not come up")
        self.cluster = told[1]
        """The address by which drivers join: with other clusters on the machine, Ray may tell them any of those."""

    def __enter__(self) -> "RayJobs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def seen_from_within(self) -> list[str]:
        """The cluster's address, and the ids of its jobs, as a process of the cluster finds them untold."""
        self._orders.write("look\n")
        self._orders.flush()
        return next([str(one) for one in json.loads(line)] for line in self._answers if line.startswith("["))


def _look() -> list[str | None]:
    from assay.serving.job_server import JobServer

    server = JobServer(None, 60, 0, 3)
    return [server.cluster, *(job.id for job in server.all())]


def _serve(port: int) -> None:
    import ray  # four seconds, in this process only
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    cluster.add_node(
        num_cpus=2,
        object_store_memory=STORE_BYTES,
        node_ip_address="127.0.0.1",
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        # Its usual port is another Ray's on this machine, and without its agent a node takes no jobs.
        dashboard_agent_listen_port=free_port(),
    )
    ray.init(cluster.address, log_to_driver=False)
    print("up", cluster.address, flush=True)
    look = ray.remote(_look)
    for _ in sys.stdin:
        print(json.dumps(ray.get(look.remote())), flush=True)
    ray.shutdown()
    cluster.shutdown()  # type: ignore[no-untyped-call]  # Ray's


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
