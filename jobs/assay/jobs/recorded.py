"""Jobs in MLflow's memory: a finished job is recorded with its facts, if that was asked for, and stays finished if not.

Knows when a job is recorded, and what becomes of its facts then. Does not know MLflow (`assay.registry.recording`), nor
what is worth saying of which job (`run_summary.py`).
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

from pydantic import Field

from assay.jobs.release_choice import ChosenFacts
from assay.platform.errors import AssayError
from assay.registry.evidence import FACTS_FILE
from assay.registry.place import Place, RegistrySpec, is_named
from assay.registry.recording import OpenRun, Recording, record

RecordChoice = Annotated[
    bool, Field(description="record this as an MLflow run; done anyway with a registry named or a release of one")
]


class Recordable(Protocol):
    """A Spec of a job that can be recorded."""

    @property
    def registry(self) -> RegistrySpec:
        """Where."""

    @property
    def record(self) -> bool:
        """Whether also when nobody named a registry."""


class RecordedFacts(ChosenFacts, frozen=True):
    """Facts of a job that can be recorded."""

    recorded: str | None = None
    """The MLflow run that keeps them."""
    not_recorded: str = ""
    """Why none does, though it was to be."""


F = TypeVar("F", bound=RecordedFacts)
Files = Mapping[Path | str, bytes]


def refuse_unrecordable(spec: Recordable) -> None:
    """Stop before a job that can never be recorded where its spec says.

    Raises:
        SpecError: no registry can be at that address.
    """
    if spec.record or spec.registry.uri is not None:
        Place.of(spec.registry)


def recorded(
    facts: F,
    spec: Recordable,
    summary: Callable[[], Recording],
    files: Mapping[str, bytes] | None = None,
    leave_trace: Callable[[Files], None] | None = None,
) -> F:
    """The facts, with the run that keeps them and `files`; or with why there is none. Never stops a finished job.

    `summary` is asked for only if it is recorded. `leave_trace` is told what is about to be stored, and where, before
    it is: for files that name images.
    """
    if not (spec.record or is_named(spec.registry) or facts.origins):
        return facts

    def contents(run: OpenRun) -> dict[str, bytes]:
        told = facts.model_copy(update={"recorded": run.id}).model_dump_json()
        found = {**(files or {}), FACTS_FILE: told.encode()}
        if leave_trace is not None:
            leave_trace({run.place(name): content for name, content in found.items()})
        return found

    try:
        run = record(_registry_of(spec, facts), summary(), contents)
    except AssayError as error:
        return facts.model_copy(update={"not_recorded": f"{error.what}: {error.why}; {error.fix}"})
    return facts.model_copy(update={"recorded": run})


def _registry_of(spec: Recordable, facts: RecordedFacts) -> RegistrySpec:
    """The registry, in the environment that the release is of."""
    names = [origin.model.removesuffix("-release") for origin in facts.origins.values()]
    return spec.registry.model_copy(update={"name": names[0]}) if names else spec.registry
