"""Forgetting: everything a store knows of a uri or a prefix is erased, for good.

Knows what is asked for and what is promised. Does not know how it is done (`erasure.py`).

Promised, once the command has ended: no file of the store holds the uri, its observations (hashes and embeddings too)
or its verdicts, of whatever release, not even in files nobody reads or in the history of the tables; reports that this
store's `assay report` wrote are gone, or named as out of reach; neither a resumed run nor a new listing brings the same
(uri, etag) back. All other rows stay as they are. Another version uploaded under the same uri is another image.

Not promised: the object itself, which is the caller's to delete; an audit of the very same bytes put under the same uri
of a bucket again (their etag is the same: they stay forgotten, and unjudged); copies made outside (backups, other
stores, earlier versions kept by the bucket, freed blocks of a disk, reports that were moved, what was read out of the
tables or logged elsewhere); readers who had an older version of a table open, who may read on or fail; a twin of the
image under another uri; patterns and list files on command lines; files that a paused worker, planner or driver of an
earlier run writes afterwards: nobody reads them, and the next erasure or `assay vacuum` removes them.
"""

import getpass
import os
import socket
from collections.abc import Callable

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.erasure import PURPOSE, Census, carry_out, finish_erasure
from assay.jobs.extent import Extent, Kind
from assay.jobs.forgotten import Counts, Erasure, Intent, Key
from assay.jobs.store import INTENT, Store, new_run, now
from assay.platform.errors import CommitError, SpecError
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.platform.uris import parse_uri

Tell = Callable[[str], None]


class ForgetSpec(Spec):
    """What to forget, and where."""

    place: str | None = Field(
        None, kw_only=False, description="uri of an image, or a folder or s3://…/ ; unset: finish what was cut off"
    )
    store: str = Field(description="the store")
    prefix: bool = Field(False, description="forget every key that begins with the uri, as a listing of S3 would")
    reason: str = Field("", max_length=500, description="why; kept in the audit line, so it must not hold the uri")
    dry_run: bool = Field(False, description="only count")
    storage: StorageSpec = Field(StorageSpec(), description="object storage of the store")


class ForgetFacts(BaseModel):
    """What was forgotten, or would be."""

    model_config = ConfigDict(frozen=True)

    erasure: str | None
    """Name of the audit line; None for a dry run, or when there was nothing to finish."""
    kind: Kind | None
    counts: Counts
    reports_removed: int = 0
    reports_out_of_reach: tuple[str, ...] = ()


def forget(spec: ForgetSpec, tell: Tell = lambda _line: None) -> ForgetFacts:
    """Erase what a store knows of a uri or prefix; first finish an erasure that was cut off.

    Raises:
        SpecError: no store, or nobody knows the place; nothing was changed.
        FencedError: another driver has the store.
        StorageError: something that must be rewritten cannot be read or written; the same command goes on.
    """
    store = Store.open(Storage(spec.storage), spec.store)
    if not spec.dry_run:
        finished = finish_erasure(store, tell)
        if spec.place is None or (finished is not None and finished.place == Key.of(store).digest(spec.place).hex()):
            return _facts_of(finished)
    if spec.place is None:
        raise SpecError("nothing to count", where=store.shown, why="--dry-run without a place", fix="name a uri")
    extent, census = _find(store, spec)
    if spec.dry_run:
        return ForgetFacts(erasure=None, kind=extent.kind, counts=census.counts())
    _refuse_telling(extent, spec)
    with store.hold(PURPOSE, tell) as lease:
        intent = Intent(
            name=new_run(), extent=extent, typed=spec.place, reason=spec.reason, by=_who(), since=now()
        )  # fmt: skip
        if not store.storage.write(store.path(*INTENT), intent.model_dump_json(indent=1).encode(), if_absent=True):
            raise CommitError(
                "another erasure was begun", where=store.shown, why="its intent is there", fix="run the command again"
            )
        return _facts_of(carry_out(store, lease, intent))


def _facts_of(erasure: Erasure | None) -> ForgetFacts:
    if erasure is None:
        none = Counts(images=0, planned=0, observations=0, verdicts=0, files=0)
        return ForgetFacts(erasure=None, kind=None, counts=none)
    return ForgetFacts(
        erasure=erasure.name,
        kind=erasure.kind,
        counts=erasure.counts,
        reports_removed=erasure.reports_removed,
        reports_out_of_reach=erasure.reports_out_of_reach,
    )


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _find(store: Store, spec: ForgetSpec) -> tuple[Extent, Census]:
    """What is meant by the place, told from what the store knows.

    Raises:
        SpecError: it knows nothing of it.
    """
    text, key = spec.place or "", Key(os.urandom(32))  # to count with; nothing is written yet
    is_folder = text.endswith("/") or parse_uri(text).uri.endswith("/")
    tried = [] if spec.prefix or is_folder else [Extent.of_uri(text)]
    if spec.prefix:
        tried.append(Extent.beginning(text))
    elif is_folder or not parse_uri(text).is_s3:
        tried.append(Extent.below(text))
    for extent in tried:
        census = Census.of(store, extent, key)
        if census.images:
            return extent, census
    wider = 0 if spec.prefix or is_folder else len(Census.of(store, Extent.beginning(text), key).images)
    raise SpecError(
        "nobody knows this place",
        where=text,
        why=f"the store has no row of it, and {wider} of uris that begin with it",
        fix="check the spelling; a folder ends with /, and --prefix means every key that begins like this",
    )


def _refuse_telling(extent: Extent, spec: ForgetSpec) -> None:
    if any(extent.names(word) for word in spec.reason.split()) or any(stem in spec.reason for stem in extent.stems):
        raise SpecError(
            "the reason names what is to be forgotten",
            where="--reason",
            why="the audit line is kept, and must not hold it",
            fix="write a case number",
        )
