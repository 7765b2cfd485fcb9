"""Who judged a store: a release and one of its policies, as users name them, and the verdicts that they left.

Knows the store's copies of releases and the partitions of its verdicts. Does not know what is done with the verdicts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from assay.jobs.datafile import unreadable
from assay.jobs.release_choice import choose_release
from assay.jobs.release_copy import fetch_release
from assay.jobs.report import READING
from assay.jobs.store import Store
from assay.platform.document import did_you_mean
from assay.platform.errors import SpecError
from assay.platform.policy import Policy
from assay.platform.release import Release
from assay.platform.release_manifest import RELEASE_FILE
from assay.registry.place import RegistrySpec
from assay.registry.resolving import Resolved, Tell


@dataclass(frozen=True, slots=True)
class Judged:
    """A release and one of its policies, under which a store was judged."""

    release: Release
    policy: Policy

    @property
    def partition(self) -> dict[str, str]:
        """Where their verdicts are in the table."""
        return {"release": self.release.id, "policy": self.policy.name}

    @property
    def where(self) -> pc.Expression:
        """What selects their verdicts."""
        return (pc.field("release") == self.release.id) & (pc.field("policy") == self.policy.name)

    def thresholds(self) -> dict[str, dict[str, float]]:
        """The thresholds of each scored label, by action; an action that is never taken is left out."""
        labels = tuple(self.release.library().labels)
        edges = self.policy.thresholds(labels, self.release.operating_points().of(self.policy.name))
        return {
            label: {name: float(at) for name, at in zip(("review", "block"), both, strict=True) if np.isfinite(at)}
            for label, *both in zip(labels, *edges, strict=True)
        }


def find_release(
    store: Store, named: str | None, registry: RegistrySpec | None = None, tell: Tell = lambda _line: None
) -> Resolved:
    """The release asked for: the latest run's, one the store keeps (by its id), one in a directory or of a registry.

    Raises:
        SpecError: none is named, and nothing was judged yet.
        ReleaseError: there is no such release.
        RegistryError, CredentialsError: the registry does not hand it out.
    """
    wanted = named or str((store.run() or {}).get("release") or "")
    if not wanted:
        raise SpecError(
            "nothing was judged yet", where=store.shown, why="no run is recorded", fix="run `assay backfill` first"
        )
    if "/" not in wanted and store.size_of(f"releases/{wanted}/{RELEASE_FILE}") is not None:
        return Resolved(fetch_release(store.storage, store.uri, wanted))
    return choose_release(wanted, registry, tell)


def find_judged(store: Store, release: str | None = None, policy: str | None = None) -> Judged:
    """A release (as `find_release` has it, of no registry) and a policy it judged this store under.

    Raises:
        SpecError: it judged nothing here, or not under this policy.
    """
    return judged_by(store, find_release(store, release).release, policy)


def judged_by(store: Store, found: Release, policy: str | None = None) -> Judged:
    """A release and a policy it judged this store under: the one named; unset, its default if that judged, else any
    that did.

    Raises:
        SpecError: it judged nothing here, or not under this policy.
    """
    judged = policies_of(store, found.id)
    default = found.manifest.default_policy
    name = policy or (default if default in judged or not judged else judged[0])
    if name not in judged:
        raise SpecError(
            f"release {found.id} has judged nothing here under policy {name!r}{did_you_mean(name, judged)}",
            where=store.shown,
            why=f"it judged under {', '.join(judged) or 'none'}",
            fix="run `assay reaudit` with that release and policy first: it judges what is stored, without a fetch",
        )
    return Judged(found, found.policy(name))


def policies_of(store: Store, release: str) -> list[str]:
    """The policies under which a release (by its id) judged something in a store."""
    return sorted(policy for of, policy in store.verdicts.table().partitions() if of == release)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdicts `of` a table that `mine` selects; `store` is where it is."""

    of: ds.Dataset
    mine: pc.Expression
    store: str

    @classmethod
    def by(cls, store: Store, judged: Judged, where: pc.Expression | None = None) -> "Verdicts":
        """Those of one release and policy; of them, those that `where` selects."""
        return cls(store.verdicts.dataset(), judged.where if where is None else judged.where & where, store.uri)

    def batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns, file by file: a scan of the whole table reads ahead of a slow consumer by up to a gigabyte.

        Raises:
            StorageError: a committed file cannot be read.
        """
        for file in self.of.get_fragments(filter=self.mine):
            scanner = file.scanner(schema=self.of.schema, columns=columns, filter=self.mine, **READING)
            try:
                yield from scanner.to_batches()
            except (OSError, pa.ArrowException) as error:
                raise unreadable(self.store, f"{self.store}/verdicts/{file.path}", str(error)) from error
