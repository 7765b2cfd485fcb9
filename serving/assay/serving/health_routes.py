"""Whether the service lives, is ready, and what it counts. Knows no image."""

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from assay.serving.keys import Scope
from assay.serving.metrics import CONTENT_TYPE
from assay.serving.refusals import READING, declared
from assay.serving.service import Service

MetricsPage = Callable[[], Awaitable[bytes]]


class Live(BaseModel):
    """The process answers."""

    live: bool = True


class Ready(BaseModel):
    """A release is loaded, has encoded, and got the golden image right."""

    ready: bool = True
    degraded: bool = Field(description="whether something newer could not be taken on; what was there before serves")
    why: list[str] = Field(description="without a key: how many reasons; `/v1/releases` tells them")
    release: str


def health_router(service: Service, page: MetricsPage) -> APIRouter:
    """The routes for who watches."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> Live:
        """Whether the process answers. Needs no key."""
        return Live()

    @router.get("/readyz")
    async def readyz() -> Ready:
        """Whether the release was loaded, proven and answers. Needs no key. A replica that is not ready gets no
        requests, so that this one is only answered by those that are."""
        degraded = service.standing.degraded
        why = [f"{len(degraded)} reasons"] if degraded else []
        return Ready(degraded=bool(degraded), why=why, release=service.standing.champion.release.id)

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {CONTENT_TYPE: {"schema": {"type": "string"}}}}, **declared(READING)},
    )
    async def metrics(request: Request) -> Response:
        """All replicas' numbers, as Prometheus reads them; needs a key with the scope `admin`."""
        service.signed(request, Scope.ADMIN)
        return Response(await page(), media_type=CONTENT_TYPE)

    return router
