"""What is served: releases, policies, labels. Knows documents; decides nothing."""

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from assay.serving.keys import Key, Scope
from assay.serving.orders import Pin
from assay.serving.refusals import READING, declared
from assay.serving.service import Service


class ReleaseDocument(BaseModel):
    """One release, as it is pinned."""

    role: Literal["champion", "challenger"]
    release: str
    digest: str
    version: int | None = Field(description="of the registry; none for a directory")
    alias: str | None
    entry: int | None = Field(description="of the promotion log")
    encoder: str | None = Field(description="digest of its encoder")
    since: str | None = Field(description="when this replica began to answer under it, UTC")


class ReleaseList(BaseModel):
    """What this replica serves."""

    releases: list[ReleaseDocument]
    degraded: list[str] = Field(description="why something newer is not served; empty when all is well")


class ThresholdDocument(BaseModel):
    """From which score on a label asks for what; null for never."""

    label: str
    review: float | None
    block: float | None


class PolicyDocument(BaseModel):
    """One policy of the release."""

    name: str
    description: str
    is_default: bool = Field(description="for this key")
    on_fault: Literal["pass", "review", "block"]
    labels: list[ThresholdDocument]


class PolicyList(BaseModel):
    """Policies that the key may choose."""

    release: str
    policies: list[PolicyDocument]


class LabelDocument(BaseModel):
    """One label of the semantic library that is scored."""

    label: str
    category: str
    description: str
    parent: str | None
    evidence: bool = Field(description="whether evidence of it is shown")
    calibrated: bool = Field(description="whether its score is a probability")


class LabelList(BaseModel):
    """The library's labels."""

    release: str
    library: str = Field(description="digest of the library")
    labels: list[LabelDocument]


def catalogue_router(service: Service) -> APIRouter:
    """The routes that tell what there is."""
    router = APIRouter(tags=["catalogue"], responses=declared(READING))

    def signed(request: Request) -> Key:
        return service.signed(request, Scope.ANALYZE)

    Signed = Annotated[Key, Depends(signed)]

    @router.get("/v1/releases")
    async def releases(_key: Signed) -> ReleaseList:
        """Who is champion here, and who the challenger."""
        standing = service.standing
        champion = _release("champion", standing.champion.pin, standing.champion.release.manifest.encoder.digest)
        found = [champion.model_copy(update={"since": standing.since})]
        if standing.challenger is not None:
            found.append(_release("challenger", standing.challenger, None))
        return ReleaseList(releases=found, degraded=list(standing.degraded))

    @router.get("/v1/policies")
    async def policies(key: Signed) -> PolicyList:
        """The policies that this key may choose, with their thresholds."""
        champion = service.standing.champion
        default = key.policy(None) or champion.release.manifest.default_policy
        names = [name for name in champion.moderators if key.policies is None or name in key.policies]
        return PolicyList(release=champion.release.id, policies=[_policy(service, name, default) for name in names])

    @router.get("/v1/labels")
    async def labels(_key: Signed) -> LabelList:
        """The labels that are scored."""
        champion = service.standing.champion
        return LabelList(
            release=champion.release.id,
            library=champion.release.manifest.library.digest,
            labels=[LabelDocument(**asdict(facts)) for facts in champion.labels],
        )

    return router


def _release(role: Literal["champion", "challenger"], pin: Pin, encoder: str | None) -> ReleaseDocument:
    facts = pin.model_dump(include={"release", "digest", "version", "alias", "entry"})
    return ReleaseDocument(role=role, encoder=encoder, since=None, **facts)


def _policy(service: Service, name: str, default: str) -> PolicyDocument:
    moderator = service.standing.champion.moderator(name)
    review, block = moderator.policy.thresholds(moderator.labels, moderator.points)
    return PolicyDocument(
        name=name,
        description=moderator.policy.description,
        is_default=name == default,
        on_fault=moderator.policy.on_fault.value,
        labels=[
            ThresholdDocument(label=label, review=_finite(float(low)), block=_finite(float(high)))
            for label, low, high in zip(moderator.labels, review, block, strict=True)
        ],
    )


def _finite(threshold: float) -> float | None:
    return threshold if threshold != float("inf") else None
