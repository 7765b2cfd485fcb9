"""What a store is bound to: the encoder, preprocessing and code that made its observations.

Knows `binding.json`, written once. Does not know how observations are made (`stages.py`), nor what else a store keeps
(`store.py`).
"""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from assay.jobs.store import Store
from assay.platform.errors import StoreVersionError
from assay.platform.release import Release

OBSERVATION_CODE = 4
"""Raised when the pixels the encoder sees, and so embeddings, change with the code."""


class Binding(BaseModel):
    """What every observation of a store was made with; mixing two would compare the incomparable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    encoder: str
    """Digest of the encoder."""
    dim: int
    preprocess: dict[str, Any]
    code: int = OBSERVATION_CODE

    @classmethod
    def of(cls, release: Release) -> "Binding":
        """What observations made with a release are made with."""
        pinned = release.manifest.encoder
        return cls(encoder=pinned.digest, dim=pinned.dim, preprocess=release.preprocess.model_dump(mode="json"))

    def differing(self, other: "Binding") -> list[str]:
        """What differs, by name."""
        return [name for name in Binding.model_fields if getattr(self, name) != getattr(other, name)]

    def told(self, other: "Binding") -> str:
        """How a store that is bound so and a release that is `other` differ, in words."""
        return "; ".join(
            f"{name}: store {getattr(self, name)}, release {getattr(other, name)}" for name in self.differing(other)
        )


def read_binding(store: Store) -> Binding | None:
    """What the store's observations are made with; None before the first backfill."""
    where = store.path("binding.json")
    data = store.storage.read(where)
    try:
        return None if data is None else Binding.model_validate_json(data)
    except ValidationError as error:
        raise StoreVersionError(
            "this store's binding cannot be read",
            where=where,
            why=str(error),
            fix="restore binding.json, upgrade Assay, or use another store",
        ) from error


def check_binding(store: Store, wanted: Binding) -> None:
    """Refuse `wanted` if the store is bound to something else.

    Raises:
        StoreVersionError: naming what differs.
    """
    held = read_binding(store)
    if held is None or held == wanted:
        return
    raise StoreVersionError(
        "this store's observations were made with another " + ", ".join(held.differing(wanted)),
        where=store.shown,
        why=held.told(wanted),
        fix="use the release it was made with, or another --store",
    )


def bind(store: Store, wanted: Binding) -> None:
    """Bind the store, once and for all; a race is decided by the store's conditional put."""
    store.storage.write(store.path("binding.json"), wanted.model_dump_json(indent=1).encode(), if_absent=True)
    check_binding(store, wanted)
