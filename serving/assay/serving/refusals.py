"""Refusals as OpenAPI is told of them. Knows documents only; `problem.py` has the codes."""

from typing import Any

from assay.serving.problem import KINDS, MEDIA_TYPE, Code, ProblemDocument

READING = (Code.UNAUTHENTICATED, Code.FORBIDDEN)
JUDGING = (
    *READING,
    *(Code.INVALID, Code.UNKNOWN_POLICY, Code.URL_REFUSED, Code.TOO_LARGE, Code.UNSUPPORTED_MEDIA_TYPE),
    *(Code.TIMEOUT, Code.RATE_LIMITED, Code.OVERLOADED, Code.UNAVAILABLE),
)


def declared(codes: tuple[Code, ...]) -> dict[int | str, dict[str, Any]]:
    """What a route may refuse with; one status may have several codes. `ingress.py` adds the document itself."""
    schema = {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}
    told: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        status = KINDS[code].status
        named = [one for one in codes if KINDS[one].status == status]
        about = "; ".join(f"`{one}`: {KINDS[one].title}" for one in named)
        told[status] = {"description": about, "content": {MEDIA_TYPE: schema}}
    return told
