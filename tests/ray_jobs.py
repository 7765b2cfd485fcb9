"""A Ray with a job server on loopback, in a process of its own, beside the session's Ray, which has none.

`python -m tests.ray_jobs PORT` is that process: it says a line when it is up, tells for each line it is sent which jobs
a worker of the cluster sees, and ends when its input does.
"""

import json
import os
import subprocess
import sys
from types import TracebackType

from infra.bench.object_store import free_port
from tests.ray_cluster import ROOT


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
        if not any(line == "up\n" for line in self._answers):
            raise RuntimeError("Ray's job server did not come up")

    def __enter__(self) -> "RayJobs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def jobs_seen_from_within(self) -> list[str]:
        """The ids that a process of the cluster finds without being told an address."""
        self._orders.write("look\n")
        self._orders.flush()
        return next([str(one) for one in json.loads(line)] for line in self._answers if line.startswith("["))


def _look() -> list[str]:
    from assay.serving.job_server import JobServer

    return [job.id for job in JobServer(None, 10, 0, 3).all()]


def _serve(port: int) -> None:
    import ray  # four seconds, in this process only

    ray.init(
        "local",
        num_cpus=2,
        object_store_memory=200 << 20,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=port,
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
    )
    print("up", flush=True)
    look = ray.remote(_look)
    for _ in sys.stdin:
        print(json.dumps(ray.get(look.remote())), flush=True)
    ray.shutdown()


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
