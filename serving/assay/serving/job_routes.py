"""`/v1/jobs` over HTTP: submitted, followed, listed, stopped.

Knows paths, headers and statuses. Does not know who a key is of, nor what a job is (`job_desk.py`). The desk blocks, so
it is asked in threads: nothing may hold up the loop that answers others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Request, Response

from assay.serving.door import FACTS
from assay.serving.job_desk import JobDesk, Signer
from assay.serving.job_schemas import JobDocument, JobList, JobRequest
from assay.serving.problem import Code
from assay.serving.refusals import declared

KeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="the same request with the same key is one job, however often it is sent",
    ),
]
JobId = Annotated[str, Path(max_length=64, description="the id of a job")]
_READING = (Code.UNAUTHENTICATED, Code.FORBIDDEN, Code.RATE_LIMITED, Code.UNAVAILABLE)
_FINDING = (*_READING, Code.NOT_FOUND, Code.INVALID)
_SUBMITTING = (*_READING, Code.PLACE_REFUSED, Code.CONFLICT, Code.INVALID, Code.TOO_LARGE)


def job_router(
    desk: JobDesk, signed: Callable[[Request], Signer | Awaitable[Signer]], release: Callable[[], str]
) -> APIRouter:
    """The routes. `signed` tells whose a request is, and refuses those whose key may not have jobs; `release` names the
    one the service has now, pinned."""
    router = APIRouter(tags=["jobs"])
    signer = Depends(signed)

    @router.post("/v1/jobs", status_code=202, responses=declared(_SUBMITTING) | {200: _SAME})
    async def submit_job(
        asked: JobRequest,
        request: Request,
        response: Response,
        idempotency_key: KeyHeader = None,
        who: Any = signer,
    ) -> JobDocument:
        """Submit a backfill or a re-audit."""
        answer = await asyncio.to_thread(desk.submit, who, asked, idempotency_key, release())
        request.scope.get(FACTS, {})["job"] = answer.job.id  # beside the trace id, in the access log
        response.headers["location"] = request.url_for("read_job", job_id=answer.job.id).path
        response.status_code = 202 if answer.is_new else 200
        return answer.job

    @router.get("/v1/jobs", responses=declared(_READING))
    async def list_jobs(who: Any = signer) -> JobList:
        """List the tenant's jobs, the newest first."""
        return JobList(jobs=await asyncio.to_thread(desk.jobs, who))

    @router.get("/v1/jobs/{job_id}", responses=declared(_FINDING))
    async def read_job(job_id: JobId, who: Any = signer) -> JobDocument:
        """Tell how a job is."""
        return await asyncio.to_thread(desk.job, who, job_id)

    @router.delete("/v1/jobs/{job_id}", status_code=202, responses=declared(_FINDING))
    async def stop_job(job_id: JobId, who: Any = signer) -> JobDocument:
        """Ask a job to commit and end. What it committed stays."""
        return await asyncio.to_thread(desk.stop, who, job_id)

    return router


_SAME: dict[str, Any] = {"model": JobDocument, "description": "the same request came with the same key before"}
