"""A reverse proxy before a real S3 server that does what failing networks and stores do: by chance, by script, for a
while.

Every request is passed on as it came: its Host (signatures cover it), its body, chunked or whole. One thread for each
connection of a client, with one connection of its own to the server.
"""

import contextlib
import http.client
import random
import re
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials


class FaultOf(StrEnum):
    """What may be done to a request, or to its answer."""

    INTERNAL = "500"
    SLOW_DOWN = "503 SlowDown"
    TOO_MANY = "429"
    DENIED = "403 as throttling"
    EXPIRED = "expired token"
    SKEWED = "clock skew"
    RESET = "reset before forwarding"
    LOST_ANSWER = "reset after forwarding a read"
    LOST_ACK = "reset after forwarding a write"
    TRUNCATED = "body cut short"
    FLIPPED = "bit flipped in a body"
    TRICKLE = "1 KB/s"


ANSWERS = {
    FaultOf.INTERNAL: (500, "InternalError"),
    FaultOf.SLOW_DOWN: (503, "SlowDown"),
    FaultOf.TOO_MANY: (429, "TooManyRequests"),
    FaultOf.DENIED: (403, "AccessDenied"),
    FaultOf.EXPIRED: (403, "ExpiredToken"),
    FaultOf.SKEWED: (403, "RequestTimeTooSkewed"),
}
"""Faults that are answers of the store; the request is not passed on."""

WEIGHTS: Mapping[FaultOf, float] = {
    FaultOf.INTERNAL: 5,
    FaultOf.SLOW_DOWN: 5,
    FaultOf.DENIED: 1,
    FaultOf.RESET: 2,
    FaultOf.LOST_ANSWER: 1,
    FaultOf.LOST_ACK: 2,
    FaultOf.TRUNCATED: 2,
    FaultOf.FLIPPED: 1,
    FaultOf.TRICKLE: 0.5,
}
"""How often each befalls a request that it can befall, against the others."""

IMAGE = re.compile(r"\.jpg$")
BYTES_PER_S = 1000
WRITES = frozenset({"PUT", "POST", "DELETE"})


@dataclass
class FaultProxy:
    """The proxy of one server: what it is to do, and what it has seen."""

    upstream: str
    """The server's endpoint."""
    rate: float = 0.0
    """Share of requests that a fault befalls."""
    weights: Mapping[FaultOf, float] = field(default_factory=lambda: dict(WEIGHTS))
    seed: int = 0
    stripped: frozenset[str] = frozenset()
    """Names of request headers, in lower case, that do not reach the server; what is left is signed anew."""
    keys: tuple[str, str] = ("", "")
    """Access key and secret key to sign with."""
    before: Callable[[int, str, str], None] = lambda _k, _method, _path: None
    """Told the number (from 1), method and path of every request before it is passed on."""
    after: Callable[[int, str, str], None] = lambda _k, _method, _path: None
    """Told the same when the server has answered, before the client hears of it."""

    endpoint: str = ""
    connections: int = 0
    """Connections that clients have opened."""
    requests: Counter[str] = field(default_factory=Counter)
    """Requests that came, by method."""
    faults: Counter[FaultOf] = field(default_factory=Counter)
    """Faults that befell them."""
    asked: list[tuple[str, str]] = field(default_factory=list)
    """Method and path of every request that came."""
    script: deque[FaultOf | None] = field(default_factory=deque)
    """What is to befall the next requests, one each; chance decides when there is nothing left."""
    scripted: re.Pattern[str] = re.compile("")
    """Paths the script, and the window, speak of."""
    window: FaultOf | None = None
    """What befalls every request for the time being."""
    away: bool = False
    """Whether connections are reset for the time being."""

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._turn = threading.Lock()

    def reseed(self, seed: int) -> None:
        """Begin another sequence of chances."""
        with self._turn:
            self._chance = random.Random(seed)

    def expire_for(self, seconds: float, fault: FaultOf = FaultOf.EXPIRED) -> threading.Timer:
        """Let a fault befall every request for a while that begins now."""
        self.window = fault
        timer = threading.Timer(seconds, lambda: setattr(self, "window", None))
        timer.start()
        return timer

    def go_away_for(self, seconds: float) -> threading.Timer:
        """Reset every connection for a while that begins now."""
        self.away = True
        timer = threading.Timer(seconds, lambda: setattr(self, "away", False))
        timer.start()
        return timer

    def arrive(self, method: str, path: str) -> tuple[int, FaultOf | None]:
        """The number of a request, and what is to befall it."""
        with self._turn:
            self.requests[method] += 1
            self.asked.append((method, path))
            fault = self._fault(method, path)
            if fault is not None:
                self.faults[fault] += 1
            return len(self.asked), fault

    def _fault(self, method: str, path: str) -> FaultOf | None:
        spoken_of = self.scripted.search(path) is not None
        if self.window is not None and spoken_of:
            return self.window
        if self.script and spoken_of:
            return self.script.popleft()
        if self._chance.random() >= self.rate:
            return None
        can = {fault: weight for fault, weight in self.weights.items() if _can_befall(fault, method, path)}
        return self._chance.choices(list(can), list(can.values()))[0] if can else None


def _can_befall(fault: FaultOf, method: str, path: str) -> bool:
    if fault is FaultOf.LOST_ACK:
        return method in WRITES
    if fault is FaultOf.FLIPPED:  # elsewhere a flipped bit is not the store's clients' to find
        return method == "GET" and IMAGE.search(path) is not None
    if fault in {FaultOf.TRUNCATED, FaultOf.TRICKLE}:
        return method == "GET"
    return fault is not FaultOf.LOST_ANSWER or method not in WRITES


@contextmanager
def fault_proxy(upstream: str, **settings: object) -> Iterator[FaultProxy]:
    """Serve on loopback, before the server at `upstream`."""
    proxy = FaultProxy(upstream, **settings)  # type: ignore[arg-type]  # fields of the proxy, by name
    server = _Server(("127.0.0.1", 0), _Handler)
    server.proxy = proxy
    proxy.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, name="proxy", daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        server.drop_all()
        thread.join()


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    proxy: FaultProxy

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        self.open: set[socket.socket] = set()
        self.handlers: set[threading.Thread] = set()
        super().__init__(address, handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave, and servers that go away, are what this is for."""

    def drop_all(self) -> None:
        """End the conversations under way, and wait for their threads."""
        for client in list(self.open):
            with contextlib.suppress(OSError):  # it has just ended by itself
                client.shutdown(socket.SHUT_RDWR)
        for thread in list(self.handlers):
            thread.join(5)


@dataclass(frozen=True)
class _Answer:
    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.proxy = self.server.proxy
        self.proxy.connections += 1
        self.server.open.add(self.connection)
        self.server.handlers.add(threading.current_thread())
        place = urlsplit(self.proxy.upstream)
        self.behind = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)

    def finish(self) -> None:
        self.behind.close()
        self.server.open.discard(self.connection)
        self.server.handlers.discard(threading.current_thread())
        with contextlib.suppress(OSError):  # the client may be gone
            super().finish()

    def _relay(self) -> None:
        body = self._body()
        number, fault = self.proxy.arrive(self.command, self.path)
        try:
            if self.proxy.away or fault is FaultOf.RESET:
                self._drop()
            elif fault in ANSWERS:
                self._say(_refusal(fault))
            else:
                self._pass_on(number, fault, body)
        except (OSError, http.client.HTTPException):
            self._drop()

    def _pass_on(self, number: int, fault: FaultOf | None, body: bytes) -> None:
        self.proxy.before(number, self.command, self.path)
        answer = self._forward(body)
        self.proxy.after(number, self.command, self.path)
        if fault in {FaultOf.LOST_ANSWER, FaultOf.LOST_ACK}:
            self._drop()
        else:
            self._say(answer, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _relay  # the names http.server looks for

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(parts)

    def _forward(self, body: bytes) -> _Answer:
        try:
            return self._ask(body)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            self.behind.close()  # the server had ended an idle connection
            return self._ask(body)

    def _ask(self, body: bytes) -> _Answer:
        chunked = self.headers.get("Transfer-Encoding", "").lower() == "chunked"
        self.behind.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self._headers(body):
            self.behind.putheader(name, value)
        self.behind.endheaders(body or None, encode_chunked=chunked)
        if chunked and not body:
            self.behind.send(b"0\r\n\r\n")
        found = self.behind.getresponse()
        dropped = {"transfer-encoding", "connection", "keep-alive"}
        headers = [(name, value) for name, value in found.getheaders() if name.lower() not in dropped]
        return _Answer(found.status, found.reason, headers, found.read())

    def _headers(self, body: bytes) -> list[tuple[str, str]]:
        dropped = {"expect", "connection"} | self.proxy.stripped
        kept = [(name, value) for name, value in self.headers.items() if name.lower() not in dropped]
        if not self.proxy.stripped & {name.lower() for name in self.headers}:
            return kept
        signed = AWSRequest(self.command, f"http://{self.headers['Host']}{self.path}", dict(kept), body)
        signed.context["payload_signing_enabled"] = False
        del signed.headers["Authorization"]
        S3SigV4Auth(Credentials(*self.proxy.keys), "s3", "us-east-1").add_auth(signed)
        return list(signed.headers.items())

    def _say(self, answer: _Answer, fault: FaultOf | None = None) -> None:
        self.send_response_only(answer.status, answer.reason)
        lengths = [name for name, _ in answer.headers if name.lower() == "content-length"]
        bare = self.command == "HEAD" or answer.status in {204, 304}
        for name, value in answer.headers:
            self.send_header(name, value)
        if not lengths and not bare:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if bare:
            return
        if fault is FaultOf.TRUNCATED and answer.body:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
        elif fault is FaultOf.TRICKLE:
            self._trickle(answer.body)
        elif fault is FaultOf.FLIPPED and answer.body:
            self.wfile.write(self._flipped(answer.body))
        else:
            self.wfile.write(answer.body)

    def _trickle(self, body: bytes) -> None:
        step = BYTES_PER_S // 10
        for start in range(0, len(body), step):
            time.sleep(0.1)
            self.wfile.write(body[start : start + step])

    def _flipped(self, body: bytes) -> bytes:
        with self.proxy._turn:
            place = self.proxy._chance.randrange(len(body))
        return body[:place] + bytes([body[place] ^ 0x10]) + body[place + 1 :]

    def _drop(self) -> None:
        """Reset the connection: the client sees neither an answer nor an end."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def _refusal(fault: FaultOf) -> _Answer:
    status, code = ANSWERS[fault]
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>as told</Message></Error>".encode()
    return _Answer(status, code, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))], body)
