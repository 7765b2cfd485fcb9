"""The HTTP application: all routes, and how refusals are told.

Knows FastAPI. Does not know Ray: it is given a service.
"""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from assay.serving.analyze_routes import analyze_router
from assay.serving.catalogue_routes import catalogue_router
from assay.serving.door import FACTS
from assay.serving.health_routes import MetricsPage, health_router
from assay.serving.intake import of_errors
from assay.serving.job_desk import JobDesk
from assay.serving.job_routes import job_router
from assay.serving.keys import Key, Scope
from assay.serving.moderations import ModerationRequest
from assay.serving.problem import MEDIA_TYPE, Code, Problem, ProblemDocument
from assay.serving.refusals import READING, declared
from assay.serving.schemas import AnalyzeRequest
from assay.serving.service import Service

OPEN = {"/healthz", "/readyz"}
"""Answered without a key."""
_DOCUMENTS = (AnalyzeRequest, ModerationRequest, ProblemDocument)
"""Those that FastAPI does not see: routes read them themselves, in a thread where they are large, or refuse so."""
_BY_STATUS = {404: Code.NOT_FOUND, 405: Code.METHOD_NOT_ALLOWED}
_ABOUT = "Images held against a library of text: the same verdicts as a batch audit, over HTTP."


def build_api(service: Service, page: MetricsPage, desk: JobDesk) -> FastAPI:
    """The application of one replica. Jobs are judged by the release of the moment, pinned, where they name none."""
    api = FastAPI(title="Assay", version="1", description=_ABOUT, docs_url=None, redoc_url=None, openapi_url=None)

    def signed(request: Request) -> Key:
        return service.signed(request, Scope.JOBS)

    jobs = job_router(desk, signed, lambda: service.standing.champion.pin.ref)
    for router in (analyze_router(service), catalogue_router(service), health_router(service, page), jobs):
        api.include_router(router)

    @api.get("/openapi.json", tags=["catalogue"], responses=declared(READING))
    async def openapi(request: Request) -> dict[str, Any]:
        """This document."""
        service.signed(request, Scope.ANALYZE)
        return api.openapi()

    for kind in (Problem, RequestValidationError, HTTPException, Exception):
        api.add_exception_handler(kind, _refuse)
    document = describe(api)
    api.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return api


def describe(api: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: with the bodies that routes read themselves, and how keys are shown."""
    document = get_openapi(title=api.title, version=api.version, description=api.description, routes=api.routes)
    _, bodies = models_json_schema(
        [(one, "validation") for one in _DOCUMENTS], ref_template="#/components/schemas/{model}"
    )
    document["components"]["schemas"] |= bodies["$defs"]
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["security"] = [] if path in OPEN else [{"bearer": []}, {"header": []}]
    return document


async def _refuse(request: Request, error: Exception) -> Response:
    """Whatever a route raised, as a problem; a failure of ours is written down with its trace by who calls us."""
    problem = _problem(error)
    request.scope.get(FACTS, {})["code"] = problem.code.value
    document = problem.document(request.headers.get("x-request-id", ""))
    return Response(document.model_dump_json(exclude_none=True), problem.status, problem.headers, MEDIA_TYPE)


def _problem(error: Exception) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return of_errors(error.errors())
    if isinstance(error, HTTPException):
        code = _BY_STATUS.get(error.status_code, Code.INVALID)
        return Problem(code, "there is nothing at this path" if code is Code.NOT_FOUND else str(error.detail))
    return Problem(Code.INTERNAL, "the service failed", fix="ask again; if it stays, tell who runs it the request id")
