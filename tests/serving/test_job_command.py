"""The command of a job: its words are read back by the very command line, and none is more than one word."""

import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.jobs import commands, reaudit_commands
from assay.jobs.backfill import BackfillSpec
from assay.jobs.cli import main
from assay.jobs.reaudit import ReauditSpec
from assay.registry.place import RegistrySpec
from assay.serving.job_command import Order, command_line
from assay.serving.job_places import JobsSpec, PlaceRef
from assay.serving.job_schemas import BackfillRequest, JobKind, ReauditRequest

STORE = PlaceRef(name="audit")
NOWHERE = RegistrySpec(uri="http://127.0.0.1:9", password="canary", username="assay")


def read_back(command: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, bool]:
    """The Spec and --json-lines as the command line understands them."""
    taken: list[tuple[Any, bool]] = []

    def take(spec: Any, _as_json: bool, as_lines: bool) -> None:
        taken.append((spec, as_lines))
        raise SystemExit(0)

    monkeypatch.setattr(commands, "run_backfill", take)
    monkeypatch.setattr(reaudit_commands, "run_reaudit", take)
    with pytest.raises(SystemExit):
        main(shlex.split(command)[1:])
    return taken[0]


def test_a_backfill_is_read_back_as_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    odd = ("*.jpg", "-x", "--store=s3://evil", "a b", "$(id)`id`;id", "'\"", "[ab]*"[1:], "né,ü", "#")
    request = BackfillRequest(
        kind=JobKind.BACKFILL,
        source=PlaceRef(name="uploads"),
        store=STORE,
        include=odd,
        exclude=odd[::-1],
        packed=True,
        retry_faults=True,
        max_fault_rate=0.25,
    )
    order = Order(request, "s3://b/in put/", "s3://b/store/", "models:/assay-release/4", "lenient", "10.0.0.1:6379")
    command = command_line(
        order, JobsSpec(flags=("--cluster.judge.max=3",), backfill_flags=("--shard.images=7",)), NOWHERE
    )
    spec, as_lines = read_back(command, monkeypatch)
    assert as_lines
    assert spec == BackfillSpec.model_validate(
        {
            "source": "s3://b/in put/",
            "store": "s3://b/store/",
            "release": "models:/assay-release/4",
            "policy": "lenient",
            "include": odd,
            "exclude": odd[::-1],
            "packed": True,
            "retry_faults": True,
            "max_fault_rate": 0.25,
            "shard": {"images": 7},
            "cluster": {"address": "10.0.0.1:6379", "judge": {"max": 3}},
            "registry": {"uri": "http://127.0.0.1:9", "username": "assay"},
        }
    )
    assert "canary" not in command


def test_a_reaudit_too(monkeypatch: pytest.MonkeyPatch) -> None:
    order = Order(ReauditRequest(kind=JobKind.REAUDIT, store=STORE), None, "/stores/one/", "/releases/mine", None)
    only_backfills = JobsSpec(backfill_flags=("--shard.images=7",))
    spec, as_lines = read_back(command_line(order, only_backfills, NOWHERE), monkeypatch)
    assert (spec, as_lines) == (ReauditSpec(store="/stores/one/", release="/releases/mine"), True)


def test_whose_assay_runs() -> None:
    order = Order(ReauditRequest(kind=JobKind.REAUDIT, store=STORE), None, "/stores/one/", "/releases/mine", None)

    def first(spec: JobsSpec) -> str:
        return shlex.split(command_line(order, spec, NOWHERE))[0]

    assert first(JobsSpec()) == str(Path(sys.executable).with_name("assay"))
    assert first(JobsSpec(address="http://head:8265")) == "assay"
    assert first(JobsSpec(address="http://head:8265", command="/opt/my assay")) == "/opt/my assay"
