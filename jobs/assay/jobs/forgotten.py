"""What a store keeps of what it forgot: that it must not come back, and that it was erased; never what it was.

    STORE/forgotten/key                 random; what is remembered is keyed with it
    STORE/forgotten/intent.json         the erasure under way, in clear: written first, removed last
    STORE/forgotten/ERASURE.parquet     keyed digests of every (uri, etag) it erased
    STORE/forgotten/ERASURE.json        its audit line: when, who, why, how many

Knows how erasures are remembered and how an image is recognised by that. Does not know how anything is erased.

The digests are HMAC-SHA256, cut to 16 bytes. Who can read the store can try a guessed (uri, etag) against them, as
planning does; nobody can read names out of them.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from assay.jobs.extent import Extent, Kind
from assay.jobs.store import INTENT, Store
from assay.platform.errors import AssayError, CommitError, StorageError
from assay.platform.rows import ImageRef

FOLDER = "forgotten"
DIGEST_BYTES = 16
AT_ONCE = 8192
"""Images of a listing looked up together."""
TOMBSTONES = pa.schema(
    [
        pa.field("image", pa.binary(DIGEST_BYTES), nullable=False),  # of (uri, etag)
        pa.field("uri", pa.binary(DIGEST_BYTES), nullable=False),  # of the uri alone: what reports are found by
    ]
)


class Intent(BaseModel):
    """An erasure that was begun. The only place that holds what is being forgotten in clear."""

    model_config = ConfigDict(frozen=True)

    name: str
    extent: Extent
    typed: str
    """The place as it was typed."""
    reason: str
    by: str
    since: str


class Counts(BaseModel):
    """How much an erasure takes away."""

    model_config = ConfigDict(frozen=True)

    images: int
    """(uri, etag) pairs."""
    planned: int
    """Rows of manifests."""
    observations: int
    verdicts: int
    """Of all releases and policies."""
    files: int
    """Data files that hold them."""


class Erasure(BaseModel):
    """The audit line of an erasure."""

    model_config = ConfigDict(frozen=True)

    name: str
    since: str
    until: str
    by: str
    reason: str
    kind: Kind
    place: str
    """Keyed digest of the place as it was typed."""
    counts: Counts
    reports_removed: int
    reports_out_of_reach: tuple[str, ...]
    """Reports that name what was erased and were not found, or found changed, where they were written."""


@dataclass(frozen=True, slots=True)
class Key:
    """The store's key: what it knows again without knowing what it is."""

    secret: bytes

    @classmethod
    def of(cls, store: Store) -> "Key":
        """The store's key; made when first needed."""
        where = store.path(FOLDER, "key")
        held = store.storage.read(where)
        if held is None:
            held = os.urandom(32).hex().encode()
            if not store.storage.write(where, held, if_absent=True):
                return cls.of(store)  # another process made it first
        return cls(bytes.fromhex(held.decode()))

    def digest(self, *parts: str) -> bytes:
        """What is kept of some texts."""
        texts = [part.encode("utf-8", "surrogateescape") for part in parts]
        told = b"".join(len(text).to_bytes(8, "big") + text for text in texts)
        return hmac.digest(self.secret, told, hashlib.sha256)[:DIGEST_BYTES]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The images a store must not take up again. `images` are sorted digests: 16 bytes for each."""

    key: Key
    images: np.ndarray[Any, np.dtype[np.bytes_]]

    @classmethod
    def of(cls, store: Store) -> "Forgotten | None":
        """All that the store forgot; None when that is nothing. Read the generations before this, not after.

        Raises:
            CommitError: an erasure is under way or was cut off.
        """
        store.refuse_half_erased()
        names = [name for name in _names(store) if name.endswith(".parquet")]
        found = [one for name in names for one in _digests(store, name, "image")]
        if not found:
            return None
        return cls(Key.of(store), np.unique(np.array(found, f"S{DIGEST_BYTES}")))

    def are_in(self, refs: list[ImageRef]) -> list[bool]:
        """Which of some images were forgotten."""
        asked = np.array([self.key.digest(ref.uri, ref.etag) for ref in refs], self.images.dtype)
        places = np.minimum(np.searchsorted(self.images, asked), len(self.images) - 1)
        return [bool(one) for one in self.images[places] == asked]


def remember(store: Store, name: str, images: dict[bytes, bytes], counts: Counts) -> None:
    """Write down what an erasure takes away: digests of images and of their uris; kept if it was written before."""
    rows = pa.table(
        [pa.array(column, TOMBSTONES.field(0).type) for column in (images.keys(), images.values())], TOMBSTONES
    )
    sink = pa.BufferOutputStream()
    facts = {"counts": counts.model_dump_json()}
    pq.write_table(rows.sort_by("image").replace_schema_metadata(facts), sink, compression="zstd")
    store.storage.write(_place(store, f"{name}.parquet"), sink.getvalue().to_pybytes(), if_absent=True)


def remembered(store: Store, name: str) -> Counts | None:
    """How much an erasure took away; None before that is written down."""
    data = store.storage.read(_place(store, f"{name}.parquet"))
    if data is None:
        return None
    facts = pq.read_schema(pa.BufferReader(data)).metadata
    return Counts.model_validate_json(facts[b"counts"])


def forgotten_uris(store: Store, name: str) -> frozenset[bytes]:
    """Digests of the uris an erasure took away."""
    return frozenset(_digests(store, f"{name}.parquet", "uri"))


def hand_down(store: Store, heir: Store) -> None:
    """Let another store, which is to hold the same images, know what this one forgot: key, digests and audit lines.

    Raises:
        CommitError: the other one has a key of its own, so that neither could read what both forgot.
        StorageError: a list of what was forgotten is gone.
    """
    for name in ("key", *(name for name in _names(store) if name != "key")):
        data = store.storage.read(_place(store, name))
        if data is None and name == "key":
            continue  # nothing was ever forgotten, or shown in a report
        if data is None:
            raise _missing(store, name)
        heir.storage.write(_place(heir, name), data, if_absent=True)
        if heir.storage.read(_place(heir, name)) != data:
            raise CommitError(
                "the two stores remember differently what they forgot",
                where=_place(heir, name),
                why="it is not what the other store has",
                fix="use a new store",
            )


def has_forgotten_more(store: Store, heir: Store) -> bool:
    """Whether a store was made to forget something since it handed down what it forgot before."""
    return not _erased_so_far(store) <= _erased_so_far(heir)


def intent_of(store: Store) -> Intent | None:
    """The erasure under way, or cut off; None when there is none."""
    data = store.storage.read(store.path(*INTENT))
    try:
        return None if data is None else Intent.model_validate_json(data)
    except ValidationError as error:
        raise StorageError(
            "an erasure's intent cannot be read",
            where=store.path(*INTENT),
            why=str(error),
            fix="upgrade Assay; it must be carried out before anything else",
        ) from error


def write_audit(store: Store, erasure: Erasure) -> None:
    """Write an erasure's audit line, once and for all."""
    data = erasure.model_dump_json(indent=1).encode()
    store.storage.write(_place(store, f"{erasure.name}.json"), data, if_absent=True)


def erasures(store: Store) -> list[Erasure]:
    """The audit lines, oldest first."""
    lines = (store.storage.read(_place(store, name)) for name in sorted(_names(store)) if name.endswith(".json"))
    return [Erasure.model_validate(json.loads(line)) for line in lines if line is not None]


@contextmanager
def unerased(store: Store) -> Iterator[None]:
    """Read rows to compare them: what was read, or failed to be, counts only if nothing was erased meanwhile.

    Raises:
        CommitError: something was erased, is being erased, or was half erased before.
    """
    before = _erased_so_far(store)
    try:
        yield
    except AssayError as error:
        _refuse_erased_since(store, before, error)
        raise
    _refuse_erased_since(store, before)


def _refuse_erased_since(store: Store, before: frozenset[str], error: AssayError | None = None) -> None:
    if _erased_so_far(store) != before:
        raise CommitError(
            "something was erased while the rows were read",
            where=store.shown,
            why="some were read before and some after",
            fix="run the same command again",
        ) from error


def _erased_so_far(store: Store) -> frozenset[str]:
    store.refuse_half_erased()
    return frozenset(name for name in _names(store) if name.endswith(".parquet"))


def _names(store: Store) -> list[str]:
    """What lies in the folder, less the intent and what a killed writer left aside."""
    names = (file.name for file in store.storage.list(store.path(FOLDER)))
    return [name for name in names if name != INTENT[-1] and not name.startswith(".")]


def _digests(store: Store, name: str, column: str) -> Iterator[bytes]:
    data = store.storage.read(_place(store, name))
    if data is None:
        raise _missing(store, name)
    yield from pq.read_table(pa.BufferReader(data), columns=[column])[column].to_pylist()


def _missing(store: Store, name: str) -> StorageError:
    return StorageError(
        "a list of what was forgotten is missing",
        where=_place(store, name),
        why="not there",
        fix="restore it from a backup: without it what was forgotten could come back",
    )


def _place(store: Store, name: str) -> str:
    return store.path(FOLDER, name)
