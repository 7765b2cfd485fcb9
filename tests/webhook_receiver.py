"""A receiver of webhooks on loopback, that keeps what it was sent and answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from pydantic import SecretStr
from standardwebhooks import Webhook

from assay.registry.webhook import WebhookSpec
from infra.bench.object_store import free_port

SECRET = "whsec_bm90LWEtc2VjcmV0LTQ3MTEtb2YtYS10ZXN0"  # of a receiver that lives as long as a test


@dataclass
class Receiver:
    """What came, and what is answered: the answers given here one after the other, then 204."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    elsewhere: str = ""
    """Where a redirect points."""
    came: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    def spec(self, secret: str = SECRET, tries: int = 1) -> WebhookSpec:
        """Who tells it."""
        return WebhookSpec(url=self.url, secret=SecretStr(secret), tries=tries, timeout_s=5)

    def verified(self, secret: str = SECRET) -> list[dict[str, Any]]:
        """All that came, each held against its signature by the standard's own library."""
        return [Webhook(secret).verify(body, headers) for body, headers in self.came]

    def entries(self) -> list[int]:
        """Numbers of the entries that came, as they came."""
        return [event["data"]["entry"]["number"] for event in self.verified()]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """One that listens, until the end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            known.methods.append(self.command)
            known.came.append((body, {name.lower(): value for name, value in self.headers.items()}))
            status = known.answers.pop(0) if known.answers else 204
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", known.elsewhere)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_said: object) -> None: ...

    known = Receiver()
    with serving(Handler) as port:
        known.url = f"http://127.0.0.1:{port}/assay"
        yield known


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """A server on loopback; its port."""
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def nobody() -> WebhookSpec:
    """A receiver that is away."""
    return WebhookSpec(url=f"http://127.0.0.1:{free_port()}/", secret=SecretStr(SECRET), tries=1, timeout_s=1)
