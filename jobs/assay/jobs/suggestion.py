"""A concept that a library may lack, as it is proposed, and what the search for it needs to be told.

Knows fields. Does not know how anything is found (`library_suggest.py`).
"""

import json
import re
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.release_choice import ChosenFacts, RegistryChoice
from assay.platform.spec import Spec
from assay.platform.storage import StorageSpec
from assay.platform.uncovered import UncoveredSpec
from assay.registry.place import RegistrySpec


class SuggestSpec(Spec):
    """Whose pictures, against whose words."""

    store: str = Field(kw_only=False, description="the store")
    release: str | None = Field(
        None, description="whose library and encoder are asked: directory or models:/…; unset: the bundled one"
    )
    before: str | None = Field(
        None, description="a store of before; unset: what this one held before its newest generation, if it has several"
    )
    words: Path | None = Field(None, description="names to choose from, one a line; unset: the library's own phrases")
    images: int = Field(20_000, ge=100, description="pictures sampled of now, and of before")
    examples: int = Field(5, ge=1, description="pictures named for each proposal")
    look: UncoveredSpec = Field(UncoveredSpec(), description="how finely to look")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")
    registry: RegistryChoice = RegistrySpec()


class Suggestion(BaseModel):
    """A concept that may be missing."""

    model_config = ConfigDict(frozen=True)

    names: tuple[str, ...]  # nearest words, nearest first
    images: int  # of the sample
    share: float  # of the pictures sampled
    images_before: int
    growth: float | None  # standard deviations over what was expected; None without a before
    farness: float  # 0: as well covered as any, 1: the least covered of all
    nearest_phrase: str
    nearest_owner: str  # id of the concept or label whose phrase is nearest: merge there if it is the same
    examples: tuple[str, ...]  # uris, the most typical first

    def draft(self) -> str:
        """Lines for a library, to be put under a label by whoever accepts."""
        key = re.sub(r"[^a-z0-9]+", "_", self.names[0].lower()).strip("_") if self.names else ""
        key = key if re.match(r"[a-z]", key) else f"concept_{key}".rstrip("_")
        prompts, exemplars = (json.dumps(some, ensure_ascii=False) for some in (self.names[:3], self.examples))
        return f"{key[:64]}: {{status: draft, prompts: {{en: {prompts}}}, exemplars: {exemplars}}}"


class SuggestFacts(ChosenFacts, frozen=True):
    """What was looked at and found, the most pressing first."""

    store: str
    release: str
    sampled: int
    sampled_before: int
    suggestions: tuple[Suggestion, ...]
