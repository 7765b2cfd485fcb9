"""Servers of images on loopback, and a watch over every connection that is opened and every name that is asked for."""

import asyncio
import socket
import ssl
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
PUBLIC = "93.184.215.14"
"""An address of the public internet; no test connects to it."""
LOCAL = ("127.0.0.1", "::1")


@dataclass
class ImageServer:
    """A server on loopback, and what it was asked."""

    port: int = 0
    asked: list[web.BaseRequest] = field(default_factory=list)

    @property
    def origin(self) -> str:
        """Where it is, without TLS."""
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def image_server(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[ImageServer]:
    """One that answers as `handler` does."""
    known = ImageServer()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        known.asked.append(request)
        return await handler(request)

    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    known.port = runner.addresses[0][1]
    try:
        yield known
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw_server(answer: bytes, hold_s: float = 0.0) -> AsyncIterator[ImageServer]:
    """One that says these very bytes to whoever connects, and hangs up after a while."""
    known, ended, talks = ImageServer(), asyncio.Event(), list[asyncio.Task[Any] | None]()

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with suppress(TimeoutError, ConnectionError):
            await writer.drain()
            await asyncio.wait_for(ended.wait(), hold_s)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    known.port = server.sockets[0].getsockname()[1]
    async with server:
        yield known
        ended.set()
        await asyncio.gather(*(talk for talk in talks if talk))


@dataclass
class Watch:
    """Addresses that a connection was opened to, and names that the system was asked for."""

    opened: list[str] = field(default_factory=list)
    named: list[str] = field(default_factory=list)


def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """Watch this process. Nothing leaves the machine: other addresses than loopback refuse."""
    seen, connect, resolve = Watch(), BaseSelectorEventLoop.sock_connect, socket.getaddrinfo

    async def sock_connect(loop: BaseSelectorEventLoop, sock: socket.socket, address: tuple[str, int]) -> None:
        seen.opened.append(address[0])
        if address[0] not in LOCAL:
            raise ConnectionRefusedError(111, "not in a test")
        await connect(loop, sock, address)

    def getaddrinfo(host: Any, *rest: Any, **more: Any) -> Any:
        if host not in LOCAL:
            seen.named.append(str(host))
        return resolve(host, *rest, **more)

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", sock_connect)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return seen


@dataclass
class Names:
    """A DNS of our own: answers one after the other, the last again and again; every other name is loopback."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, _port: int) -> list[str]:
        """The next answer."""
        self.asked.append(host)
        known = self.answers.get(host, [["127.0.0.1"]])
        return known.pop(0) if len(known) > 1 else known[0]
