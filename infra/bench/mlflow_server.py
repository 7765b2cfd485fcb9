"""A real MLflow server on loopback, that asks for passwords and keeps artifacts in S3: started and stopped here.

Knows the safe settings a server should have, and its users. Does not know what Assay keeps in it.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from infra.bench.object_store import free_port

ADMIN, PASSWORD = "admin", "not-a-secret-4711"  # of a server that lives as long as the tests, or a part of the bench
START_S = 180.0
AUTH = """[mlflow]
default_permission = NO_PERMISSIONS
database_uri = sqlite:///{folder}/auth.db
admin_username = {admin}
auth_cache_ttl_seconds = {cache_s}
"""


@dataclass(frozen=True)
class MlflowServer:
    """A running server."""

    uri: str
    log: Path

    def add_user(self, name: str, password: str = PASSWORD) -> None:
        """A user who may make experiments and models, and see none of others."""
        self._ask("POST", "2.0/mlflow/users/create", {"username": name, "password": password})

    def change_password(self, name: str, password: str) -> None:
        """From now on the old one is refused."""
        self._ask("PATCH", "2.0/mlflow/users/update-password", {"username": name, "password": password})

    def grant(self, name: str, kind: str, resource: str, permission: str) -> None:
        """Let a user READ, EDIT or MANAGE a `registered_model`, or an `experiment` by its id."""
        asked = {"username": name, "resource_type": kind, "resource_id": resource, "permission": permission}
        self._ask("POST", "3.0/mlflow/users/permissions/grant", asked)

    def _ask(self, method: str, path: str, body: dict[str, str]) -> None:
        answer = requests.request(method, f"{self.uri}/api/{path}", json=body, auth=(ADMIN, PASSWORD), timeout=30)
        if not answer.ok:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")


@contextmanager
def mlflow_server(
    folder: Path, artifacts: str, environment: Mapping[str, str], workers: int = 1, cache_s: int = 60
) -> Iterator[MlflowServer]:
    """Start one with its database in `folder` and artifacts at `artifacts`, s3://… or a folder.

    Without `cache_s`, every request costs the server a quarter of a second of CPU for the hash of its password. With
    several `workers`, one may take a changed password's old one for that long.
    """
    port = free_port()
    (folder / "auth.ini").write_text(AUTH.format(folder=folder, admin=ADMIN, cache_s=cache_s))
    told = ["--host", "127.0.0.1", "--port", str(port), "--allowed-hosts", "127.0.0.1:*", "--workers", str(workers)]
    # Its supervisor ends workers that are silent for five seconds, as those are that import MLflow on a busy machine.
    told += ["--uvicorn-opts", "--timeout-worker-healthcheck 120"]
    kept = ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", artifacts]
    command = [str(Path(sys.executable).with_name("mlflow")), "server", "--app-name", "basic-auth", "--serve-artifacts"]
    server = MlflowServer(f"http://127.0.0.1:{port}", folder / "log")
    with server.log.open("wb") as log:
        process = subprocess.Popen(
            [*command, *told, *kept],
            stdout=log,
            stderr=log,
            env={**_own(os.environ), **environment, **_settings(folder)},
            cwd=folder,
            start_new_session=True,  # the server is a child of the command, and is ended with it
        )
        try:
            _wait_for(server, process)
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.killpg(process.pid, signal.SIGKILL)  # its data is thrown away
            process.wait()


def _own(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what is said to clients."""
    return {key: value for key, value in environment.items() if not key.startswith("MLFLOW_")}


def _settings(folder: Path) -> dict[str, str]:
    return {
        "MLFLOW_FLASK_SERVER_SECRET_KEY": os.urandom(16).hex(),
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def _wait_for(server: MlflowServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.RequestException):  # nobody listens yet
            if requests.get(f"{server.uri}/health", timeout=2).ok:
                return
        time.sleep(0.2)
    raise RuntimeError(f"MLflow did not come up:\n{server.log.read_text(errors='replace')[-2000:]}")
