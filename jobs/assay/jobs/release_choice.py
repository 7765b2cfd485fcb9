"""From what a user calls a release to the release that a job uses: asked once, then pinned.

Knows that a release may be of a registry, and what is then written down. Does not know how a registry is asked
(`assay.registry.resolving`), nor the releases that a store keeps (`judged.py`). No other module of this room resolves
a release.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, Field

from assay.registry.place import RegistrySpec
from assay.registry.resolving import Origin, Resolved, Tell, resolve

RegistryChoice = Annotated[
    RegistrySpec, Field(description="registry of models:/NAME-release@champion and models:/NAME-release/VERSION")
]


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
        SpecError: no registry can be at its address.
        RegistryError, CredentialsError: the registry does not hand it out.
    """
    return resolve(named, registry or RegistrySpec(), tell)


def origins_of(**chosen: Resolved) -> dict[str, Origin]:
    """Where some releases came from, by the flag that named each; those of no registry are left out."""
    return {name: one.origin for name, one in chosen.items() if one.origin is not None}


def tell_moved(latest: Mapping[str, Any], chosen: Resolved, tell: Tell) -> None:
    """Say that a name means another release than when a run was cut off; `latest` is its record. This one judges by
    what the name means now."""
    origin, before = chosen.origin, (latest.get("origins") or {}).get("release")
    if origin is None or before is None or latest.get("state") == "done":
        return
    then = Origin.model_validate(before)
    if then.asked == origin.asked and then.digest != origin.digest:
        tell(
            f"{then.asked} was version {then.version} when run {latest.get('run')} was cut off, and is version "
            f"{origin.version} now, which judges here; to finish that one: --release {_pinned(then)}"
        )


def pinned(named: str, chosen: Resolved) -> str:
    """A reference that means the same release tomorrow, when another may be champion."""
    return named if chosen.origin is None else _pinned(chosen.origin)


def _pinned(origin: Origin) -> str:
    return f"models:/{origin.model}/{origin.version}"
