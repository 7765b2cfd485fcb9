"""Nothing is fetched from where it should not be, in whatever form it is asked for; `FORMS_TRIED` of them.

A server on loopback stands for what must not be reached, a cloud's metadata. Each form would reach it, were it read or
resolved as its author hopes: every name that is not on the list resolves to it. What counts is that no connection is
opened, not that an error is raised.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from assay.platform.faults import Fault, FaultKind
from assay.serving import remote_images
from assay.serving.allow_list import OriginSpec
from assay.serving.problem import Code, Problem
from assay.serving.remote_images import RemoteImages, RemoteSpec
from tests.image_servers import PUBLIC, ImageServer, Names, Watch, image_server, watch
from tests.serving.ssrf_forms import ALLOWED, ANSWERS, FORMS, FORMS_TRIED, OBJECTS, REDIRECTS, SECRET


async def metadata(_request: web.BaseRequest) -> web.Response:
    return web.Response(body=b"AWS_SECRET_ACCESS_KEY")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return watch(monkeypatch)


def beside_metadata(test: Callable[[ImageServer], Coroutine[Any, Any, None]]) -> None:
    """Run a test beside the server that must not be asked; every connection to it counts, and each request."""

    async def run() -> None:
        async with image_server(metadata) as server:
            await test(server)
            assert server.asked == []

    asyncio.run(run())


def listed(names: Names, **more: Any) -> RemoteImages:
    """What fetches from the list: one origin, one bucket and a prefix of another."""
    spec = RemoteSpec(
        origins=(OriginSpec(origin=f"https://{ALLOWED}"),), buckets=("s3://bucket/prefix", "s3://mybucket"), **more
    )
    return RemoteImages(spec, names)


async def refusal(images: RemoteImages, url: str) -> Problem:
    with pytest.raises(Problem) as refused:
        await images.fetch(url)
    await images.close()
    assert refused.value.code is Code.URL_REFUSED
    assert refused.value.status == 422
    return refused.value


def test_there_are_enough_forms() -> None:
    assert len(set(FORMS)) == len(FORMS)
    assert len(set(OBJECTS)) == len(OBJECTS)
    assert FORMS_TRIED >= 60


@pytest.mark.parametrize("form", FORMS, ids=ascii)
def test_no_form_of_a_url_gets_through(form: str, seen: Watch) -> None:
    async def ask(server: ImageServer) -> None:
        names = Names({ALLOWED: [[PUBLIC]]})
        told = await refusal(listed(names), form.replace("{port}", str(server.port)))
        assert (seen.opened, seen.named, names.asked) == ([], [], [])
        assert "\n" not in told.what + told.why

    beside_metadata(ask)


@pytest.mark.parametrize("form", OBJECTS, ids=ascii)
def test_no_form_of_an_object_gets_through(form: str, seen: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(remote_images, "fetch", lambda *given: asked.append(given))

    async def ask(_server: ImageServer) -> None:
        await refusal(listed(Names({})), form)
        assert (asked, seen.opened, seen.named) == ([], [], [])

    beside_metadata(ask)


@pytest.mark.parametrize("answer", ANSWERS, ids=str)
def test_no_name_leads_to_a_private_address(answer: list[str], seen: Watch) -> None:
    """A name of the list whose DNS is another's, or has been changed."""

    async def ask(_server: ImageServer) -> None:
        told = await refusal(listed(Names({ALLOWED: [answer]})), f"https://{ALLOWED}/a.jpg?{SECRET}")
        assert seen.opened == []
        assert not any(one in str(told) for one in answer)  # what the network looks like inside is nobody's business

    beside_metadata(ask)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254"])
def test_an_address_is_looked_at_like_a_name(host: str, seen: Watch) -> None:
    """Also of a spec that was derived, which nothing checks."""

    async def ask(server: ImageServer) -> None:
        meant = OriginSpec(origin=f"http://{host}:{server.port}", private=True)
        spec = RemoteSpec().model_copy(update={"origins": (meant.model_copy(update={"private": False}),)})
        await refusal(RemoteImages(spec), f"{meant.origin}/a.jpg")
        assert seen.opened == []

    beside_metadata(ask)


def test_refusals_take_no_connection(seen: Watch) -> None:
    async def ask(_server: ImageServer) -> None:
        images = listed(Names({ALLOWED: [["127.0.0.1"], ["::1"], ["10.0.0.1"], [PUBLIC]]}), connections=1)
        for _ in range(3):
            with pytest.raises(Problem):
                await images.fetch(f"https://{ALLOWED}/a.jpg")
        assert isinstance(await images.fetch(f"https://{ALLOWED}/a.jpg"), Fault)
        await images.close()
        assert seen.opened == [PUBLIC]

    beside_metadata(ask)


def test_a_name_is_resolved_once_and_that_address_is_connected_to(seen: Watch) -> None:
    """Rebinding: the first answer is public, for the check, and the second one is not."""

    async def ask(_server: ImageServer) -> None:
        names = Names({ALLOWED: [[PUBLIC], ["127.0.0.1"]]})
        images = listed(names)
        first = await images.fetch(f"https://{ALLOWED}/a.jpg")
        assert isinstance(first, Fault)
        assert (names.asked, seen.opened, seen.named) == ([ALLOWED], [PUBLIC], [])
        await refusal(images, f"https://{ALLOWED}/a.jpg")
        assert (names.asked, seen.opened, seen.named) == ([ALLOWED] * 2, [PUBLIC], [])

    beside_metadata(ask)


@pytest.mark.parametrize(("status", "location"), REDIRECTS, ids=str)
def test_no_redirect_is_followed(status: int, location: str, seen: Watch) -> None:
    async def ask(server: ImageServer) -> None:
        elsewhere = location.format(metadata=server.origin, port=server.port)
        headers = {"location": elsewhere, "refresh": f"0; url={server.origin}", "set-cookie": "a=b"}

        async def redirect(_request: web.BaseRequest) -> web.Response:
            return web.Response(status=status, headers=headers)

        async with image_server(redirect) as origin:
            images = RemoteImages(RemoteSpec(origins=(OriginSpec(origin=origin.origin, private=True),)))
            found = await images.fetch(f"{origin.origin}/a.jpg")
            await images.close()
            assert isinstance(found, Fault)
            assert found.kind is FaultKind.UNREACHABLE
            assert [one.path for one in origin.asked] == ["/a.jpg"]
            assert len(seen.opened) == 1

    beside_metadata(ask)


def test_the_environment_names_no_proxy_and_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async def image(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=b"image")

    async def ask(server: ImageServer) -> None:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, server.origin)
            monkeypatch.setenv(name.upper(), server.origin)
        async with image_server(image) as origin:
            images = RemoteImages(RemoteSpec(origins=(OriginSpec(origin=origin.origin, private=True),)))
            assert await images.fetch(f"{origin.origin}/a.jpg") == b"image"
            await images.close()
            assert "authorization" not in origin.asked[0].headers

    beside_metadata(ask)


def test_the_server_that_must_not_be_reached_can_be(seen: Watch) -> None:
    """The tests above could fail: without a guard the server is reached, it counts, and so does the watch."""

    async def run() -> None:
        async with image_server(metadata) as server, aiohttp.ClientSession() as session:
            for form in ("http://127.0.0.1:{port}/", "http://allowed.example@127.0.0.1:{port}/"):
                async with session.get(form.replace("{port}", str(server.port))) as answer:
                    assert await answer.read() == b"AWS_SECRET_ACCESS_KEY"
            assert len(server.asked) == 2
            assert set(seen.opened) == {"127.0.0.1"}

    asyncio.run(run())


def test_nothing_is_fetched_by_default(seen: Watch) -> None:
    async def ask(server: ImageServer) -> None:
        for url in (f"{server.origin}/a.jpg", "https://example.com/a.jpg", "s3://bucket/a.jpg"):
            await refusal(RemoteImages(RemoteSpec()), url)
        assert seen.opened == []

    beside_metadata(ask)
