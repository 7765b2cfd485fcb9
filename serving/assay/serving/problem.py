"""Answers that say no: problem documents (RFC 9457), each kind with a code that never changes.

Knows which refusals there are, their status and what to do about them. Does not know who refuses, nor HTTP servers.
What is wrong with one image is no problem of a request: it is that image's outcome, in the words of the batch rows.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, Field

from assay.platform.errors import AssayError

MEDIA_TYPE = "application/problem+json"
TYPE = "urn:assay:problem:"


class Code(StrEnum):
    """What is wrong with a request, in one word that clients may rely on."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    TIMEOUT = "timeout"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    UNKNOWN_POLICY = "unknown_policy"
    URL_REFUSED = "url_refused"
    PLACE_REFUSED = "place_refused"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Kind:
    """Status and title of a code; `title` is the same for every occurrence."""

    status: int
    title: str


KINDS: dict[Code, Kind] = {
    Code.INVALID: Kind(422, "The request cannot be understood"),
    Code.UNAUTHENTICATED: Kind(401, "No key, or none that is known"),
    Code.FORBIDDEN: Kind(403, "The key does not allow this"),
    Code.NOT_FOUND: Kind(404, "There is no such thing"),
    Code.METHOD_NOT_ALLOWED: Kind(405, "Not with this method"),
    Code.TIMEOUT: Kind(408, "The request took too long"),
    Code.CONFLICT: Kind(409, "It was asked for before, otherwise"),
    Code.TOO_LARGE: Kind(413, "More than one request may bring"),
    Code.UNSUPPORTED_MEDIA_TYPE: Kind(415, "Not a content type that is read"),
    Code.UNKNOWN_POLICY: Kind(422, "The release has no such policy"),
    Code.URL_REFUSED: Kind(422, "The URL is none that is fetched"),
    Code.PLACE_REFUSED: Kind(403, "No place that this key may use"),
    Code.RATE_LIMITED: Kind(429, "More requests than the key allows"),
    Code.OVERLOADED: Kind(429, "The service has more than it can do"),
    Code.INTERNAL: Kind(500, "The service failed"),
    Code.UNAVAILABLE: Kind(503, "The service cannot answer now"),
}


class Problem(AssayError):
    """A request that is refused. `where` names the field, `retry_after_s` when trying again may help."""

    def __init__(
        self,
        code: Code,
        what: str,
        *,
        where: str = "",
        why: str = "",
        fix: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(what, where=where, why=why, fix=fix)
        self.code, self.retry_after_s = code, retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (self.code, self.what, self.where, self.why, self.fix, self.retry_after_s)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return KINDS[self.code].status

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer, besides its type."""
        headers = {"cache-control": "no-store"}
        if self.retry_after_s is not None:
            headers["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.code is Code.UNAUTHENTICATED:
            headers["www-authenticate"] = 'Bearer realm="assay"'
        return headers

    def document(self, request_id: str) -> "ProblemDocument":
        """The problem as it is sent."""
        detail = ". ".join(part for part in (self.what, self.why) if part)
        return ProblemDocument(
            type=TYPE + self.code,
            title=KINDS[self.code].title,
            status=self.status,
            code=self.code,
            detail=detail,
            field=self.where or None,
            fix=self.fix or None,
            request_id=request_id,
        )


class ProblemDocument(BaseModel):
    """A refusal as `application/problem+json`."""

    type: str = Field(description="urn:assay:problem:CODE")
    title: str
    status: int
    code: Code
    detail: str = Field(description="what is wrong with this request, and why")
    field: str | None = Field(None, description="where in the request")
    fix: str | None = Field(None, description="what to do about it")
    request_id: str


def _rebuild(code: Code, what: str, where: str, why: str, fix: str, retry_after_s: float | None) -> Problem:
    return Problem(code, what, where=where, why=why, fix=fix, retry_after_s=retry_after_s)
