"""Images by URL: from the list they come whole or as a fault, in bounded time and bytes; no secret is repeated."""

import asyncio
import gc
import gzip
import logging
import ssl
import subprocess
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import ValidationError

from assay.platform.faults import Fault, FaultKind
from assay.serving.allow_list import OriginSpec
from assay.serving.problem import Code, Problem
from assay.serving.remote_images import RemoteImages, RemoteSpec
from infra.bench.object_store import free_port
from tests.image_servers import Handler, ImageServer, Names, Watch, image_server, raw_server, watch

SECRET = "X-Amz-Signature=CANARY4711"
IMAGE = bytes(range(256)) * 1000
Found = bytes | Fault


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return watch(monkeypatch)


def of(server: ImageServer, **more: Any) -> RemoteSpec:
    return RemoteSpec(origins=(OriginSpec(origin=server.origin, private=True),), **more)


async def fetched(spec: RemoteSpec, url: str) -> Found:
    images = RemoteImages(spec)
    try:
        return await images.fetch(url)
    finally:
        await images.close()


def asked(handler: Handler, path: str = f"/a.jpg?{SECRET}", **more: Any) -> tuple[Found, web.BaseRequest]:
    """What one request brings, and how it came to the server."""

    async def run() -> tuple[Found, web.BaseRequest]:
        async with image_server(handler) as server:
            found = await fetched(of(server, **more), server.origin + path)
            assert len(server.asked) == 1
            return found, server.asked[0]

    return asyncio.run(run())


def told(answer: bytes, hold_s: float = 0.0, **more: Any) -> Found:
    """What a server's very bytes are taken for."""

    async def run() -> Found:
        async with raw_server(answer, hold_s) as server:
            return await fetched(of(server, **more), f"{server.origin}/a.jpg?{SECRET}")

    return asyncio.run(run())


def kind(found: Found) -> FaultKind:
    assert isinstance(found, Fault), found[:40]
    assert "CANARY" not in found.detail
    return found.kind


def answering(status: int = 200, body: bytes = IMAGE, **headers: str) -> Handler:
    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(status=status, body=body, headers={n.replace("_", "-"): v for n, v in headers.items()})

    return answer


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """What is done here takes fewer bytes of memory than `size`, the server's share among them."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


def test_an_image_comes_whole(seen: Watch) -> None:
    found, request = asked(answering(), f"/%E2%9C%93/a//b%2Fc.jpg?{SECRET}&d=%20+")
    assert found == IMAGE
    assert str(request.rel_url.raw_path_qs) == f"/%E2%9C%93/a//b%2Fc.jpg?{SECRET}&d=%20+"
    assert seen.opened == ["127.0.0.1"]


def test_the_request_says_little() -> None:
    _, request = asked(answering())
    assert {name.lower() for name in request.headers} == {"host", "accept", "accept-encoding", "user-agent"}
    assert request.headers["accept-encoding"] == "identity"


def test_a_name_is_connected_to_where_it_was_checked(seen: Watch) -> None:
    """And what its server wants remembered is not."""

    async def run() -> None:
        async with image_server(answering(set_cookie="a=b; Path=/")) as server:
            origin = f"http://images.example:{server.port}"
            names = Names({"images.example": [["127.0.0.1"]]})
            images = RemoteImages(RemoteSpec(origins=(OriginSpec(origin=origin, private=True),)), names)
            for _ in range(2):
                assert await images.fetch(f"{origin}/a.jpg") == IMAGE
            await images.close()
            assert [one.headers["host"] for one in server.asked] == [f"images.example:{server.port}"] * 2
            assert not any("cookie" in one.headers for one in server.asked)
            assert (names.asked, seen.named, seen.opened) == (["images.example"], [], ["127.0.0.1"])

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, FaultKind.FORBIDDEN),
        (403, FaultKind.FORBIDDEN),
        (404, FaultKind.GONE),
        (410, FaultKind.GONE),
        (204, FaultKind.UNREACHABLE),
        (206, FaultKind.UNREACHABLE),
        (302, FaultKind.UNREACHABLE),
        (400, FaultKind.UNREACHABLE),
        (429, FaultKind.UNREACHABLE),
        (500, FaultKind.UNREACHABLE),
        (503, FaultKind.UNREACHABLE),
    ],
)
def test_a_status_is_a_fault(status: int, expected: FaultKind) -> None:
    found, _ = asked(answering(status, b"" if status == 204 else b"no image"))
    assert kind(found) is expected
    assert isinstance(found, Fault)
    assert found.detail.startswith(f"status {status}")


def test_the_last_byte_of_the_budget_is_taken_and_no_more() -> None:
    assert asked(answering(), max_bytes=len(IMAGE))[0] == IMAGE
    assert kind(asked(answering(), max_bytes=len(IMAGE) - 1)[0]) is FaultKind.TOO_LARGE


def endless(chunk: bytes, pause_s: float, headers: dict[str, str] | None = None) -> Handler:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        while request.transport is not None and not request.transport.is_closing():
            await response.write(chunk)
            await asyncio.sleep(pause_s)
        return response

    return answer


def test_an_endless_body_ends_at_the_budget() -> None:
    with at_most(8 * 2**20):
        found, _ = asked(endless(bytes(65_536), 0), max_bytes=2**20)
    assert kind(found) is FaultKind.TOO_LARGE


def test_a_slow_body_ends_with_the_time() -> None:
    began = time.monotonic()
    assert kind(asked(endless(b"x", 0.05), timeout_s=0.4)[0]) is FaultKind.UNREACHABLE
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"])
def test_so_do_slow_headers_and_silence(answer: bytes) -> None:
    began = time.monotonic()
    assert kind(told(answer, hold_s=1, timeout_s=0.3)) is FaultKind.UNREACHABLE
    assert time.monotonic() - began < 3


def test_so_does_a_slow_name() -> None:
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.sleep(60)
        return []

    async def run() -> Found:
        images = RemoteImages(RemoteSpec(origins=(OriginSpec(origin="https://a.example"),), timeout_s=0.2), never)
        found = await images.fetch(f"https://a.example/?{SECRET}")
        await images.close()
        return found

    assert kind(asyncio.run(run())) is FaultKind.UNREACHABLE


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (HEAD + b"Content-Length: 4\r\n\r\nwhole, and much more", FaultKind.UNREACHABLE),
        (HEAD + b"\r\nuntil the end", b"until the end"),
        (HEAD + b"Content-Length: 0\r\n\r\n", b""),
        (HEAD + b"Content-Length: 400\r\n\r\nshort", FaultKind.UNREACHABLE),
        (HEAD + b"Content-Length: 99999999999\r\n\r\nx", FaultKind.TOO_LARGE),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", FaultKind.UNREACHABLE),
        (HEAD + b"Content-Length: -1\r\n\r\nx", FaultKind.UNREACHABLE),
        (HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", FaultKind.UNREACHABLE),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", FaultKind.UNREACHABLE),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n7ffffff\r\nx", FaultKind.UNREACHABLE),
        (HEAD + b"X: " + b"x" * 100_000 + b"\r\n\r\n", FaultKind.UNREACHABLE),
        (b"not HTTP at all\r\n\r\n", FaultKind.UNREACHABLE),
        (b"", FaultKind.UNREACHABLE),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", FaultKind.UNREACHABLE),
    ],
)
def test_servers_that_lie_are_believed_nothing(answer: bytes, expected: bytes | FaultKind) -> None:
    found = told(answer, max_bytes=10_000)
    assert (found if isinstance(expected, bytes) else kind(found)) == expected


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "GZIP", "gzip, identity", "x"])
def test_compressed_bodies_are_refused_and_never_unpacked(encoding: str) -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    with at_most(8 * 2**20):
        found, _ = asked(answering(body=bomb, content_encoding=encoding))
    assert kind(found) is FaultKind.UNREACHABLE


def test_nobody_there_is_a_fault() -> None:
    server = ImageServer(free_port())
    assert kind(asyncio.run(fetched(of(server), f"{server.origin}/a.jpg?{SECRET}"))) is FaultKind.UNREACHABLE


@pytest.mark.parametrize("answers", [[], OSError("no such host")], ids=str)
def test_a_name_without_address_is_a_fault(answers: list[str] | OSError) -> None:
    async def lookup(_host: str, _port: int) -> list[str]:
        if isinstance(answers, OSError):
            raise answers
        return answers

    async def run() -> Found:
        images = RemoteImages(RemoteSpec(origins=(OriginSpec(origin="https://a.example"),)), lookup)
        found = await images.fetch(f"https://a.example/?{SECRET}")
        await images.close()
        return found

    assert kind(asyncio.run(run())) is FaultKind.UNREACHABLE


def test_the_system_is_asked_for_names_without_another_lookup(seen: Watch) -> None:
    async def run() -> None:
        async with image_server(answering()) as server:
            origin = f"http://localhost:{server.port}"
            spec = RemoteSpec(origins=(OriginSpec(origin=origin, private=True),))
            assert await fetched(spec, f"{origin}/a.jpg") == IMAGE
            with pytest.raises(Problem) as refused:
                await fetched(RemoteSpec(origins=(OriginSpec(origin=origin),)), f"{origin}/a.jpg")
            assert refused.value.code is Code.URL_REFUSED
            assert len(server.asked) == 1
            assert seen.named == ["localhost"] * 2

    asyncio.run(run())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Of 127.0.0.1, by nobody that is trusted."""
    folder = tmp_path_factory.mktemp("tls")
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "cert"), "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *files], check=True, capture_output=True)
    return folder / "cert", folder / "key"


@pytest.mark.parametrize("trusted", [True, False])
def test_https_needs_a_certificate_that_is_trusted(
    trusted: bool, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*certificate)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))

    async def run() -> Found:
        async with image_server(answering(), tls) as server:
            origin = f"https://127.0.0.1:{server.port}"
            spec = RemoteSpec(origins=(OriginSpec(origin=origin, private=True),))
            found = await fetched(spec, f"{origin}/a.jpg?{SECRET}")
            assert len(server.asked) == trusted
            return found

    found = asyncio.run(run())
    assert found == IMAGE if trusted else kind(found) is FaultKind.UNREACHABLE


def test_a_connection_is_used_again_and_only_for_its_origin(seen: Watch) -> None:
    async def run() -> None:
        async with image_server(answering()) as one, image_server(answering()) as other:
            origins = tuple(OriginSpec(origin=server.origin, private=True) for server in (one, other))
            images = RemoteImages(RemoteSpec(origins=origins))
            for server in (one, other, one, other, one):
                assert await images.fetch(f"{server.origin}/a.jpg") == IMAGE
            await images.close()
            assert (len(one.asked), len(other.asked)) == (3, 2)
            assert len(seen.opened) == 2

    asyncio.run(run())


def test_many_at_once_keep_to_the_connections() -> None:
    async def run() -> None:
        now = most = 0

        async def answer(_request: web.BaseRequest) -> web.Response:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.01)
            now -= 1
            return web.Response(body=b"image")

        async with image_server(answer) as server:
            images = RemoteImages(of(server, connections=4))
            found = await asyncio.gather(*(images.fetch(f"{server.origin}/{n}") for n in range(40)))
            await images.close()
            assert set(found) == {b"image"}
            assert most == 4

    asyncio.run(run())


def test_who_gives_up_leaves_nothing_open() -> None:
    async def run() -> None:
        async with image_server(endless(b"x", 0.01)) as server:
            images = RemoteImages(of(server))
            task = asyncio.create_task(images.fetch(f"{server.origin}/a.jpg"))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await images.close()
        gc.collect()

    asyncio.run(run())


def test_no_query_stands_in_a_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even with everything logged, on any road that a URL can take."""
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    with caplog.at_level(logging.DEBUG):
        asked(answering())
        asked(answering(500))
        asked(answering(302, location=f"http://127.0.0.1/?{SECRET}"))
        told(b"not HTTP\r\n\r\n")
        told(HEAD + b"Content-Length: 400\r\n\r\nshort")
        told(b"", hold_s=0.5, timeout_s=0.2)
        with pytest.raises(Problem) as refused:
            asyncio.run(fetched(RemoteSpec(), f"https://a.example/a.jpg?{SECRET}"))
    mine = [record for record in caplog.records if not record.name.startswith("aiohttp.access")]
    assert not [record for record in mine if "CANARY" in record.getMessage() + str(record.exc_text)]
    assert "CANARY" not in str(refused.value) + refused.value.document("id").model_dump_json()


@pytest.mark.parametrize(
    "wrong",
    [
        {"origins": [{"origin": "https://a.example"}, {"origin": "https://a.example:443", "private": True}]},
        {"origins": [{"origin": "https://*.example"}]},
        {"origins": [{"origin": "http://10.0.0.1"}]},
        {"buckets": ["s3://"]},
        {"max_bytes": 0},
        {"timeout_s": 0},
        {"redirects": True},
    ],
)
def test_a_list_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RemoteSpec.model_validate(wrong)
