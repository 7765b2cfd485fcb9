"""Where jobs may read and keep: places that the operator names, each with the tenants that may use it.

Knows how a caller's words become a uri that lies below a place. Does not know what a job does there. Who may not use a
place cannot tell it from one that does not exist.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from assay.platform.library import Slug
from assay.platform.spec import Spec
from assay.serving.problem import Code, Problem

MAX_PATH = 512
"""Characters of a path below a place."""
_SEGMENT = r"\w(?:[\w.@=+, -]*[\w@=+-])?"
_PATH = re.compile(rf"(?:{_SEGMENT}(?:/{_SEGMENT})*/?)?")
"""What is sure to mean the same to S3, to disks and to us: letters and digits of any script, and few marks. So no `..`,
nothing hidden or encoded, no scheme, no backslash, no mark of a pack."""
_SECRET = re.compile(r"^--[^=]*(?:key|secret|password|token)", re.IGNORECASE)


class PlaceSpec(Spec):
    """One place: a prefix of a bucket or a folder, and whose it is."""

    name: Slug = Field(description="what callers call it")
    uri: str = Field(description="s3://bucket/prefix/, or a folder by its whole path")
    tenants: tuple[str, ...] = Field((), description="tenants that may use it, and all that lies below")

    @field_validator("uri")
    @classmethod
    def _is_a_folder(cls, uri: str) -> str:
        stem = uri.removeprefix("s3://")
        if ".." in uri.split("/") or stem.startswith("/") == (stem != uri) or "://" in stem or not stem.strip("/"):
            raise ValueError("write s3://bucket/prefix/, or the whole path of a folder")
        # S3 knows prefixes, not folders: without the slash, s3://b/acme would be s3://b/acme-rival, too.
        return f"{uri.rstrip('/')}/"


class JobsSpec(Spec):
    """Which jobs may be run, where, and on what."""

    address: str | None = Field(
        None, description="job server, http://HEAD:8265; unset: that of the cluster the service runs in"
    )
    sources: tuple[PlaceSpec, ...] = Field((), description="where images are, by the names that callers use")
    stores: tuple[PlaceSpec, ...] = Field((), description="where stores are, or may be made")
    num_cpus: float = Field(0.0, ge=0, description="CPUs kept for a job's command; with 0 it runs on the head node")
    per_tenant: int = Field(4, ge=1, description="jobs of one tenant that may wait or run at once")
    command: str | None = Field(
        None, description="the `assay` of the cluster; unset: `assay`, or the service's own in its own cluster"
    )
    flags: tuple[str, ...] = Field(
        (), description="flags that every job gets, such as --cluster.judge.gpus=0.5; no secrets: they are shown"
    )
    backfill_flags: tuple[str, ...] = Field(
        (), description="flags that every backfill gets, such as --shard.images=512"
    )
    stop_s: int = Field(60, ge=1, description="seconds that a job may take to commit and end when it is stopped")
    timeout_s: float = Field(10.0, gt=0, description="seconds one request to the job server may take")

    @field_validator("sources", "stores")
    @classmethod
    def _are_different(cls, places: tuple[PlaceSpec, ...]) -> tuple[PlaceSpec, ...]:
        if len({place.name for place in places}) < len(places):
            raise ValueError("a name is given twice")
        return places

    @field_validator("flags", "backfill_flags")
    @classmethod
    def _are_no_secrets(cls, flags: tuple[str, ...]) -> tuple[str, ...]:
        for flag in flags:
            if not flag.startswith("--") or _SECRET.match(flag):
                raise ValueError(
                    f"{flag.partition('=')[0]!r}: write --flag=value; keys belong in the nodes' environment"
                )
        return flags


class PlaceRef(BaseModel):
    """A place as callers name it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=64, description="the name of a source or store, as the service is configured")
    path: str = Field("", max_length=MAX_PATH, description="below it, as in 2026/11/", examples=["2026/11/"])


def locate(places: Sequence[PlaceSpec], ref: PlaceRef, tenant: str, where: str) -> str:
    """The uri, with a slash at its end, that a tenant's reference means; `where` it stands in the request.

    Raises:
        Problem: PLACE_REFUSED, for a path that does not simply lead down, and for a place that is not the tenant's.
    """
    if _PATH.fullmatch(ref.path) is None:
        raise Problem(
            Code.PLACE_REFUSED,
            "this is no path below a place",
            where=f"{where}.path",
            why="it may have letters, digits and . _ - = + @ , and lead down only",
            fix="write it as in 2026/11/, or leave it away",
        )
    place = next((one for one in places if one.name == ref.name), None)
    if place is None or tenant not in place.tenants:
        raise Problem(
            Code.PLACE_REFUSED,
            "no such place, or none that this key may use",
            where=where,
            fix="ask the operator which names your tenant has",
        )
    uri = place.uri + (f"{ref.path.rstrip('/')}/" if ref.path else "")
    _refuse_links(place, uri, where)
    return uri


def _refuse_links(place: PlaceSpec, uri: str, where: str) -> None:
    """Refuse a folder that a link leads out of its place."""
    if not place.uri.startswith("s3://") and not Path(uri).resolve().is_relative_to(Path(place.uri).resolve()):
        raise Problem(Code.PLACE_REFUSED, "this is no path below a place", where=f"{where}.path", fix="name another")
