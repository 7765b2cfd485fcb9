"""Uris of stored objects: how a place on disk or in a bucket is written, split and shortened.

Object keys are data. A local path is written `file:///…` with every odd byte percent-encoded, so that names with
newlines or bytes that are no UTF-8 survive Arrow, JSON and HTML. An S3 key is written as it is, after `s3://bucket/`,
but for one sequence: `.tar!/` (and `.parquet!/`) is where the uri of a pack ends and the name of what lies in it begins
(`members.py`), so a key that has it is written with one more `!`, and a path with `%21`.
Knows nothing of what is stored there.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from assay.platform.errors import SpecError

# What may stand bare in the path of a file uri (RFC 3986 pchar and "/"), less the characters people paste into shells.
_BARE = "/-._~!$()*+,=:@"

_MARKS = re.compile(r"(\.(?:tar|parquet))(!+)/", re.IGNORECASE)
"""What could be taken for the end of a pack's uri."""


@dataclass(frozen=True, slots=True)
class Location:
    """A place: in a bucket (`bucket`, `key`), or on disk (`bucket` empty, `key` the path as the system spells it)."""

    bucket: str
    key: str

    @property
    def is_s3(self) -> bool:
        """Whether the place is in a bucket."""
        return bool(self.bucket)

    @property
    def uri(self) -> str:
        """The place in writing; `parse_uri` is its inverse."""
        return f"s3://{self.bucket}/{_MARKS.sub(_more, self.key)}" if self.bucket else file_uri(os.fsencode(self.key))

    def child(self, name: str) -> "Location":
        """A place below this one."""
        return Location(self.bucket, f"{self.key.rstrip('/')}/{name}" if self.key else name)


def file_uri(path: bytes) -> str:
    """The uri of an absolute local path given as the system's bytes."""
    return "file://" + _MARKS.sub(_encoded, quote_name(path))


def quote_name(name: bytes) -> str:
    """A name, given as bytes, as it stands in a uri."""
    return quote_from_bytes(name, safe=_BARE)


def _more(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2]}!/"


def _fewer(found: re.Match[str]) -> str:
    return f"{found[1]}{found[2][1:] or '!'}/"


def _encoded(found: re.Match[str]) -> str:
    return f"{found[1]}{'%21' * len(found[2])}/"


def parse_uri(text: str) -> Location:
    """The place a uri or local path names.

    Raises:
        SpecError: for a scheme Assay does not read, or an S3 uri without a bucket.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        return Location("", str(Path(text).expanduser().absolute()))
    if scheme == "file":
        return Location("", os.fsdecode(unquote_to_bytes(rest)))
    if scheme != "s3":
        raise SpecError(
            f"cannot read from {scheme}://",
            where=text,
            why="only s3:// and local paths are known",
            fix="copy it, or mount it",
        )
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise SpecError("no bucket in the uri", where=text, why="s3:// needs a bucket", fix="write s3://BUCKET/PREFIX")
    return Location(bucket, _MARKS.sub(_fewer, key))


def relative_uri(uri: str, root: str) -> str:
    """`uri` as seen from `root`, the uri of the source it was listed from; the whole uri if it is not below it."""
    stem = root if root.endswith("/") else f"{root}/"
    return uri[len(stem) :] if root and uri.startswith(stem) else uri


def shown_name(uri: str) -> str:
    """The name of an object as `--include` and `--exclude` patterns see it: percent-decoded for local files."""
    return os.fsdecode(unquote_to_bytes(uri[7:])) if uri.startswith("file://") else uri
