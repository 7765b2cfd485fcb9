"""From what a user calls a release to the release that a job uses: asked once, then pinned.

Knows that a release may be of a registry, and what is then written down. Does not know how a registry is asked
(`assay.registry.resolving`), nor the releases that a store keeps (`judged.py`). No other module of this room resolves
a release.
"""

from collections.abc import Callable
from typing import Annotated

from pydantic import BaseModel, Field

from assay.registry.place import Place, RegistrySpec
from assay.registry.resolving import Origin, Resolved, resolve

__all__ = ["ChosenFacts", "Origin", "RegistryChoice", "Resolved", "Tell", "choose_release", "origins_of", "pinned"]

RegistryChoice = Annotated[
    RegistrySpec, Field(description="registry of models:/NAME-release@champion and models:/NAME-release/VERSION")
]
Tell = Callable[[str], None]


class ChosenFacts(BaseModel, frozen=True):
    """Facts of a job that used releases."""

    origins: dict[str, Origin] = {}
    """Where those of a registry came from, by the flag that named them."""


def choose_release(
    named: str | None, registry: RegistrySpec | None = None, tell: Tell = lambda _line: None
) -> Resolved:
    """The release that a user names: nothing or `starter`, a directory, or one of a registry.

    Raises:
        ReleaseError: there is no such release.
        SpecError: no registry can be at the address that is given.
        RegistryError, CredentialsError: the registry does not hand it out.
    """
    registry = registry or RegistrySpec()
    if registry.uri is not None:
        Place.of(registry)  # refused now, also when only the finished job would be recorded there
    return resolve(named, registry, tell)


def origins_of(**chosen: Resolved) -> dict[str, Origin]:
    """Where some releases came from, by the flag that named each; those of no registry are left out."""
    return {name: one.origin for name, one in chosen.items() if one.origin is not None}


def pinned(named: str, chosen: Resolved) -> str:
    """A reference that means the same release tomorrow, when another may be champion."""
    return named if chosen.origin is None else f"models:/{chosen.origin.model}/{chosen.origin.version}"
