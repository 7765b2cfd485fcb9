"""Stores that do as told: a bucket in memory, and an HTTP server whose answers are written down beforehand."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

from assay.platform.storage import Storage, StorageSpec

T = TypeVar("T")


@dataclass
class FakeBucket:
    """An S3 client over a set of keys, for laws over many buckets: lists as the S3 reference says, knows no HEAD."""

    keys: Iterable[str]
    page: int = 1000
    requests: list[dict[str, Any]] = field(default_factory=list)
    fail_at: int | None = None
    """The request, counted from 0, that breaks."""

    async def list_objects_v2(self, **asked: Any) -> dict[str, Any]:
        if len(self.requests) == self.fail_at:
            raise ConnectionResetError("as told")
        self.requests.append(asked)
        prefix, delimiter = asked["Prefix"], asked["Delimiter"]
        after = asked.get("ContinuationToken", "")
        entries: dict[str, bool] = {}
        for key in sorted(self.keys, key=lambda key: key.encode()):
            if key.startswith(prefix):
                cut = key.find(delimiter, len(prefix)) if delimiter else -1
                entries[key if cut < 0 else key[: cut + 1]] = cut >= 0
        left = [(name, is_prefix) for name, is_prefix in entries.items() if name.encode() > after.encode()]
        page = left[: self.page]
        return {
            "Contents": [
                {"Key": name, "ETag": f'"{name.encode().hex()}"', "Size": len(name)} for name, is_p in page if not is_p
            ],
            "CommonPrefixes": [{"Prefix": name} for name, is_prefix in page if is_prefix],
            "IsTruncated": len(left) > len(page),
            "NextContinuationToken": page[-1][0] if len(left) > len(page) else None,
        }


class StorageOf(Storage):
    """A storage whose client is given."""

    def __init__(self, client: object) -> None:
        super().__init__(StorageSpec())
        self.client = client

    def request(self, ask: Callable[[Any], Coroutine[Any, Any, T]], **_: object) -> T:
        return asyncio.run(ask(self.client))


@dataclass(frozen=True)
class Answer:
    """What the server says to one request; `promised` is its Content-Length, when it lies."""

    status: int
    body: bytes = b""
    promised: int | None = None
    etag: str = ""

    @classmethod
    def error(cls, status: int, code: str) -> "Answer":
        """An S3 error."""
        return cls(status, f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode())


@dataclass
class ToldServer:
    """An HTTP server that gives the answers it was told, the last one for ever, and remembers what was asked."""

    endpoint: str
    answers: list[Answer]
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers."""

    def storage(self, **fields: object) -> Storage:
        """A storage that asks this server."""
        keys = {"access_key": "key", "secret_key": "not-a-secret", "region": "us-east-1"}
        return Storage(StorageSpec.model_validate({"endpoint": self.endpoint, "retries": 1, **keys, **fields}))


@contextmanager
def told_server(*answers: Answer) -> Iterator[ToldServer]:
    """Serve `answers` on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append((self.command, self.path, dict(self.headers)))
            answer = told.answers.pop(0) if len(told.answers) > 1 else told.answers[0]
            self.send_response(answer.status)
            length = len(answer.body) if answer.promised is None else answer.promised
            self.send_header("Content-Length", str(length))
            if answer.etag:
                self.send_header("ETag", f'"{answer.etag}"')
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)
            self.close_connection = True

        do_HEAD = do_GET  # the name http.server looks for

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = ToldServer(f"http://127.0.0.1:{server.server_port}", list(answers))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
