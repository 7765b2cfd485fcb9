"""What `assay serve` does between its flags and its exit code.

Knows terminals, signals, and the variables that Serve reads before it is imported. Does not know what is served.
"""

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter
from pydantic import Field
from rich.console import Console
from rich.text import Text

from assay.platform.errors import SpecError
from assay.serving.front import PROGRAM
from assay.serving.keys import Scope
from assay.serving.new_key import NewKeySpec, make_key
from assay.serving.serve_args import NAME, ServeArgs
from assay.serving.watcher import Watcher

AsJson = Annotated[bool, Parameter(name="--json", help="print one JSON object, nothing else, on stdout")]
_INSIDE = (
    # Of Serve's own proxy: were it another service's, that one would be asked with our clients' keys.
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
)
"""Ports that nobody outside needs."""
_HIDDEN = "**********"
"""How pydantic writes a secret."""
_DRAIN_S, _HARD_STOP_S, _ANSWER_S = 5, 30, 10


class ServeSpec(ServeArgs):
    """A service on this machine, or in a cluster."""

    host: str = Field("127.0.0.1", description="address to listen on; all: 0.0.0.0")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    address: str | None = Field(None, description="a running Ray cluster; unset: RAY_ADDRESS, else one is started here")

    def args(self) -> ServeArgs:
        """Without what only this machine needs."""
        return ServeArgs.model_validate({name: getattr(self, name) for name in ServeArgs.model_fields})


_SERVE = ServeSpec()


def serve(
    spec: Annotated[ServeSpec, Parameter(name="*")] = _SERVE,
    *,
    print_config: Annotated[
        bool, Parameter(help="print the configuration for `serve deploy` and KubeRay, and end")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Serve a release over HTTP until told to stop. Without keys, one is made for this run and shown."""
    if print_config:
        print(config_text(spec), end="")
        return 0
    console = Console(stderr=True, quiet=as_json, highlight=False)
    secret = None
    if spec.keyring is None and not spec.keys:
        made = make_key(NewKeySpec(tenant="local", scopes=(Scope.ANALYZE, Scope.JOBS, Scope.ADMIN), id="this-run"))
        secret, spec = made.secret.get_secret_value(), spec.model_copy(update={"keys": (made.key,)})
    pin = Watcher.start(spec.args()).champion  # what is wrong with release or keys is told before anything starts
    _refuse_busy(spec)
    os.environ.update(_variables(spec) | os.environ)
    from assay.serving.app import run_here  # four seconds, and it reads those variables

    with console.status(f"starting {pin.release}"):
        end = run_here(spec.args(), spec.host, spec.port, _cluster(spec))
    _tell(spec, pin.release, secret, console, as_json)
    try:
        _wait()
    finally:
        with console.status("answering what is under way, then ending"):
            end()
    return 0


def config_text(spec: ServeSpec) -> str:
    """The service as a configuration of Serve's, in YAML: what is not as by default.

    Raises:
        SpecError: nobody may ask it, or it has a password, which belongs in the nodes' environment.
    """
    args = spec.args()
    args.refuse_locked()
    said = args.model_dump(mode="json", exclude_defaults=True)
    if _HIDDEN in json.dumps(said):
        why = "it would stand in the configuration, and be shown with it"
        raise SpecError("a password is among the settings", why=why, fix="set AWS_… and MLFLOW_… on the nodes instead")
    application = {"name": NAME, "route_prefix": "/", "import_path": "assay.serving.app:app", "args": said}
    document = {
        "proxy_location": "EveryNode",
        "http_options": {"host": spec.host, "port": spec.port},
        "applications": [application],
    }
    return str(yaml.safe_dump(document, sort_keys=False))


def _cluster(spec: ServeSpec) -> dict[str, Any]:
    address = spec.address or os.environ.get("RAY_ADDRESS")
    if address is not None:
        return {"address": address}
    return {
        "address": "local",
        "include_dashboard": bool(spec.jobs.stores and not spec.jobs.address),
    }  # jobs go through its server


def _variables(spec: ServeSpec) -> dict[str, str]:
    """What makes Serve fast for images and safe in front of strangers; the cluster's nodes need the same
    (infra/docs/serving.md)."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(Path(sys.executable).parent / PROGRAM),
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        "RAY_worker_niceness": "0",  # else whatever runs beside it comes first
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(int(spec.limits.request_s + spec.limits.body_s) + _ANSWER_S),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(int(spec.limits.body_s) + _ANSWER_S),
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(_HARD_STOP_S),
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "1s",
        # A dead replica has the least connections: what it refuses would be sent to it again, three times.
        "RAY_SERVE_HAPROXY_OBSERVE_ERROR_LIMIT": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(_DRAIN_S),
        **{name: _free_port() for name in _INSIDE},
    }


def _free_port() -> str:
    """A port for what only this machine sees: several services may run on it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _refuse_busy(spec: ServeSpec) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((spec.host, spec.port))
        except OSError as error:
            where, why = f"{spec.host}:{spec.port}", error.strerror or str(error)
            raise SpecError("cannot listen there", where=where, why=why, fix="choose another --port") from error


def _tell(spec: ServeSpec, release: str, secret: str | None, console: Console, as_json: bool) -> None:
    url = f"http://{spec.host}:{spec.port}"
    if as_json:
        print(json.dumps({"url": url, "release": release, "key": secret, "pid": os.getpid()}), flush=True)
        return
    console.print(Text(f"{release} answers at {url}", style="bold green"))
    if secret is not None:
        console.print("a key for this run, shown this once (`assay key new` makes keys that stay):")
        print(secret, flush=True)
    asked = f'curl -s -H "Authorization: Bearer {secret or "$ASSAY_KEY"}" -F image=@photo.jpg {url}/v1/analyze'
    console.print(Text(f"\n  {asked}\n", style="dim"), soft_wrap=True)  # to be copied in one piece
    console.print("Ctrl-C ends it.")


def _wait() -> None:
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    while not ended.wait(0.5):
        pass
