"""`/v1/analyze` and `/v1/moderations`: images in, verdicts out.

Knows paths and statuses. Does not know how images are judged (`service.py`).
"""

from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from assay.serving.documents import image_document
from assay.serving.intake import Asked, read_asked, understood
from assay.serving.keys import Scope
from assay.serving.moderations import ModerationRequest, ModerationResponse, policy_of, read_moderation, result_of
from assay.serving.problem import Code, Problem
from assay.serving.refusals import JUDGING, declared
from assay.serving.schemas import POLICY_NAME, AnalyzeRequest, AnalyzeResponse
from assay.serving.service import Bound, Service

_FILE = {"type": "string", "format": "binary"}
_OPTIONS = {
    "policy": {"type": "string", "pattern": POLICY_NAME, "maxLength": 64},
    **{name: {"type": "boolean"} for name in ("evidence", "embeddings")},
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "image/*": {"schema": _FILE},
            "application/octet-stream": {"schema": _FILE},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": _FILE, "minItems": 1}, **_OPTIONS},
                    "required": ["image"],
                }
            },
            "application/json": {"schema": {"$ref": f"#/components/schemas/{AnalyzeRequest.__name__}"}},
        },
    },
    "parameters": [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": "for a raw body or a form"}
        for name, schema in _OPTIONS.items()
    ],
}
_MODERATIONS: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{ModerationRequest.__name__}"}},
        },
    }
}


def analyze_router(service: Service) -> APIRouter:
    """The routes that judge."""
    router = APIRouter(tags=["images"])
    most = service.args.limits.images

    @router.post("/v1/analyze", response_model=AnalyzeResponse, responses=declared(JUDGING), openapi_extra=_BODY)
    async def analyze(request: Request) -> Response:
        """Judge one or many images under one policy."""
        key = service.signed(request, Scope.ANALYZE)
        asked = await read_asked(request, most)
        bound = await service.judge(request, key, asked.posted, asked.options.policy)
        return _json(_answer(request, asked, bound), bound)

    @router.post(
        "/v1/moderations",
        response_model=ModerationResponse,
        responses=declared(JUDGING),
        openapi_extra=_MODERATIONS,
    )
    async def moderations(request: Request) -> Response:
        """OpenAI's moderation API, for images: its official clients work unchanged. Text alone is refused."""
        key = service.signed(request, Scope.ANALYZE)
        _expect_json(request)
        body = await request.body()
        posted, model = await understood(partial(read_moderation, body, most), body)
        bound = await service.judge(request, key, posted, policy_of(model))
        labels = bound.champion.moderator(bound.policy).labels
        results = [result_of(one, labels) for one in bound.judged]
        answer = ModerationResponse(id=f"modr-{_id(request)}", model=bound.champion.release.id, results=results)
        return _json(answer, bound)

    return router


def _answer(request: Request, asked: Asked, bound: Bound) -> AnalyzeResponse:
    pairs = zip(asked.posted, bound.judged, strict=True)
    return AnalyzeResponse(
        release=bound.champion.release.id,
        policy=bound.policy,
        request_id=_id(request),
        images=[
            image_document(at, posted.id, judged, asked.options, bound.champion)
            for at, (posted, judged) in enumerate(pairs)
        ],
    )


def _json(answer: AnalyzeResponse | ModerationResponse, bound: Bound) -> Response:
    headers = {
        "x-assay-release": bound.champion.release.id,
        "x-assay-policy": bound.policy,
        "cache-control": "no-store",
    }
    return Response(answer.model_dump_json(), media_type="application/json", headers=headers)


def _id(request: Request) -> str:
    return request.headers.get("x-request-id", "")


def _expect_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        why = f"content-type is {kind[:80]!r}"
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "the body is not JSON", why=why, fix="send application/json")
