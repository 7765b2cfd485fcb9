"""What the watcher and the replicas tell each other. Knows the words; knows neither of them."""

from dataclasses import dataclass, field

from prometheus_client import Metric
from pydantic import BaseModel


class Pin(BaseModel, frozen=True):
    """One release, named so that it stays the same one: a version of a registry, or a directory, and its digest."""

    ref: str
    digest: str
    release: str
    """Its id, as verdicts carry it."""
    version: int | None = None
    alias: str | None = None
    """What pointed to it when it was resolved."""
    entry: int | None = None
    """Of the promotion log."""


@dataclass(frozen=True)
class Orders:
    """What a replica should be serving."""

    champion: Pin
    challenger: Pin | None = None
    keyring: str | None = None
    """The keyring's text; it has hashes only."""
    replicas: int = 1
    """How many there are: each keeps its share of a key's rate."""
    may_load: bool = False
    """Whether it is this replica's turn to load another encoder: one after the other, so that the rest answer."""
    troubles: tuple[str, ...] = ()
    """What the watcher could not do; what was there before goes on."""


@dataclass(frozen=True)
class Report:
    """What a replica says of itself."""

    replica: str
    digest: str
    """Of the release that answers; empty before there is one."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a release could not be taken on, by digest."""
    waits: bool = False
    """Whether it waits for its turn to load another encoder."""
    metrics: tuple[Metric, ...] = ()
