"""The door: what every request goes through before anything else of the service, and Ray Serve, sees it.

Knows sizes, deadlines, headers and refusals, as plain ASGI: Serve's replicas put it in front of their own handling
(`RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`), because Serve reads bodies without a bound and lets clients lift its
timeouts by header. Does not know what a body means.

A body is read whole before a request takes one of the replica's places: who uploads slowly is in nobody's way.
"""

import asyncio
import os
import re
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assay.platform.spec import Spec
from assay.serving.access_log import access_logger, trace_of, write_line
from assay.serving.admission import Admission
from assay.serving.limits import BatchSpec, LimitSpec
from assay.serving.metrics import Metrics
from assay.serving.problem import MEDIA_TYPE, Code, Problem

MARK, FACTS = "assay.door", "assay.facts"
"""Keys of the ASGI scope: that a request came through the door, and what the service tells the access log of it."""
CALLBACK = "assay.serving.door:doors"
VARIABLE = "ASSAY_DOOR"
UNCOUNTED = {"/healthz", "/readyz", "/metrics", "/-/healthz", "/-/routes"}
"""Answered however busy the replica is: whoever watches it must see it."""
_STRIPPED = {
    *(b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"x-session-id", b"serve-session-id"),
    *(b"serve-multiplexed-model-id", b"x-request-id"),
}
"""Headers that Serve obeys, whoever sends them; it takes _ for -, and breaks over bytes that are no UTF-8."""
_TRACE = {b"traceparent", b"tracestate"}
LEFT = 499
"""How Serve says that the client has left."""
GRACE_S = 2.0
_REQUEST_ID = re.compile(rb"[A-Za-z0-9_.:-]{1,128}")
_NOT_OURS = {429: Code.OVERLOADED, 408: Code.TIMEOUT, 503: Code.UNAVAILABLE, 404: Code.NOT_FOUND}
"""Serve's own refusals, which are plain text."""


class DoorSpec(Spec):
    """What the door keeps, as a replica's environment tells it."""

    limits: LimitSpec = LimitSpec()
    batch: BatchSpec = BatchSpec()


class Left(Exception):  # no error of anybody's
    """The client left before its request was whole."""


class Gate:
    """One process's door and the service behind it share these."""

    def __init__(self, spec: DoorSpec) -> None:
        self.spec, self.metrics = spec, Metrics()
        self.admission = Admission(spec.limits, spec.batch, self.metrics)
        self.admits: Callable[[Headers], object] = _anybody
        """Raises Problem for who shows no key that is known: nothing of their bodies is read. The service says it."""


def _anybody(_headers: Headers) -> None:
    """While there is no service yet."""


@cache
def this_gate() -> Gate:
    """The gate of this process, as its environment says."""
    return Gate(DoorSpec.model_validate_json(os.environ.get(VARIABLE, "{}")))


def doors() -> list[Middleware]:
    """What Serve puts in front of a replica; it calls this in the replica's own process."""
    return [Middleware(Door, gate=this_gate())]


class Door:
    """An ASGI application in front of another."""

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it."""
        if scope["type"] == "lifespan" or MARK in scope:
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        visit = Visit.of(scope, receive, send)
        try:
            await self._serve(visit)
        except Problem as problem:
            await visit.refuse(problem)
        except Left:
            visit.scope[FACTS]["left"] = True
        except Exception:
            await visit.refuse(Problem(Code.INTERNAL, "the service failed", fix="ask again"))
            raise
        finally:
            self._leave(visit)

    async def _serve(self, visit: "Visit") -> None:
        limits = self._gate.spec.limits
        if visit.path in UNCOUNTED:
            visit.bring(b"")
            await self._app(visit.scope, visit.receive_nothing, visit.send)
            return
        self._gate.admits(Headers(scope=visit.scope))
        try:
            body = await self._body(visit)
        except TimeoutError:
            what = f"the body was not here within {limits.body_s:g} s"
            raise Problem(Code.TIMEOUT, what, fix="send it faster, or less of it") from None
        visit.bring(body)
        visit.enter(self._gate.admission)
        try:
            # The service keeps the deadline itself, and in order; this is for whatever else hangs behind the door.
            async with asyncio.timeout(limits.request_s + GRACE_S):
                await self._app(visit.scope, visit.receive, visit.send)
        except TimeoutError:
            raise too_late(limits.request_s) from None
        finally:
            visit.leave()

    async def _body(self, visit: "Visit") -> bytes:
        """The whole body, held against the limits while it comes."""
        limit, said = self._gate.spec.limits.body_bytes, visit.length()
        if said is not None and said > limit:
            raise _too_large(f"{said} bytes", limit)
        parts, size = [], 0
        async with asyncio.timeout(self._gate.spec.limits.body_s):
            async for part in visit.parts():
                size += len(part)
                if size > limit:
                    raise _too_large(f"over {limit} bytes", limit)
                # Only what is here: who says much and sends nothing takes nobody's room.
                visit.hold(self._gate.admission, len(part), unsized=said is None)
                parts.append(part)
        return b"".join(parts)

    def _leave(self, visit: "Visit") -> None:
        visit.let_go(self._gate.admission)
        if visit.path in UNCOUNTED:
            return
        metrics, facts = self._gate.metrics, visit.scope[FACTS]
        route = str(getattr(visit.scope.get("route"), "path", "none"))
        seconds = time.monotonic() - visit.began
        metrics.requests.labels(route, str(visit.status)).inc()
        metrics.seconds.labels(route).observe(seconds)
        if "code" in facts:
            metrics.refused.labels(str(facts["code"])).inc()
        line = {"method": visit.scope["method"], "path": visit.path[:200], "status": visit.status}
        line |= {"seconds": round(seconds, 4), "bytes": visit.size, "request_id": visit.request_id}
        write_line(access_logger(), "request", line | {"trace_id": visit.trace_id, **facts})


@dataclass
class Visit:
    """One request at the door: what it brought, what it holds, and how it was answered."""

    scope: Scope
    request_id: str
    trace_id: str | None
    _receive: Receive
    _send: Send
    began: float = field(default_factory=time.monotonic)
    status: int = 0
    """Of the answer; 0 when there was none, because the client left."""
    size: int = 0
    _body: bytes | None = None
    _held: int = 0
    _unsized: bool = False
    _place: Admission | None = None
    _gone: bool = False
    """Whether the client left; nobody hears what is answered."""
    _replacing: Problem | None = None
    """What was answered instead of anything that still comes."""

    @classmethod
    def of(cls, scope: Scope, receive: Receive, send: Send) -> "Visit":
        """A request, without the headers by which clients could lift limits."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"")
        request_id = asked if _REQUEST_ID.fullmatch(asked) else uuid.uuid4().hex.encode()
        trace = trace_of(headers.get(b"traceparent"))
        stripped = _STRIPPED if trace else _STRIPPED | _TRACE
        kept = [one for one in scope["headers"] if one[0].lower().replace(b"_", b"-") not in stripped]
        ours: dict[str, Any] = {"headers": [*kept, (b"x-request-id", request_id)], MARK: True, FACTS: {}}
        return cls({**scope, **ours}, request_id.decode(), trace, receive, send)

    @property
    def path(self) -> str:
        """Of the URL, without its query."""
        return str(self.scope["path"])

    def length(self) -> int | None:
        """The body's size as the head says it; None when it does not."""
        said = dict(self.scope["headers"]).get(b"content-length", b"")
        return int(said) if said.isdigit() else None

    async def parts(self) -> Any:
        """The body as it comes."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Left
            self.size += len(message.get("body", b""))
            yield message.get("body", b"")
            if not message.get("more_body", False):
                return

    def hold(self, admission: Admission, num_bytes: int, *, unsized: bool) -> None:
        """Hold bytes until `let_go`."""
        admission.hold(num_bytes, unsized=unsized)
        self._held += num_bytes
        self._unsized = unsized

    def let_go(self, admission: Admission) -> None:
        """Hold nothing any more."""
        admission.release(self._held, unsized=self._unsized)
        self._held, self._body = 0, None

    def enter(self, admission: Admission) -> None:
        """Take one of the replica's places."""
        admission.enter()
        self._place = admission

    def leave(self) -> None:
        """Give the place back. Again is harmless."""
        if self._place is not None:
            self._place.leave()
            self._place = None

    def bring(self, body: bytes) -> None:
        """What `receive` gives first."""
        self._body = body

    async def receive(self) -> Message:
        """The body in one piece; after it only that the client left."""
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def receive_nothing(self) -> Message:
        """No body, whatever comes: Serve would hold it all. Not even that the client left: there is no time to."""
        if self._body is None:
            await asyncio.Event().wait()
        return await self.receive()

    async def send(self, message: Message) -> None:
        """Pass an answer on, with its request id; a plain refusal of Serve's becomes a problem."""
        if self._replacing is not None or self._gone:
            return
        if message["type"] == "http.response.start":
            headers = dict(message.get("headers", []))
            if message["status"] == LEFT:
                self._gone = True
                self.scope[FACTS]["left"] = True
                return
            if message["status"] >= 400 and headers.get(b"content-type", b"").startswith(b"text/plain"):
                await self.refuse(_of_serve(message["status"]))
                return
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", []), *self._marks(headers)]}
        elif not message.get("more_body", False):
            self.leave()  # before the client knows: it may ask again sooner than this task is done
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, if nothing was answered yet."""
        if self.status:
            return
        self.status, self._replacing = problem.status, problem
        self.scope[FACTS]["code"] = problem.code.value
        body = problem.document(self.request_id).model_dump_json(exclude_none=True).encode()
        told = {"content-type": MEDIA_TYPE, "content-length": str(len(body)), **problem.headers}
        headers = [(name.encode(), value.encode()) for name, value in told.items()]
        await self._send(
            {"type": "http.response.start", "status": problem.status, "headers": [*headers, *self._marks({})]}
        )
        await self._send({"type": "http.response.body", "body": body})

    def _marks(self, there: dict[bytes, bytes]) -> Iterable[tuple[bytes, bytes]]:
        marks = {b"x-request-id": self.request_id.encode(), b"x-content-type-options": b"nosniff"}
        if self.trace_id is not None:
            marks[b"x-trace-id"] = self.trace_id.encode()
        return ((name, value) for name, value in marks.items() if name not in there)


def too_late(request_s: float) -> Problem:
    """The answer took too long."""
    return Problem(Code.TIMEOUT, f"no answer within {request_s:g} s", fix="ask for fewer images at once, or later")


def _too_large(what: str, limit: int) -> Problem:
    why = f"a request may bring {limit} bytes"
    return Problem(Code.TOO_LARGE, f"the body has {what}", why=why, fix="send fewer or smaller images")


def _of_serve(status: int) -> Problem:
    code = _NOT_OURS.get(status, Code.INTERNAL)
    retry = 1.0 if code in {Code.OVERLOADED, Code.UNAVAILABLE} else None
    return Problem(code, "the service did not take the request", fix="ask again", retry_after_s=retry)
