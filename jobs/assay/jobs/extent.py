"""The extent of an erasure: one uri, a pack with all that lies in it, or all uris that begin with a prefix.

Knows how people spell places and which uris they mean. Does not know what is stored under them.
"""

import os
import shlex
from enum import StrEnum
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from assay.platform.errors import SpecError
from assay.platform.members import MARK, is_pack, parse_member
from assay.platform.uris import file_uri, parse_uri

HIDDEN = "(forgotten)"
"""What stands in a record where a uri stood."""


class Kind(StrEnum):
    """How an extent says which uris it has."""

    URI = "uri"
    PREFIX = "prefix"
    PACK = "pack"


class Extent(BaseModel):
    """Which uris are meant. `stems` are the spellings a listing may have given the one place that was named."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    stems: tuple[str, ...]

    @classmethod
    def of_uri(cls, text: str) -> "Extent":
        """The one image a uri or path names; of a pack, it and all that lies in it."""
        return cls(kind=Kind.PACK if is_pack(text) else Kind.URI, stems=_spellings(text))

    @classmethod
    def below(cls, text: str) -> "Extent":
        """What lies below a folder: all uris that go on after its slash."""
        return cls(kind=Kind.PREFIX, stems=tuple(f"{stem.rstrip('/')}/" for stem in _spellings(text)))

    @classmethod
    def beginning(cls, text: str) -> "Extent":
        """All keys of a bucket that begin like this, as S3 lists a prefix; of a folder on disk what lies below it."""
        return cls(kind=Kind.PREFIX, stems=_spellings(text)) if parse_uri(text).is_s3 else cls.below(text)

    def has(self, uri: str) -> bool:
        """Whether a uri is meant."""
        return uri.startswith(self._beginnings) or (self.kind is not Kind.PREFIX and uri in self.stems)

    @property
    def _beginnings(self) -> tuple[str, ...]:
        if self.kind is Kind.PACK:
            return tuple(f"{stem}{MARK}" for stem in self.stems)
        return self.stems if self.kind is Kind.PREFIX else ()

    def mask(self, uris: pa.ChunkedArray) -> pa.ChunkedArray:
        """Which of a column of uris are meant."""
        whole = () if self.kind is Kind.PREFIX else self.stems
        found = pc.is_in(uris, pa.array(whole, pa.string()))
        for stem in self._beginnings:
            found = pc.or_(found, pc.starts_with(uris, stem))
        return found

    def may_lie_between(self, first: str, last: str) -> bool:
        """Whether uris from `first` to `last` can be meant."""
        if self.kind is not Kind.PREFIX and any(first <= stem <= last for stem in self.stems):
            return True
        return any(first[: len(stem)] <= stem <= last for stem in self._beginnings)

    def names(self, text: str) -> bool:
        """Whether a text is, as a whole, the name of a place that is meant, or of the folder that all of it is."""
        if "://" not in text and not text.startswith("/"):
            return False  # a relative path does not say where it began
        try:
            spelled = _spellings(text)
        except SpecError:  # another scheme, or no uri at all
            return False
        return any(self.has(one) or self.has(f"{one.rstrip('/')}/") for one in spelled)

    def hide(self, told: object) -> object:
        """`told`, a JSON value, without the names of what is meant. Where a store lies stays known."""
        if isinstance(told, dict):
            return {name: value if name == "store" else self.hide(value) for name, value in told.items()}
        if isinstance(told, list):
            return [self.hide(value) for value in told]
        return self._hidden(told) if isinstance(told, str) else told

    def _hidden(self, text: str) -> str:
        if self.names(text):
            return HIDDEN
        try:
            words = shlex.split(text)
        except ValueError:  # not a command line
            return text
        if not any(self.names(word.rpartition("=")[2]) for word in words):
            return text
        return shlex.join(HIDDEN if self.names(word.rpartition("=")[2]) else word for word in words)


def _spellings(text: str) -> tuple[str, ...]:
    """The uris of a place: as written and, on disk, with links in its folders followed, as a listing has them."""
    member = parse_member(text)
    if member is not None:
        return tuple(f"{pack}{text[len(member.pack) :]}" for pack in _spellings(member.pack))
    place = parse_uri(text)
    if place.is_s3:
        return (place.uri,)
    path = Path(place.key)
    followed = path.parent.resolve() / path.name
    written = (place.uri, file_uri(os.fsencode(followed)), file_uri(os.fsencode(path.resolve())))
    return tuple(dict.fromkeys(written))
