"""What a label's scores depend on, as one digest: its calibration and its operating points hold for nothing else.

Knows which parts of a library, an encoder and a release a label's score is made of: the encoder, how pictures are
prepared for it, the background phrases, and the phrases of the label and of the labels below it. Not the rest of the
library: a new concept elsewhere leaves every neighbour's operating points valid. Does not know calibrations.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from assay.platform.encoder import Precision
from assay.platform.library import SemanticLibrary
from assay.platform.phrases import Phrases
from assay.platform.views import Preprocess


@dataclass(frozen=True, slots=True)
class ScoreSource:
    """What all labels' scores come from, but for the library."""

    encoder: str
    """Digest of the encoder."""
    precision: Precision
    preprocess: Preprocess
    scoring_version: int
    temperature: float


def bind_labels(library: SemanticLibrary, source: ScoreSource) -> dict[str, str]:
    """A sha256 for each scored label of a library: equal as long as its raw scores are."""
    common = {
        "encoder": source.encoder,
        "precision": source.precision,
        "preprocess": source.preprocess.model_dump(mode="json"),
        "scoring": source.scoring_version,
        "temperature": source.temperature,
        "background": _phrases(library.background),
    }
    return {label: _digest({**common, "label": _subtree(library, label)}) for label in library.labels}


def labels_below(library: SemanticLibrary, label: str) -> set[str]:
    """A label and all labels under it that are scored."""
    found = {label}
    while True:
        more = {key for key, one in library.labels.items() if one.parent in found} - found
        if not more:
            return found
        found |= more


def _subtree(library: SemanticLibrary, label: str) -> dict[str, object]:
    """The phrases under a label, by owner. Descriptions, owners and drafts do not score, so they do not bind."""
    under = {key: library.concepts[key] for key in library.subtrees[label]}
    return {
        "concepts": {
            key: {
                "label": owner,
                "prompts": _phrases(concept.prompts),
                "against": _phrases(concept.counter_prompts),
            }
            for key, (owner, concept) in under.items()
        },
        "against": {owner: _phrases(library.labels[owner].counter_prompts) for owner, _ in under.values()},
    }


def _phrases(phrases: Phrases) -> dict[str, list[str]]:
    return {language: sorted(said) for language, said in phrases.items()}


def _digest(value: Mapping[str, object]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
