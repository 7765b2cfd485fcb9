"""A job as the command that does it: `assay backfill …` or `assay reaudit …`.

Knows flags. Does not know who asked, nor how a command is run. No secret is ever among its words: nodes find their
credentials in their own environment.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

from assay.registry.place import Place, RegistrySpec
from assay.registry.resolving import is_registered
from assay.serving.job_places import JobsSpec
from assay.serving.job_schemas import BackfillRequest, ReauditRequest


@dataclass(frozen=True, slots=True)
class Order:
    """A request with all its names settled."""

    request: BackfillRequest | ReauditRequest
    source: str | None
    """Uri; None for a re-audit."""
    store: str
    release: str
    """Pinned: a version of a registry, or a directory."""
    policy: str | None
    cluster: str | None = None
    """Address of the cluster it joins; None when the command finds it."""


def command_line(order: Order, spec: JobsSpec, registry: RegistrySpec) -> str:
    """The words of a job's command, quoted for a shell."""
    request = order.request
    words = [_assay(spec), request.kind.value]
    if order.source is not None:
        words += [order.source, f"--store={order.store}"]
    else:
        words += [order.store]
    words += [f"--release={order.release}"]
    if order.policy is not None:
        words += [f"--policy={order.policy}"]
    if isinstance(request, BackfillRequest):
        words += [*_of_backfill(request), *spec.backfill_flags]
    if order.cluster is not None:
        words += [f"--cluster.address={order.cluster}"]
    if is_registered(order.release):
        words += _of_registry(registry)
    return shlex.join([*words, *spec.flags, "--json-lines"])


def _assay(spec: JobsSpec) -> str:
    """The nodes of one cluster have one image, so where the service's `assay` is, theirs is, on a PATH or not."""
    ours = Path(sys.executable).with_name("assay")
    return spec.command or (str(ours) if spec.address is None and ours.exists() else "assay")


def _of_backfill(request: BackfillRequest) -> list[str]:
    words = [f"--include={one}" for one in request.include] + [f"--exclude={one}" for one in request.exclude]
    words += ["--packed"] * request.packed + ["--retry-faults"] * request.retry_faults
    if request.max_fault_rate is not None:
        words += [f"--max-fault-rate={request.max_fault_rate!r}"]
    return words


def _of_registry(registry: RegistrySpec) -> list[str]:
    """Where the registry is, but for its password."""
    words = [f"--registry.uri={Place.of(registry).uri}", f"--registry.name={registry.name}"]
    named = {"log": registry.log, "username": registry.username}
    return words + [f"--registry.{name}={value}" for name, value in named.items() if value]
