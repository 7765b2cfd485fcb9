"""The body of one GET: whole, in time, and the bytes the store has.

Knows how a body can be late, cut short or altered on its way. Does not know images, retries, nor what bytes mean.
"""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MD5 = re.compile(r'"?([0-9a-f]{32})"?', re.ASCII)


class AlteredBody(ConnectionError):
    """The bytes that came are not the ones the etag speaks of."""


class LateBody(TimeoutError):
    """The body came too slowly."""


@dataclass(slots=True)
class Pace:
    """How long a body may take: `grace_s` seconds, and its size at `bytes_per_s`."""

    grace_s: float
    bytes_per_s: float

    def limit_s(self, size: int) -> float:
        """Seconds for a body of `size` bytes."""
        return self.grace_s + size / self.bytes_per_s


@dataclass(slots=True)
class PlainEtags:
    """The buckets whose etags are the MD5 of the content, as far as seen. Some stores' etags look so and are not."""

    seen: dict[str, bool] = field(default_factory=dict)

    def doubted(self, bucket: str) -> bool:
        """Whether etags of the bucket are known to be something else."""
        return self.seen.get(bucket) is False

    def confirm(self, bucket: str) -> None:
        """An etag was the MD5 of its content."""
        self.seen[bucket] = True

    def doubt(self, bucket: str) -> None:
        """The same bytes came twice under an etag that is not their MD5; one that was is proof enough that others
        are."""
        self.seen.setdefault(bucket, False)


@dataclass(slots=True)
class BodyReader:
    """Reads the body of one object, asked for as often as it takes: it remembers what came before."""

    bucket: str
    pace: Pace
    etags: PlainEtags
    late: int = 0
    altered: str = ""

    async def read(self, response: Mapping[str, Any]) -> bytes:
        """The whole body; the connection is given up when it does not come.

        Raises:
            LateBody: it was too slow; the next one is given twice the time, should the whole network be slow.
            AlteredBody: it is not what the etag says, for the first time. The same bytes again are believed.
            ConnectionError: it ended early.
        """
        promised = int(response["ContentLength"])
        limit_s = self.pace.limit_s(promised) * 2**self.late
        async with response["Body"] as body:
            try:
                data = bytes(await asyncio.wait_for(body.read(), limit_s))
            except TimeoutError as error:
                self.late += 1
                raise LateBody(f"{promised} bytes did not come in {limit_s:.0f} s") from error
        if len(data) != promised:
            raise ConnectionError(f"{len(data)} of {promised} bytes")
        self._check(response, data)
        return data

    def _check(self, response: Mapping[str, Any], data: bytes) -> None:
        expected = _content_md5(response)
        if expected is None or self.etags.doubted(self.bucket):
            return
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if found == expected:
            self.etags.confirm(self.bucket)
        elif found == self.altered:
            self.etags.doubt(self.bucket)
        else:
            self.altered = found
            raise AlteredBody(f"MD5 {found}, the etag says {expected}")


def _content_md5(response: Mapping[str, Any]) -> str | None:
    """The MD5 a response states of its body: its etag, unless it came in parts, is encrypted with a key of KMS or of
    the customer, or this body is only a range of it."""
    if response.get("ContentRange"):
        return None
    if "aws:kms" in str(response.get("ServerSideEncryption", "")) or response.get("SSECustomerAlgorithm"):
        return None
    found = _MD5.fullmatch(str(response.get("ETag", "")))
    return found[1] if found else None
