"""A library's phrases as an encoder's vectors: what is compiled when a release is built, and read when it judges.

Knows which phrases are encoded, in which order, and how they lie in safetensors. Does not know the formula
(`scoring.py`).
"""

import json
from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from assay.platform.encoder import Encoder
from assay.platform.errors import ReleaseError
from assay.platform.library import SemanticLibrary
from assay.platform.phrases import Phrases

Floats = npt.NDArray[np.float32]


class Role(StrEnum):
    """What a phrase does for its owner."""

    PROMPT = "prompt"  # owner: a concept
    COUNTER = "counter"  # owner: a concept or a label
    BACKGROUND = "background"  # owner: nobody


@dataclass(frozen=True, slots=True)
class PromptVectors:
    """A library's phrases with their vectors, in canonical order: one row each in all five."""

    texts: tuple[str, ...]
    languages: tuple[str, ...]
    roles: tuple[Role, ...]
    owners: tuple[str, ...]
    vectors: Floats  # [phrases, dim], unit length

    @classmethod
    def compile(cls, library: SemanticLibrary, encoder: Encoder) -> "PromptVectors":
        """Encode every phrase of a library that is scored.

        A counter-prompt that the background (or the concept's label) says too would weigh twice; it is left out.
        """
        rows = list(_rows("", Role.BACKGROUND, library.background))
        background = {row[0] for row in rows}
        for label_id, label in library.labels.items():
            rows += _rows(label_id, Role.COUNTER, label.counter_prompts, background)
        for concept_id, (label_id, concept) in library.concepts.items():
            said = background | {row[0] for row in _rows("", Role.COUNTER, library.labels[label_id].counter_prompts)}
            rows += _rows(concept_id, Role.PROMPT, concept.prompts)
            rows += _rows(concept_id, Role.COUNTER, concept.counter_prompts, said)
        texts, languages, roles, owners = zip(*rows, strict=True)
        unique = sorted(set(texts))
        place = {text: position for position, text in enumerate(unique)}
        vectors = encoder.encode_texts(unique)[[place[text] for text in texts]]
        return cls(texts, languages, roles, owners, vectors)

    def save(self, path: Path, bound_to: dict[str, str]) -> None:
        """Write to safetensors. `bound_to` says what these vectors were made from."""
        about = {"texts": self.texts, "languages": self.languages, "roles": self.roles, "owners": self.owners}
        # One metadata key: safetensors keeps no order among several, and the file's digest must be stable.
        metadata = {"assay": json.dumps(about | {"bound_to": bound_to}, ensure_ascii=False, sort_keys=True)}
        path.write_bytes(safetensors.numpy.save({"vectors": self.vectors}, metadata=metadata))

    @classmethod
    def load(cls, path: Path) -> tuple["PromptVectors", dict[str, str]]:
        """Read from safetensors; also says what the vectors were made from."""
        try:
            with safetensors.safe_open(str(path), framework="numpy") as file:
                about = json.loads(file.metadata()["assay"])
                vectors: Floats = file.get_tensor("vectors")
        except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
            raise ReleaseError(
                "the prompt vectors cannot be read",
                where=str(path),
                why=str(error),
                fix="build the release again",
            ) from error
        roles = tuple(Role(role) for role in about["roles"])
        found = cls(tuple(about["texts"]), tuple(about["languages"]), roles, tuple(about["owners"]), vectors)
        return found, dict(about["bound_to"])


def _rows(
    owner: str, role: Role, phrases: Phrases, without: Set[str] = frozenset()
) -> list[tuple[str, str, Role, str]]:
    pairs = [(text, language) for language in sorted(phrases) for text in sorted(phrases[language])]
    return [(text, language, role, owner) for text, language in pairs if text not in without]
