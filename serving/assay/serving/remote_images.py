"""Images that are fetched for a caller, by URL: nothing, unless the service's list has the place.

Knows HTTP as little as it takes: one GET, no redirect, no proxy, no cookie, so many bytes in so much time, and only to
addresses that were looked at: what a name resolves to is checked and then connected to, never asked for again. Does not
know what may be fetched (`allow_list.py`), nor what bytes mean.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from pydantic import Field, field_validator
from yarl import URL

from assay.platform.errors import BucketError, CredentialsError, StorageError
from assay.platform.faults import Fault, FaultKind
from assay.platform.fetch import fetch
from assay.platform.rows import ImageRef
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import Location
from assay.serving.addresses import is_public
from assay.serving.allow_list import AllowList, OriginSpec, Remote, bucket_place, refused
from assay.serving.problem import Code, Problem

Lookup = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host; OSError when it has none."""

_CHUNK_BYTES = 65_536
_IDLE_S = 15.0
"""How long a connection waits for the next image of its origin."""
_KINDS = {
    401: FaultKind.FORBIDDEN,
    403: FaultKind.FORBIDDEN,
    404: FaultKind.GONE,
    410: FaultKind.GONE,
}


class RemoteSpec(Spec):
    """What is fetched for callers, and what it may cost. Nothing, as it stands."""

    origins: tuple[OriginSpec, ...] = Field((), description="origins that images are fetched from")
    buckets: tuple[str, ...] = Field((), description="s3://bucket/prefix that images are fetched from")
    max_bytes: int = Field(32 * 2**20, gt=0, description="bytes of one image")
    timeout_s: float = Field(10.0, gt=0, description="seconds for one image, from the name to the last byte")
    connections: int = Field(32, gt=0, description="connections to one origin, and to all buckets")
    storage: StorageSpec = Field(StorageSpec(), description="where the buckets are")

    @field_validator("origins")
    @classmethod
    def _are_different(cls, value: tuple[OriginSpec, ...]) -> tuple[OriginSpec, ...]:
        if len({one.origin for one in value}) < len(value):
            raise ValueError("an origin is listed twice")
        return value

    @field_validator("buckets")
    @classmethod
    def _are_buckets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for one in value:
            bucket_place(one)
        return value


class RemoteImages:
    """Fetches what the list allows. Of one event loop; close it in the same."""

    def __init__(self, spec: RemoteSpec, lookup: Lookup | None = None) -> None:
        self._spec = spec
        self._allowed = AllowList(spec.origins, spec.buckets)
        self._lookup = lookup or _system_lookup
        self._sessions: dict[OriginSpec, aiohttp.ClientSession] = {}
        self._storage = Storage(_hurried(spec))
        self._threads = ThreadPoolExecutor(spec.connections, thread_name_prefix="remote")

    async def fetch(self, url: str) -> bytes | Fault:
        """The bytes of one image, or why there are none.

        Raises:
            Problem: URL_REFUSED, for what is not on the list, or has an address that it may not have; UNAVAILABLE, when
                a bucket of the list may not be read by the service itself.
        """
        found = self._allowed.find(url)
        try:
            async with asyncio.timeout(self._spec.timeout_s):
                return await (self._get(found) if isinstance(found, Remote) else self._read(found))
        except TimeoutError:
            return Fault(FaultKind.UNREACHABLE, f"not there after {self._spec.timeout_s:g} s")

    async def close(self) -> None:
        """Let connections and threads go."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _get(self, remote: Remote) -> bytes | Fault:
        """The answer of an origin. No text of aiohttp's errors is kept: they quote the URL."""
        place = remote.origin.place
        if place.is_address:  # aiohttp asks no resolver for it, and a spec may be derived without being checked
            _check([place.host], remote.origin)
        url = URL(remote.url, encoded=True)
        assert (url.scheme, url.host, url.port) == (place.scheme, place.host, place.port)
        try:
            async with self._session(remote.origin).get(url, allow_redirects=False) as response:
                return await self._body(response)
        except (aiohttp.ClientError, OSError) as error:
            return Fault(FaultKind.UNREACHABLE, type(error).__name__)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes | Fault:
        """The body, as long as it is one image's; its length is counted, whatever was said of it."""
        fault = _refusal(response, self._spec.max_bytes)
        data = bytearray()
        if fault is None:
            async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                data += chunk
                if len(data) > self._spec.max_bytes:
                    fault = Fault(FaultKind.TOO_LARGE, f"more than {self._spec.max_bytes} bytes")
                    break
        return bytes(data) if fault is None else fault

    def _session(self, origin: OriginSpec) -> aiohttp.ClientSession:
        """The session of one origin: no connection is shared with another, for which another check holds."""
        if origin not in self._sessions:
            connector = aiohttp.TCPConnector(
                resolver=_CheckedResolver(origin, self._lookup),
                use_dns_cache=False,
                limit=self._spec.connections,
                keepalive_timeout=_IDLE_S,
                ssl=ssl.create_default_context(),
            )
            self._sessions[origin] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"accept": "image/*", "accept-encoding": "identity", "user-agent": "assay"},
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(total=None),  # ours is around all of it
            )
        return self._sessions[origin]

    async def _read(self, place: Location) -> bytes | Fault:
        ref = ImageRef(place.uri, "", 0)
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, fetch, self._storage, ref, self._spec.max_bytes)
        except (BucketError, CredentialsError) as error:
            raise Problem(
                Code.UNAVAILABLE,
                f"the service cannot read s3://{place.bucket}",
                why="it is on its list, and its credentials or the bucket's name are wrong",
                fix="tell who runs the service",
            ) from error
        except StorageError as error:
            return Fault(FaultKind.UNREACHABLE, error.what)


class _CheckedResolver(AbstractResolver):
    """Resolves names of one origin, once for each connection, to addresses that it may have."""

    def __init__(self, origin: OriginSpec, lookup: Lookup) -> None:
        self._origin, self._lookup = origin, lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses, none of which is asked for by name again."""
        addresses = await self._lookup(host, port)
        _check(addresses, self._origin)
        found = [one for one in addresses if family in {socket.AF_UNSPEC, _family(one)}]
        if not found:
            raise OSError("no address")
        return [_result(host, one, port) for one in found]

    async def close(self) -> None:
        """Nothing is held."""


async def _system_lookup(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _result(host: str, address: str, port: int) -> ResolveResult:
    flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    return ResolveResult(hostname=host, host=address, port=port, family=_family(address), proto=0, flags=flags)


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _check(addresses: list[str], origin: OriginSpec) -> None:
    """Refuse an origin that has one address it may not have, whatever the others are. Callers are not told which."""
    if not origin.private and not all(is_public(one) for one in addresses):
        raise refused(f"nothing is fetched from {origin.origin}", "its address is not of the public internet")


def _refusal(response: aiohttp.ClientResponse, max_bytes: int) -> Fault | None:
    status = response.status
    if 300 <= status < 400:
        return Fault(FaultKind.UNREACHABLE, f"status {status}; redirects are not followed")
    if status != 200:
        return Fault(_KINDS.get(status, FaultKind.UNREACHABLE), f"status {status}")
    if response.headers.get("content-encoding", "identity").strip().lower() != "identity":
        return Fault(FaultKind.UNREACHABLE, "it comes compressed, which was not asked for")
    if response.content_length is not None and response.content_length > max_bytes:
        return Fault(FaultKind.TOO_LARGE, f"{response.content_length} bytes, budget {max_bytes}")
    return None


def _hurried(spec: RemoteSpec) -> StorageSpec:
    """Storage that gives up while a caller waits; a batch job has all night."""
    stored = spec.storage
    return stored.model_copy(
        update={
            "patience_s": 0.0,
            "retries": min(stored.retries, 2),
            "connect_timeout_s": min(stored.connect_timeout_s, spec.timeout_s),
            "read_timeout_s": min(stored.read_timeout_s, spec.timeout_s),
        }
    )
