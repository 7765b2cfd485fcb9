"""The store: where everything Assay knows of a corpus lies.

    STORE/store.json                      schema version; written once
    STORE/binding.json                    what its observations are made with (`binding.py`); written once
    STORE/manifests/generation-N/…        listings (`manifest.py`)
    STORE/observations, STORE/verdicts    Delta tables (`ledger.py`)
    STORE/runs/RUN.json                   one record per run
    STORE/lease/…                         who may change it now (`lease.py`)
    STORE/forgotten/…                     what must not come back (`forgotten.py`)
    STORE/draws/…                         what was drawn for prevalence (`prevalence_draw.py`)
    STORE/reports/…                       where reports were written (`report_trace.py`)

Knows the layout and refuses stores it must not touch. Does not know how rows come to be.
"""

import json
import os
import re
import shlex
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from assay.jobs.delta_log import DeltaLedger
from assay.jobs.lease import Lease, take_lease
from assay.jobs.ledger import APP_EPOCH
from assay.platform.errors import CommitError, SpecError, StorageError, StoreVersionError
from assay.platform.rows import OBSERVATIONS, SCHEMA_VERSION, VERDICT_PARTITIONS, VERDICTS
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import parse_uri

INTENT = ("forgotten", "intent.json")
"""Where an erasure says that it was begun; gone when it is done."""


class StoreSpec(Spec):
    """Which store. A base of other Specs: its fields come first."""

    store: str = Field(kw_only=False, description="the store")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


class PlacesSpec(Spec):
    """Where a job reads, and where it keeps what it learns. A base of other Specs: its fields come first."""

    source: str = Field(kw_only=False, description="folder, s3://bucket/prefix, Parquet manifest or text list of uris")
    store: str = Field(description="folder or s3://bucket/prefix that keeps what is known of the corpus")
    storage: StorageSpec = Field(StorageSpec(), description="object storage of source and store")


class _StoreFacts(BaseModel):
    """The content of store.json. Unknown fields are kept quiet: a newer minor version may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int
    store_id: str
    created: str


class Store:
    """A store. `open` one that must exist, or `attach` and `establish` it.

    Raises:
        SpecError: its name has characters that Delta tables cannot live under.
    """

    def __init__(self, storage: Storage, uri: str) -> None:
        self.storage = storage
        self.uri = parse_uri(uri).uri.rstrip("/")
        self._found: bool | None = None
        """Whether a store was found here; None before it was looked for."""
        self._is_probed, self._latest = False, ""
        _refuse_odd_name(parse_uri(uri).key, uri)
        self.observations = DeltaLedger(storage, self.path("observations"), OBSERVATIONS)
        self.verdicts = DeltaLedger(storage, self.path("verdicts"), VERDICTS, VERDICT_PARTITIONS)

    def path(self, *names: str) -> str:
        """The uri of something in the store."""
        return "/".join([self.uri, *names])

    @property
    def shown(self) -> str:
        """The store as a person would type it."""
        place = parse_uri(self.uri)
        return self.uri if place.is_s3 else place.key

    @property
    def id(self) -> str:
        """The store's own id, wherever it lies; empty while there is no store."""
        data = self.storage.read(self.path("store.json"))
        return "" if data is None else _StoreFacts.model_validate_json(data).store_id

    @classmethod
    def open(cls, storage: Storage, uri: str) -> "Store":
        """The store at `uri`, which must exist.

        Raises:
            SpecError: there is none.
            StoreVersionError: a newer Assay wrote it, or its facts cannot be read.
        """
        store = cls(storage, uri)
        if not store._is_known():
            raise SpecError(
                "no store here",
                where=store.shown,
                why="store.json is missing",
                fix="check --store; `assay backfill` makes one",
            )
        return store

    @classmethod
    def attach(cls, storage: Storage, uri: str) -> "Store":
        """The store at `uri`, or the place where one may come; nothing is written.

        Raises:
            StoreVersionError: as `open`.
        """
        store = cls(storage, uri)
        store._is_known()
        return store

    def probe(self) -> None:
        """Make sure that a store could come here, if none is.

        Raises:
            StorageError: the place cannot be written, or cannot keep the store's promises.
        """
        if not self._is_probed and not self._is_known():
            probe_store(self.storage, self.uri)
            self._is_probed = True

    def establish(self) -> None:
        """Make the store if it is not there.

        Raises:
            StorageError: as `probe`.
        """
        self.probe()
        if self._is_known():
            return
        facts = _StoreFacts(schema_version=SCHEMA_VERSION, store_id=str(uuid.uuid4()), created=now())
        said = facts.model_dump_json(indent=1).encode()
        # Or another one's, made since we looked.
        self._found = self.storage.write(self.path("store.json"), said, if_absent=True) or self._look()

    def _is_known(self) -> bool:
        if self._found is None:
            self._found = self._look()
        return self._found

    def _look(self) -> bool:
        where = self.path("store.json")
        data = self.storage.read(where)
        if data is None:
            return False
        try:
            facts = _StoreFacts.model_validate_json(data)
        except ValidationError as error:
            raise StoreVersionError(
                "this store's facts cannot be read",
                where=where,
                why=str(error),
                fix="restore store.json, or use another store",
            ) from error
        if facts.schema_version != SCHEMA_VERSION:
            newer = facts.schema_version > SCHEMA_VERSION
            raise StoreVersionError(
                f"this store was written by {'a newer' if newer else 'an older'} Assay",
                where=where,
                why=f"schema version {facts.schema_version}, this Assay knows {SCHEMA_VERSION}",
                fix=f"{'upgrade Assay' if newer else 'use the Assay that wrote it'}, or use another store",
            )
        return True

    def size_of(self, name: str) -> int | None:
        """The size of a file in the store, or None when it is not there."""
        found = self.storage.facts(self.path(name))
        return None if found is None else found.size

    def is_half_erased(self) -> bool:
        """Whether an erasure is under way, or was cut off before its end."""
        return self.storage.read(self.path(*INTENT)) is not None

    def refuse_half_erased(self) -> None:
        """Refuse to tell or change anything while some of what is erased is there and some is not.

        Raises:
            CommitError: an erasure is under way, or was cut off.
        """
        if self.is_half_erased():
            raise CommitError(
                "this store is being made to forget something",
                where=self.shown,
                why="an erasure is under way, or was cut off before its end",
                fix=f"wait for it; if it runs no more, finish it: assay forget --store {shlex.quote(self.shown)}",
            )

    @contextmanager
    def hold(
        self, purpose: str, tell: Callable[[str], None] = lambda _line: None, *, erasing: bool = False
    ) -> Iterator[Lease]:
        """Be the one driver of this store: under its lease, with both tables made and fenced.

        What was read of the tables before may be old; read again.

        Raises:
            FencedError: another driver has the store.
            CommitError: an erasure was cut off; only who comes to finish it (`erasing`) may have the store.
        """
        # Tables remember the highest epoch that ever fenced them, also when the folder of leases is lost.
        fenced = max(ledger.log.number(APP_EPOCH) for ledger in (self.observations, self.verdicts))
        with take_lease(self.storage, self.path("lease"), purpose, now(), tell, fenced) as lease:
            if not erasing:
                self.refuse_half_erased()
            for ledger in (self.observations, self.verdicts):
                ledger.create()
                ledger.fence(lease.epoch)
            yield lease

    def write_run(self, run: str, record: dict[str, Any]) -> None:
        """Write (again) the record of one run."""
        self.storage.write(self.path("runs", f"{run}.json"), json.dumps(record, indent=1, default=str).encode())
        if run != self._latest:
            self.storage.write(self.path("runs", "latest.json"), json.dumps({"run": run}).encode())
            self._latest = run

    def run(self, name: str | None = None) -> dict[str, Any] | None:
        """The record of a run, or of the one that wrote last; None when there is none."""
        if name is None:
            pointer = self._record("latest")
            if pointer is None:
                return None
            name = str(pointer.get("run"))
        return self._record(name)

    def _record(self, name: str) -> dict[str, Any] | None:
        where = self.path("runs", f"{name}.json")
        data = self.storage.read(where)
        try:
            return None if data is None else dict(json.loads(data))
        except (ValueError, TypeError) as error:
            raise StoreVersionError(
                "a run record cannot be read",
                where=where,
                why=str(error),
                fix="remove that object: the rows do not depend on it, and the next backfill writes a new one",
            ) from error


def _refuse_odd_name(name: str, where: str) -> None:
    """delta-rs decodes `%41` in a table's place, and takes no control characters and nothing that is no UTF-8."""
    if re.search(r"%[0-9A-Fa-f]{2}|[\x00-\x1f\x7f\udc80-\udcff]", name):
        raise SpecError(
            "a store cannot have this name",
            where=ascii(where),
            why="Delta tables cannot live below control characters, bytes that are not UTF-8, or % and two hex digits",
            fix="choose another --store",
        )


def now() -> str:
    """The time, UTC, to the millisecond."""
    stamp = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(stamp)) + f".{int(stamp % 1 * 1000):03d}Z"


def new_run() -> str:
    """A name for a run: its time, and a few random letters against collisions."""
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime()) + "-" + os.urandom(3).hex()


def probe_store(storage: Storage, uri: str) -> None:
    """Write twice under one name with a conditional put: the second must be refused, else commits could overwrite.

    Raises:
        StorageError: the place cannot be written, or the store ignores the condition.
    """
    where = f"{uri}/probe-{uuid.uuid4().hex}"
    first = storage.write(where, b"assay", if_absent=True)
    second = storage.write(where, b"assay again", if_absent=True)
    kept = storage.read(where)
    storage.remove(where)
    if not first or second or kept != b"assay":
        raise StorageError(
            "this store does not honour conditional put",
            where=uri,
            why="a second write under the same name was accepted, so two drivers could overwrite each other's commits",
            fix="use a store that supports If-None-Match (AWS S3, MinIO, SeaweedFS, Ceph …)",
        )
