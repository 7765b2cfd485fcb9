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

ALLOWED = "allowed.example"
SECRET = "X-Amz-Signature=CANARY4711"

FORMS = [
    # Other schemes.
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "FILE:///etc/passwd",
    "ftp://127.0.0.1:{port}/a.jpg",
    "gopher://127.0.0.1:{port}/_GET%20/",
    "dict://127.0.0.1:{port}/info",
    "ldap://127.0.0.1:{port}/",
    "data:image/png;base64,iVBORw0KGgo=",
    "jar:http://127.0.0.1:{port}/a.jar!/a.jpg",
    "netdoc:///etc/passwd",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/info",
    "ws://allowed.example/a.jpg",
    "javascript:fetch('http://127.0.0.1:{port}')",
    "view-source:https://allowed.example/",
    "url:https://allowed.example/",
    "//127.0.0.1:{port}/a.jpg",
    "127.0.0.1:{port}/a.jpg",
    "/etc/passwd",
    "",
    "https:",
    "https://",
    "https:///a.jpg",
    "https:/allowed.example/a.jpg",
    "https:allowed.example/a.jpg",
    # Users, fragments and backslashes: who reads the host where?
    "http://allowed.example@127.0.0.1:{port}/",
    "https://allowed.example:443@127.0.0.1:{port}/",
    "https://user:password@allowed.example/a.jpg",
    "https://@allowed.example/a.jpg",
    "http://127.0.0.1:{port}#@allowed.example/",
    "https://allowed.example#@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}?@allowed.example/",
    "http://127.0.0.1:{port}\\@allowed.example/",
    "https://allowed.example\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\.allowed.example/",
    "https:\\\\127.0.0.1:{port}\\a.jpg",
    "https://allowed.example&@127.0.0.1:{port}#@allowed.example/",
    "https://allowed.example;127.0.0.1:{port}/",
    "https://allowed.example,127.0.0.1:{port}/",
    "https://[allowed.example]/a.jpg",
    "https://allowed.example:80:{port}/a.jpg",
    "https://allowed.example:@127.0.0.1:{port}/",
    # Blanks and control characters.
    " https://allowed.example/a.jpg",
    "https://allowed.example/a.jpg ",
    "https://127.0.0.1:{port}\t.allowed.example/",
    "https://allowed.example\t/a.jpg",
    "ht\ntps://allowed.example/a.jpg",
    "https://allowed.example\r\nHost: 127.0.0.1/a.jpg",
    "https://allowed.example/a.jpg HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET /",
    "https://allowed.example/a.jpg\r\nX-aws-ec2-metadata-token-ttl-seconds: 60",
    "https://allowed.example\x00.evil.example/",
    "https://allowed.example%00.evil.example/",
    "https://allowed.example%0d%0aevil.example/",
    "https://allowed.example%2eevil.example/",
    "https://allowed.example%2f@127.0.0.1:{port}/",
    "https://allowed.example%ff.evil.example/",
    # Names that look alike.
    "https://allowed.example./a.jpg",
    "https://allowed.example../a.jpg",
    "https://.allowed.example/a.jpg",
    "https://allowed.example.evil.example/a.jpg",
    "https://evilallowed.example/a.jpg",
    "https://evil-allowed.example/a.jpg",
    "https://sub.allowed.example/a.jpg",
    "https://allowed.exampl/a.jpg",
    "https://allowed-example/a.jpg",
    "https://example/a.jpg",
    "https://*.example/a.jpg",
    "https://xn--allowed-.example/a.jpg",
    "https://\u0430llowed.example/a.jpg",  # Cyrillic a
    "https://\u24d0llowed.example/a.jpg",  # circled a, which IDNA makes an a
    "https://\uff41llowed.example/a.jpg",  # full width
    "https://allowed\u3002example/a.jpg",  # an ideographic full stop, which IDNA makes a dot
    "https://allowed\u00ad.example/a.jpg",  # a soft hyphen, which IDNA drops
    "https://\u200ballowed.example/a.jpg",
    "https://evil.example\uff0f.allowed.example/a.jpg",
    "https://evil.example\u2044.allowed.example/",
    "https://a\u217cowed.example/",
    # Another port or scheme than listed.
    "https://allowed.example:{port}/a.jpg",
    "https://allowed.example:80/a.jpg",
    "http://allowed.example/a.jpg",
    "http://allowed.example:443/a.jpg",
    "https://allowed.example:0443/a.jpg",
    "https://allowed.example:/a.jpg",
    "https://allowed.example:+443/a.jpg",
    "https://allowed.example:65979/a.jpg",  # 443 in 16 bits
    "https://allowed.example:4\u0663/a.jpg",
    # Addresses.
    "http://127.0.0.1:{port}/latest/meta-data/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.localdomain:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0x0.0x0.0x1:{port}/",
    "http://0177.0.0.01:{port}/",
    "http://017700000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://127.0.0.1.:{port}/",
    "http://127.000.000.001:{port}/",
    "http://127.0.0.1%20:{port}/",
    "http://\uff11\uff12\uff17.0.0.1:{port}/",
    "http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460:{port}/",
    "http://127\u30020\u30020\u30021:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::127.0.0.1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[v1.fe80::a]:{port}/",
    "http://[::1:{port}/",
    "http://::1:{port}/",
    "http://127.127.127.127.nip.io:{port}/",
    # Metadata, by address and by name.
    "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
    "http://2852039166/latest/meta-data/",
    "http://0xa9fea9fe/",
    "http://169.254.43518/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[::ffff:a9fe:a9fe]/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://metadata/computeMetadata/v1/",
    "http://instance-data/latest/meta-data/",
    "http://100.100.100.200/latest/meta-data/",
    "http://168.63.129.16/machine?comp=goalstate",
    "http://kubernetes.default.svc/api",
    "https://10.0.0.1/",
    # Too long, or no text that can be sent.
    "https://allowed.example/" + "a" * 9000,
    "https://allowed.example/\ud800",
    "https://allowed.example/%zz",
]

OBJECTS = [
    "s3://other/prefix/a.jpg",
    "s3://bucket2/prefix/a.jpg",
    "s3://bucke/prefix/a.jpg",
    "s3://my.bucket/prefix/a.jpg",
    "s3://bucket/a.jpg",
    "s3://bucket/prefix",
    "s3://bucket/prefix/",
    "s3://bucket/prefix-evil/a.jpg",
    "s3://bucket/prefix.jpg",
    "s3://bucket/PREFIX/a.jpg",
    "s3://bucket/other/prefix/a.jpg",
    "s3://bucket//prefix/a.jpg",
    "s3://bucket/prefix//a.jpg",
    "s3://bucket/prefix/../a.jpg",
    "s3://bucket/prefix/./a.jpg",
    "s3://bucket/prefix/a/../../a.jpg",
    "s3://bucket/prefix/..",
    "s3://bucket/prefix/%2e%2e/a.jpg",
    "s3://bucket/prefix/.%2E/a.jpg",
    "s3://bucket/prefix/%252e%252e/a.jpg",
    "s3://bucket/prefix/..%2fa.jpg",
    "s3://bucket/prefix%2fa.jpg",
    "s3://bucket%2fprefix/a.jpg",
    "s3://bucket/prefix/..\\a.jpg",
    "s3://bucket/prefix/%5c..%5ca.jpg",
    "s3://bucket/prefix/a\n.jpg",
    "s3://bucket/prefix/a%0a.jpg",
    "s3://bucket/prefix/\ud800.jpg",
    "s3://user@bucket/prefix/a.jpg",
    "s3://bucket:9000/prefix/a.jpg",
    "s3://arn:aws:s3:::bucket/prefix/a.jpg",
    "s3://BUCKET/prefix/a.jpg",
    "s3://../bucket/prefix/a.jpg",
    "s3://",
    "s3:///prefix/a.jpg",
    "s3:bucket/prefix/a.jpg",
    "S3://bucket/prefix/a.jpg",
    "s3a://bucket/prefix/a.jpg",
    "gs://bucket/prefix/a.jpg",
]

ANSWERS = [
    ["127.0.0.1"],
    ["127.8.9.10"],
    ["0.0.0.0"],
    ["10.1.2.3"],
    ["172.31.0.1"],
    ["192.168.1.1"],
    ["100.64.0.1"],
    ["100.100.100.200"],
    ["169.254.169.254"],
    ["168.63.129.16"],
    ["192.0.0.192"],
    ["198.18.0.1"],
    ["224.0.0.1"],
    ["255.255.255.255"],
    ["::1"],
    ["::"],
    ["::ffff:127.0.0.1"],
    ["::ffff:169.254.169.254"],
    ["::127.0.0.1"],
    ["::ffff:0:127.0.0.1"],
    ["64:ff9b::7f00:1"],
    ["64:ff9b::169.254.169.254"],
    ["64:ff9b:1::1"],
    ["2002:7f00:1::"],
    ["2001:0:7f00:1::1"],
    ["2001:4860::5efe:10.0.0.1"],
    ["fd00:ec2::254"],
    ["fe80::1"],
    ["fe80::1%lo"],
    ["fec0::1"],
    ["ff02::1"],
    ["2001:db8::1"],
    [PUBLIC, "127.0.0.1"],
    ["127.0.0.1", PUBLIC],
    [PUBLIC, "::1"],
    ["2606:4700::1111", "::ffff:10.0.0.1"],
]

REDIRECTS = [
    (301, "{metadata}/latest/meta-data/"),
    (302, "{metadata}/latest/meta-data/"),
    (303, "{metadata}/latest/meta-data/"),
    (307, "{metadata}/latest/meta-data/"),
    (308, "{metadata}/latest/meta-data/"),
    (300, "{metadata}/"),
    (305, "{metadata}/"),
    (399, "{metadata}/"),
    (302, "//127.0.0.1:{port}/"),
    (302, "file:///etc/passwd"),
    (302, "/again"),
    (201, "{metadata}/"),
]

FORMS_TRIED = len(FORMS) + len(OBJECTS) + len(ANSWERS) + len(REDIRECTS)


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
