"""Carrying scores over: which labels another release scores just alike, and which of its verdicts are at hand.

Knows the fingerprints that a store keeps beside each release, and how the best base is chosen. Does not know how scores
are read (`stored_rows.py`) nor what is decided from them. What is carried is held against the embeddings of every
flagged image, and of some more, by the moderator itself.
"""

import json
from dataclasses import dataclass

from assay.jobs.file_table import FileTable
from assay.jobs.release_copy import FINGERPRINTS_FILE
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store
from assay.platform.errors import StoreVersionError
from assay.platform.release import Release


@dataclass(frozen=True, slots=True)
class Base:
    """Older verdicts whose scores may be carried over: `labels` of theirs. Without labels it is nobody's."""

    release: str
    policy: str
    labels: tuple[str, ...]

    @classmethod
    def nothing(cls) -> "Base":
        """Nothing is carried over."""
        return cls("", "", ())

    @property
    def partition(self) -> dict[str, str]:
        """Where they are."""
        return {"release": self.release, "policy": self.policy}


def find_base(store: Store, release: Release, policy: str, wanted: ShardRanges) -> Base:
    """The older verdicts that save most: of most labels alike; of as many, of most of the `wanted` shards."""
    ours, verdicts = release.scorer().fingerprints(), store.verdicts.table()
    alike = {of: _alike(ours, _read(store, of)) for of in {of for of, _ in verdicts.partitions()}}
    found = []
    for of, under in verdicts.partitions():
        base = Base(of, under, alike[of])
        if base.labels and base.partition != {"release": release.id, "policy": policy}:
            found.append((len(base.labels), len(verdicts.shards(base.partition) & wanted), of, under))
    best = max((one for one in found if one[1]), default=None)
    return Base.nothing() if best is None else Base(best[2], best[3], alike[best[2]])


def files_of(verdicts: FileTable, base: Base) -> FileTable:
    """The files of a base."""
    return verdicts.within(base.partition) if base.labels else FileTable.none()


def _alike(ours: dict[str, str], theirs: dict[str, str]) -> tuple[str, ...]:
    return tuple(label for label, made_of in ours.items() if theirs.get(label) == made_of)


def _read(store: Store, release: str) -> dict[str, str]:
    """The fingerprints kept of a release; none for one that an older Assay kept."""
    where = store.path("releases", release, FINGERPRINTS_FILE)
    data = store.storage.read(where)
    try:
        return {} if data is None else {str(label): str(made_of) for label, made_of in json.loads(data).items()}
    except (ValueError, AttributeError) as error:
        raise StoreVersionError(
            "a release's fingerprints cannot be read",
            where=where,
            why=str(error),
            fix="remove that object: scores are then made anew",
        ) from error
