"""How far a store is: planned, done and left, told from manifests, ledgers and the latest run record.

Knows facts only; reads no row of observations or verdicts.
"""

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.forgotten import erasures
from assay.jobs.generation import emptied_shards, generations
from assay.jobs.store import Store
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec


class StatusSpec(Spec):
    """Which store."""

    store: str = Field(kw_only=False, description="the store")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


class StatusFacts(BaseModel):
    """How far a store is."""

    model_config = ConfigDict(frozen=True)

    planned: int
    observed: int
    judged: dict[str, int]
    """Verdicts by `release/policy`."""
    shards: int
    shards_done: int
    generations: int
    forgotten: int
    """Images that `assay forget` erased, all in all."""
    erasing: bool
    """Whether an erasure is under way, or was cut off."""
    run: str | None
    state: str | None
    """Of the latest run: running, interrupted, failed, done. A killed run says `running` with an old `written`."""
    written: str | None
    release: str | None
    policy: str | None
    images_per_second: float | None


def status(spec: StatusSpec) -> StatusFacts:
    """Read how far a store is.

    Raises:
        SpecError: there is no store.
    """
    store = Store.open(Storage(spec.storage), spec.store)
    known = generations(store)
    observed = store.observations.table()
    done = observed.shards()
    latest, emptied = store.run() or {}, emptied_shards(known)
    return StatusFacts(
        planned=sum(generation.images for generation in known),
        observed=observed.num_rows(),
        judged={"/".join(key): rows for key, rows in store.verdicts.table().partitions().items()},
        shards=sum(generation.shards for generation in known) - len(emptied),
        shards_done=len(done - emptied),
        generations=sum(generation.shards > 0 for generation in known),
        forgotten=sum(erasure.counts.images for erasure in erasures(store)),
        erasing=store.is_half_erased(),
        run=latest.get("run"),
        state=latest.get("state"),
        written=latest.get("written"),
        release=latest.get("release"),
        policy=latest.get("policy"),
        images_per_second=latest.get("images_per_second"),
    )
