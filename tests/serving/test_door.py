"""The door, in front of an application that is easily seen through."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from assay.serving.access_log import access_logger
from assay.serving.door import FACTS, Door, DoorSpec, Gate, Visit
from assay.serving.limits import BatchSpec, LimitSpec
from assay.serving.problem import Code, Problem

SMALL = LimitSpec(
    body_bytes=4096, body_s=0.2, request_s=0.3, requests_at_once=2, bytes_at_once=6000, unsized_bytes_at_once=3000
)


class Behind:
    """An application that reads its body and says how long it was; or does what it is told."""

    def __init__(self, then: Callable[[Scope, Receive, Send], Coroutine[Any, Any, None]] | None = None) -> None:
        self.seen: list[dict[bytes, bytes]] = []
        self._then = then

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.seen.append(dict(scope["headers"]))
        if self._then is not None:
            await self._then(scope, receive, send)
            return
        message = await receive()
        await answer(send, 200, str(len(message["body"])).encode())


async def answer(send: Send, status: int, body: bytes, kind: bytes = b"application/json") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})
    await send({"type": "http.response.body", "body": body})


class Client:
    """One request, and what came back."""

    def __init__(self, *parts: bytes, path: str = "/v1/analyze", slow_s: float = 0, **headers: str) -> None:
        named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": named}
        self._parts, self._slow_s = list(parts), slow_s
        self.status, self.headers, self.body = 0, dict[bytes, bytes](), b""

    async def receive(self) -> Message:
        await asyncio.sleep(self._slow_s)
        if not self._parts:
            await asyncio.Event().wait()
        part = self._parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self._parts)}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            assert not self.status, "answered twice"
            self.status, self.headers = message["status"], dict(message["headers"])
        self.body += message.get("body", b"")

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["code"])


def gate(limits: LimitSpec = SMALL) -> Gate:
    return Gate(DoorSpec(limits=limits, batch=BatchSpec(views=1)))


def ask(client: Client, behind: Behind | None = None, at: Gate | None = None) -> Client:
    asyncio.run(Door(behind or Behind(), at or gate())(client.scope, client.receive, client.send))
    return client


def test_a_body_comes_through_in_one_piece() -> None:
    client = ask(Client(b"ab", b"cd", b"e"))
    assert (client.status, client.body) == (200, b"5")


@pytest.mark.parametrize(
    "name",
    [
        *("x-request-timeout-seconds", "x-request-disconnect-disabled", "X_Request_Timeout_Seconds"),
        *("serve-multiplexed-model-id", "serve_multiplexed_model_id", "x-session-id", "traceparent", "tracestate"),
    ],
)
def test_headers_that_lift_serves_limits_do_not_come_through(name: str) -> None:
    behind = Behind()
    client = Client(b"", x_kept="1")
    client.scope["headers"] += [(name.encode(), b"\xff")]
    ask(client, behind)
    assert name.encode() not in behind.seen[0]
    assert behind.seen[0][b"x-kept"] == b"1"


def test_a_request_id_is_kept_if_it_is_one() -> None:
    assert ask(Client(b"", x_request_id="mine-1")).headers[b"x-request-id"] == b"mine-1"
    for odd in ("a\nb", "", "x" * 200, "<script>"):
        found = ask(Client(b"", x_request_id=odd)).headers[b"x-request-id"]
        assert found != odd.encode()
        assert len(found) == 32


@pytest.mark.parametrize("said", ["5000", "99999999999999"])
def test_a_length_over_the_limit_is_refused_unread(said: str) -> None:
    client = ask(Client(content_length=said))  # no part of it comes
    assert (client.status, client.code) == (413, "too_large")


def test_nothing_is_read_of_who_shows_no_key() -> None:
    def refuse(headers: Headers) -> None:
        if headers.get("x-api-key") != "mine":
            raise Problem(Code.UNAUTHENTICATED, "no key that is known")

    at = gate()
    at.admits = refuse
    stranger = ask(Client(b"abc", content_length="3"), at=at)
    assert (stranger.status, stranger.code, len(stranger._parts)) == (401, "unauthenticated", 1)
    assert ask(Client(b"abc", x_api_key="mine"), at=at).status == 200
    assert ask(Client(b"", path="/healthz"), at=at).status == 200


def test_a_body_without_length_is_counted() -> None:
    at = gate(SMALL.model_copy(update={"unsized_bytes_at_once": 10_000}))
    client = ask(Client(*[bytes(1000)] * 9), at=at)
    assert (client.status, client.code) == (413, "too_large")
    assert at.admission.held == 0


def test_bodies_without_length_share_a_smaller_room() -> None:
    client = ask(Client(bytes(2000), bytes(2000)))
    assert (client.status, client.code) == (429, "overloaded")
    assert client.headers[b"retry-after"] == b"1"


def test_a_slow_body_ends_and_was_in_nobodys_way() -> None:
    at = gate()
    client = ask(Client(b"a", b"b", b"c", slow_s=0.15), at=at)
    assert (client.status, client.code) == (408, "timeout")
    assert at.admission.requests == 0


def test_a_slow_answer_ends_and_what_comes_after_it_goes_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.serving.door.GRACE_S", 0)
    late: list[asyncio.Task[None]] = []

    async def go_on_behind_the_answers_back(_scope: Scope, _receive: Receive, send: Send) -> None:
        async def answer_late() -> None:
            await asyncio.sleep(0.6)
            await answer(send, 200, b"{}")

        late.append(asyncio.create_task(answer_late()))  # as Serve does when it is cancelled
        await asyncio.wait(late)

    async def until_the_end(client: Client) -> None:
        await Door(Behind(go_on_behind_the_answers_back), gate())(client.scope, client.receive, client.send)
        await late[0]

    client = Client(b"")
    asyncio.run(until_the_end(client))
    assert (client.status, client.code) == (408, "timeout")


def test_more_at_once_than_there_are_places_are_refused() -> None:
    async def together() -> list[Client]:
        async def sleep(_scope: Scope, _receive: Receive, send: Send) -> None:
            await asyncio.sleep(0.1)
            await answer(send, 200, b"{}")

        door, clients = Door(Behind(sleep), at), [Client(b"") for _ in range(5)]
        await asyncio.gather(*(door(one.scope, one.receive, one.send) for one in clients))
        return clients

    at = gate()
    found = [client.status for client in asyncio.run(together())]
    assert sorted(found) == [200, 200, 429, 429, 429]
    assert (at.admission.requests, at.admission.held) == (0, 0)


def test_health_is_answered_however_full_it_is() -> None:
    at = gate()
    at.admission.enter()
    at.admission.enter()
    assert ask(Client(b"", path="/readyz"), at=at).status == 200
    assert ask(Client(b""), at=at).status == 429


def test_nobody_can_fill_memory_through_the_health_page() -> None:
    client = ask(Client(*[bytes(10**6)] * 50, path="/healthz"))
    assert (client.status, client.body) == (200, b"0")
    assert len(client._parts) == 50, "nothing of it was read"


PLAIN = {429: (429, "overloaded"), 408: (408, "timeout"), 503: (503, "unavailable"), 500: (500, "internal")}


@pytest.mark.parametrize("status", PLAIN)
def test_serves_own_refusals_become_problems(status: int) -> None:
    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send, status, b"Request dropped due to backpressure", b"text/plain")

    client = ask(Client(b""), Behind(refuse))
    assert (client.status, client.code) == PLAIN[status]
    assert b"backpressure" not in client.body


def test_what_is_announced_and_not_sent_takes_nobodys_room() -> None:
    async def together() -> tuple[int, int]:
        door = Door(Behind(), at)
        silent = [Client(content_length="4000") for _ in range(10)]
        waiting = [asyncio.create_task(door(one.scope, one.receive, one.send)) for one in silent]
        await asyncio.sleep(0.02)
        held, one = at.admission.held, Client(b"abc", content_length="3")
        await door(one.scope, one.receive, one.send)
        for task in waiting:
            await task
        return held, one.status

    at = gate()
    assert asyncio.run(together()) == (0, 200)


def test_a_client_that_leaves_is_no_failure_of_ours() -> None:
    async def leave(_scope: Scope, _receive: Receive, send: Send) -> None:
        await answer(send, 499, b"Client disconnected", b"text/plain")

    at = gate()
    client = ask(Client(b""), Behind(leave), at)
    assert client.status == 0
    assert at.metrics.requests.labels("none", "0")._value.get() == 1
    assert [sample for family in at.metrics.refused.collect() for sample in family.samples] == []


def test_a_failure_behind_the_door_is_a_problem_too() -> None:
    async def fail(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "as Serve fails over a header")

    client = Client(b"")
    with pytest.raises(UnicodeDecodeError):
        ask(client, Behind(fail))
    assert (client.status, client.code) == (500, "internal")


def test_a_client_that_leaves_holds_nothing() -> None:
    class Gone(Client):
        async def receive(self) -> Message:
            return {"type": "http.disconnect"}

    at = gate()
    ask(Gone(content_length="100"), at=at)
    assert (at.admission.requests, at.admission.held) == (0, 0)


def test_the_door_is_gone_through_once() -> None:
    at = gate()
    inner = Door(Behind(), at)
    client = Client(b"abc")
    asyncio.run(Door(inner, at)(client.scope, client.receive, client.send))
    assert client.body == b"3"
    assert at.metrics.requests.labels("none", "200")._value.get() == 1


def test_a_request_has_a_line_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    canary = "assay_canary4711canary4711canary4711"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

    async def tell(scope: Scope, _receive: Receive, send: Send) -> None:
        scope[FACTS].update(key="acme-1", tenant="acme", images=3)
        await answer(send, 200, b"{}")

    client = Client(canary.encode(), authorization=f"Bearer {canary}", traceparent=trace)
    client.scope["query_string"] = canary.encode()
    client.scope["path"] = "/v1/analyze\n{}"
    access_logger().addHandler(caplog.handler)
    try:
        ask(client, Behind(tell))
    finally:
        access_logger().removeHandler(caplog.handler)
    (record,) = [one for one in caplog.records if one.name == access_logger().name]
    told = json.loads(record.getMessage())
    assert canary not in record.getMessage()
    assert "\n" not in record.getMessage()
    assert (told["key"], told["images"], told["status"]) == ("acme-1", 3, 200)
    assert told["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert client.headers[b"x-trace-id"] == told["trace_id"].encode()


def test_a_websocket_is_closed() -> None:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    asyncio.run(Door(Behind(), gate())({"type": "websocket", "path": "/", "headers": []}, receive, send))
    assert [one["type"] for one in sent] == ["websocket.close"]


def test_a_visit_says_its_length_only_when_it_is_a_number() -> None:
    async def nothing(_message: Message) -> None: ...

    for said, length in {"12": 12, "-1": None, "1e3": None, "": None}.items():
        client = Client(b"", content_length=said)
        assert Visit.of(client.scope, client.receive, nothing).length() == length
