"""The places that images may be fetched from for a caller: origins and bucket prefixes.

Knows how a URL is read: as narrowly as can be, so that no other reader can take it for another place. What is odd is
refused, never mended. Does not know how anything is fetched, nor addresses behind names (`addresses.py`).

Of a URL that is refused, nothing is told but the origin, if it could be read: what follows may be a secret.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import unquote

from pydantic import Field, field_validator, model_validator

from assay.platform.spec import Spec
from assay.platform.uris import Location, parse_uri
from assay.serving.addresses import is_public
from assay.serving.problem import Code, Problem

MAX_LENGTH = 8192
"""Characters of a URL; signed ones have up to two thousand."""

PORTS = {"https": 443, "http": 80}

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_URL = re.compile(
    rf"(?P<scheme>https?)://(?P<host>{_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{{0,4}}))?"
    r"(?P<rest>(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
    r"(?:\?(?:[A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?)",
    re.ASCII,
)
"""RFC 3986 without user, fragment, odd spellings of a host, and anything that is not ASCII."""
_AUTHORITY = re.compile(r"[^:/?#]+://[^/?#]*")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_ODD = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host (an IPv6 address without brackets) and port; equal when they are the same place."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == PORTS[self.scheme] else f":{self.port}")

    @property
    def is_address(self) -> bool:
        """Whether the host is an address itself."""
        return ":" in self.host or bool(_NUMBER.fullmatch(self.host.rpartition(".")[2]))


@dataclass(frozen=True, slots=True)
class Remote:
    """An object that may be fetched: from `origin`, `url` as it is sent."""

    origin: "OriginSpec"
    url: str


class OriginSpec(Spec):
    """An origin that is fetched from: exactly this scheme, host and port; no pattern."""

    origin: str = Field(description="https://cdn.example.com[:port]; http only if written so")
    private: bool = Field(False, description="its addresses may be private, of this network or this machine")

    @field_validator("origin")
    @classmethod
    def _is_an_origin(cls, value: str) -> str:
        found = _split(value)
        if found is None or found[1]:
            raise ValueError("write an origin alone, as https://cdn.example.com: lower case, no pattern, no path")
        return str(found[0])

    @model_validator(mode="after")
    def _can_be_reached(self) -> "OriginSpec":
        if not self.private and self.place.is_address and not is_public(self.place.host):
            raise ValueError(f"{self.origin} is no public address; say `private: true` if it is meant")
        return self

    @property
    def place(self) -> Origin:
        """The origin, in its parts."""
        found = _split(self.origin)
        assert found is not None
        return found[0]


class AllowList:
    """All places that are allowed."""

    def __init__(self, origins: tuple[OriginSpec, ...], buckets: tuple[str, ...]) -> None:
        self._origins = {one.place: one for one in origins}
        self._buckets = tuple(bucket_place(one) for one in buckets)

    def find(self, url: str) -> Remote | Location:
        """Where a URL leads.

        Raises:
            Problem: URL_REFUSED, for anything that is not on the list or could be taken for something else.
        """
        if len(url) > MAX_LENGTH:
            raise refused("the URL is too long", f"{len(url)} characters of at most {MAX_LENGTH}")
        return self._object(url) if url.startswith("s3://") else self._remote(url)

    def _remote(self, url: str) -> Remote:
        found = _split(_lowered(url))
        if found is None:
            raise refused("the URL is none that is read", "https or s3 without user, fragment and odd spellings is")
        origin, rest = found
        if origin not in self._origins:
            raise refused(f"nothing is fetched from {origin}", "it is not on the service's list")
        return Remote(self._origins[origin], f"{origin}{'' if rest.startswith('/') else '/'}{rest}")

    def _object(self, url: str) -> Location:
        place = _split_s3(url)
        if place is None or not place.key:
            raise refused("the uri is none that is read", "a bucket and a key without empty or dotted parts is")
        if not any(_is_below(place, one) for one in self._buckets):
            raise refused(f"nothing there is fetched from s3://{place.bucket}", "it is not on the service's list")
        return place


def bucket_place(uri: str) -> Location:
    """A bucket or prefix of the list.

    Raises:
        ValueError: it is none.
    """
    place = _split_s3(uri.removesuffix("/"))
    if place is None:
        raise ValueError(f"{uri!r} is no s3://BUCKET or s3://BUCKET/PREFIX")
    return place


def refused(what: str, why: str) -> Problem:
    """A refusal of a URL; where in the request it stood is for the caller to say."""
    return Problem(Code.URL_REFUSED, what, why=why, fix="send the image itself, as bytes or base64")


def _is_below(place: Location, prefix: Location) -> bool:
    stem = f"{prefix.key}/" if prefix.key else ""
    return place.bucket == prefix.bucket and place.key.startswith(stem)


def _split_s3(uri: str) -> Location | None:
    """Bucket and key of a uri, the key empty or plain; None when there is any doubt."""
    bucket, slash, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not _BUCKET.fullmatch(bucket) or (slash and not _is_plain(key)):
        return None
    return parse_uri(uri)


def _is_plain(key: str) -> bool:
    """Whether every reader takes a key for the same: also one that decodes it first, or more than once."""
    for _ in range(4):
        if _ODD.search(key) or not {"", ".", ".."}.isdisjoint(key.split("/")):
            return False
        decoded = unquote(key)
        if decoded == key:
            return True
        key = decoded
    return False


def _lowered(url: str) -> str:
    """Scheme and host in lower case: the one spelling that is mended, since they have no case."""
    found = _AUTHORITY.match(url)
    return found[0].lower() + url[found.end() :] if found and url.isascii() else url


def _split(url: str) -> tuple[Origin, str] | None:
    """Origin and the rest of a URL, or None when there is any doubt."""
    found = _URL.fullmatch(url)
    host = _canonical(found["host"]) if found else None
    if found is None or host is None:
        return None
    port = int(found["port"] or PORTS[found["scheme"]])
    return (Origin(found["scheme"], host, port), found["rest"]) if port < 65536 else None


def _canonical(host: str) -> str | None:
    """A name as it is, an address as it is written; None for what a system could read as an address and is none."""
    try:
        if host.startswith("["):
            return IPv6Address(host[1:-1]).compressed
        return str(IPv4Address(host)) if _NUMBER.fullmatch(host.rpartition(".")[2]) else host
    except AddressValueError:
        return None
