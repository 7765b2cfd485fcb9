"""What a migrated store keeps of how it came to be: which two encoders, what was measured, and the map itself.

    STORE/migration/map.safetensors     the map; written first
    STORE/migration/migration.json      the pair, the rule, the figures; written once

With them an interrupted migration goes on where it was, on the same map, and anyone can see later what a mapped
embedding stands on. Knows those two files. Does not know how anything was measured.
"""

from pydantic import BaseModel, ConfigDict, ValidationError

from assay.jobs.decider import ClearRule
from assay.jobs.migration_agreement import Agreement, LabelError, Promise
from assay.jobs.migration_sample import SampledFacts
from assay.jobs.store import Store
from assay.platform.embedding_map import EmbeddingMap, Kind
from assay.platform.errors import SpecError, StoreVersionError

MAP = ("migration", "map.safetensors")
RECORD = ("migration", "migration.json")


class MapFacts(BaseModel):
    """The map, and how near it comes on images it was not learnt from."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    penalty: float
    cosine: float
    """Mean cosine between a mapped view and the real one, on the images tested."""
    cosine_p05: float
    """One view in twenty is farther off than this."""


class Measured(BaseModel):
    """What was found out before anything was written."""

    model_config = ConfigDict(frozen=True)

    sample: SampledFacts
    map: MapFacts
    promise: Promise
    every: Agreement
    """If every image were mapped, clear or not."""
    rule: ClearRule | None
    """None if no rule could be chosen."""
    clear: Agreement | None
    """Under the rule, on images that nothing was learnt from."""
    labels: tuple[LabelError, ...]
    why_not: str
    """Why the migration is refused; empty if it is not."""


class Pair(BaseModel):
    """From which store with which encoder to which release."""

    model_config = ConfigDict(frozen=True)

    store_id: str
    old_encoder: str
    new_encoder: str
    release: str
    policies: tuple[str, ...]


class MigrationRecord(BaseModel):
    """The content of `migration.json`."""

    model_config = ConfigDict(frozen=True)

    pair: Pair
    from_store: str
    """Where the old store was."""
    begun: str
    generations: int
    """Of the old store, when the migration was begun: the manifests that were copied."""
    measured: Measured


def read_record(store: Store) -> MigrationRecord | None:
    """How a store came to be; None when it is no migrated one.

    Raises:
        StoreVersionError: that cannot be read.
    """
    where = store.path(*RECORD)
    data = store.storage.read(where)
    try:
        return None if data is None else MigrationRecord.model_validate_json(data)
    except ValidationError as error:
        fix = "upgrade Assay, or restore it from a backup"
        raise StoreVersionError(
            "the record of a migration cannot be read", where=where, why=str(error), fix=fix
        ) from error


def write_record(store: Store, record: MigrationRecord, found: EmbeddingMap) -> None:
    """Keep the map, then the record, once and for all. Call it while the store is held."""
    store.storage.write(store.path(*MAP), found.to_bytes())
    store.storage.write(store.path(*RECORD), record.model_dump_json(indent=1).encode(), if_absent=True)


def read_map(store: Store) -> EmbeddingMap:
    """The map that a migrated store's record speaks of.

    Raises:
        StorageError: it is damaged.
        SpecError: it is gone.
    """
    where = store.path(*MAP)
    data = store.storage.read(where)
    if data is None:
        fix = "restore it from a backup, or remove this store and begin again"
        raise SpecError("the map of a migration is gone", where=where, why="not there", fix=fix)
    return EmbeddingMap.of_bytes(data, where)
