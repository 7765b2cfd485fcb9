"""The Serve application: one typed argument in, deployments out.

Knows Serve's settings, most of whose defaults are unsafe or slow here, and how a service is run on this machine. Does
not know what replicas do.

    serve run assay.serving.app:app release=models:/assay-release@champion keyring=keys.yaml
    serve build / serve deploy / KubeRay's RayService: the same, with `args:` in the YAML
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, BackpressureConfig, HTTPOptions
from ray.serve.schema import ApplicationStatus, LoggingConfig

from assay.platform.errors import AssayError
from assay.serving.admission import AGAIN_S
from assay.serving.door import CALLBACK, VARIABLE, DoorSpec
from assay.serving.limits import requests_at_once
from assay.serving.replica import Replica, WatcherDeployment
from assay.serving.serve_args import NAME, ServeArgs

HEALTH_S, SILENT_S = 2.0, 10.0
DRAIN_S = 20.0
_MEASURED_S, _LOOK_BACK_S = 1.0, 5.0
"""How often a replica says how many requests it has, and over how long that is averaged."""
CONSTRUCTIONS = 3
"""Tries to start a replica before the deployment is called failed."""
_QUIET = LoggingConfig(enable_access_log=False)
"""Requests have lines of ours; the watcher's one call a second needs none."""


def app(args: ServeArgs) -> Application:
    """The application. `serve` validates the argument before it calls.

    Raises:
        SpecError: nobody may ask it.
    """
    args.refuse_locked()
    door = DoorSpec(limits=args.limits, batch=args.batch)
    variables = {"RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": CALLBACK, VARIABLE: door.model_dump_json()}
    replica = serve.deployment(
        name="Replica",
        ray_actor_options=_resources(args, {"env_vars": variables}),
        max_ongoing_requests=2 * requests_at_once(args.limits, args.batch),  # the door says no before Serve does
        max_queued_requests=requests_at_once(args.limits, args.batch),
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=AGAIN_S),
        autoscaling_config=_autoscaling(args),
        num_replicas=None if args.replicas.most > args.replicas.least else args.replicas.least,
        health_check_period_s=HEALTH_S,
        health_check_timeout_s=SILENT_S,
        graceful_shutdown_timeout_s=max(DRAIN_S, args.limits.request_s),
        max_surge_percent=100,
        logging_config=_QUIET,
        max_constructor_retry_count=CONSTRUCTIONS,
    )(serve.ingress()(Replica))
    watcher = serve.deployment(
        name="Watcher",
        num_replicas=1,
        ray_actor_options={"num_cpus": 0},
        max_ongoing_requests=1000,
        logging_config=_QUIET,
        max_constructor_retry_count=CONSTRUCTIONS,
    )(WatcherDeployment)
    return replica.bind(args, watcher.bind(args))


def _resources(args: ServeArgs, runtime_env: Mapping[str, Any]) -> dict[str, Any]:
    return {"num_cpus": args.replicas.cpus, "num_gpus": args.replicas.gpus, "runtime_env": dict(runtime_env)}


def _autoscaling(args: ServeArgs) -> AutoscalingConfig | None:
    least, most = args.replicas.least, args.replicas.most
    if most == least:
        return None
    load = args.replicas.load or 1.5 * args.batch.views
    return AutoscalingConfig(
        min_replicas=least,
        initial_replicas=least,
        max_replicas=most,
        target_ongoing_requests=load,
        upscale_delay_s=args.replicas.up_s,
        downscale_delay_s=args.replicas.down_s,
        metrics_interval_s=_MEASURED_S,
        look_back_period_s=_LOOK_BACK_S,
    )


def run_here(args: ServeArgs, host: str, port: int, cluster: Mapping[str, Any]) -> Callable[[], None]:
    """Start or join a Ray cluster and run the service in it; gives what ends it.

    Raises:
        AssayError: it did not come up; why is said as the replica said it.
    """
    ray.init(**cluster, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False)
    # What raylets say of actors that were told to end, Ray prints whatever `log_to_driver` is.
    ray._private.worker._worker_logs_enabled = False
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(http_options=HTTPOptions(host=host, port=port, request_timeout_s=None))
        serve.run(app(args), name=NAME, route_prefix="/")
    except RuntimeError as error:
        why = _failure() or str(error)
        ray.shutdown()
        raise AssayError("the service did not come up", why=why, fix="see Ray's logs of the replica") from error
    return _end


def _end() -> None:
    serve.shutdown()  # type: ignore[no-untyped-call]  # Ray leaves it so
    ray.shutdown()


def _failure() -> str:
    status = serve.status().applications.get(NAME)
    if status is None or status.status is not ApplicationStatus.DEPLOY_FAILED:
        return ""
    return "; ".join(one.message for one in status.deployments.values() if one.message) or status.message
