"""Generations: what each listing that brought something new added to a store.

    manifests/generation-000000/generation.json   written last: without it the generation does not exist

Knows numbers, and that shard ranges follow on each other. Does not know the rows (`manifest.py`).
"""

import re
from collections.abc import Iterable

import pyarrow.fs
from pydantic import BaseModel, ConfigDict, ValidationError

from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store, now
from assay.platform.errors import ConservationError, ManifestError
from assay.platform.other_clients import arrow_place, outlast

_NAME = re.compile(r"generation-(\d{6,})$")


class Part(BaseModel):
    """One Parquet file of a generation."""

    model_config = ConfigDict(frozen=True)

    name: str
    rows: int
    first_shard: int
    last_shard: int


class Generation(BaseModel):
    """One listing that brought something new."""

    model_config = ConfigDict(frozen=True)

    number: int
    source: str
    root: str
    """The uri that names in digests are relative to."""
    created: str
    listed: int
    """Objects the listing saw, new or known."""
    images: int
    bytes: int
    first_shard: int
    shards: int
    parts: list[Part]
    emptied: list[tuple[int, int]] = []
    """First and last of runs of shards whose images were all forgotten: they keep their numbers and have no work."""

    @classmethod
    def empty(cls, known: list["Generation"], source: str = "") -> "Generation":
        """The one after `known`, without images: it only takes the number."""
        nothing = {"listed": 0, "images": 0, "bytes": 0, "shards": 0, "parts": []}
        first = known[-1].next_shard if known else 0
        named = {"number": len(known), "first_shard": first, "source": source, "root": "", "created": now()}
        return cls.model_validate(named | nothing)

    @property
    def folder(self) -> str:
        """The generation's folder below `manifests`."""
        return f"generation-{self.number:06d}"

    @property
    def next_shard(self) -> int:
        """The first shard number after this generation."""
        return self.first_shard + self.shards


def generations(store: Store) -> list[Generation]:
    """The store's generations, in order.

    Raises:
        ConservationError: a number is missing or shard ranges do not follow on each other.
    """
    where = store.path("manifests")
    found = outlast(store.storage, where, lambda: _look_into(store, where))
    names = sorted(info.base_name for info in found if _NAME.search(info.base_name))
    known = [one for name in names if (one := _read_generation(store, name)) is not None]
    expected = 0
    for index, generation in enumerate(known):
        if generation.number != index or generation.first_shard != expected:
            raise ConservationError(
                "the store's manifests do not follow on each other",
                where=store.path("manifests", generation.folder),
                why=f"expected generation {index} from shard {expected}",
                fix="restore the missing generation.json from a backup",
            )
        expected = generation.next_shard
    return known


def publish(store: Store, generation: Generation) -> bool:
    """Make a generation exist; False when another planner took its number first."""
    where = generation_file(store, generation)
    return store.storage.write(where, generation.model_dump_json(indent=1).encode(), if_absent=True)


def generation_file(store: Store, generation: Generation) -> str:
    """Where its `generation.json` lies."""
    return store.path("manifests", generation.folder, "generation.json")


def refuse_unplanned(store: Store, known: list[Generation]) -> None:
    """Refuse a store whose last `generation.json` was lost: the shards of a new one would be taken for done.

    Raises:
        ConservationError: shards were observed that no generation has.
    """
    end = known[-1].next_shard if known else 0
    last = int(store.observations.table().lasts.max(initial=-1))
    if last >= end:
        raise ConservationError(
            "the store has rows that none of its manifests plans",
            where=store.path("manifests"),
            why=f"shard {last} was observed; the manifests end before shard {end}",
            fix="restore the missing generation.json from a backup",
        )


def emptied_shards(known: Iterable[Generation]) -> ShardRanges:
    """The shards whose images were all forgotten."""
    return ShardRanges.between(ends for generation in known for ends in generation.emptied)


def _look_into(store: Store, where: str) -> list[pyarrow.fs.FileInfo]:
    fs, path = arrow_place(store.storage, where)
    return list(fs.get_file_info(pyarrow.fs.FileSelector(path, allow_not_found=True)))


def _read_generation(store: Store, name: str) -> Generation | None:
    where = store.path("manifests", name, "generation.json")
    data = store.storage.read(where)
    try:
        return None if data is None else Generation.model_validate_json(data)
    except ValidationError as error:
        raise ManifestError(
            "a manifest generation cannot be read", where=where, why=str(error), fix="restore it from a backup"
        ) from error
