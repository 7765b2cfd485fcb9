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


Words = frozenset[tuple[str, str]]
"""(language, phrase) of some phrases."""


def bind_labels(library: SemanticLibrary, source: ScoreSource) -> dict[str, str]:
    """A sha256 for each scored label of a library: equal as long as its raw scores are."""
    common = {
        "encoder": source.encoder,
        "precision": source.precision,
        "preprocess": source.preprocess.model_dump(mode="json"),
        "scoring": source.scoring_version,
        "temperature": source.temperature,
    }
    return {
        label: _digest({**common, "concepts": sorted([sorted(own), sorted(against)] for own, against in concepts)})
        for label, concepts in dependencies(library).items()
    }


def dependencies(library: SemanticLibrary) -> dict[str, frozenset[tuple[Words, Words]]]:
    """The words that each scored label's score depends on: its concepts' prompts, and what stands against each.

    Not their ids, descriptions or owners; and of the labels below it the same, since it has their scores at least.
    """
    background = words_of(library.background)
    said = {text for _, text in background}

    def of(concept: str) -> tuple[Words, Words]:
        owner, body = library.concepts[concept]
        # What the background says, too, is left out of counter-prompts when they are compiled.
        own = words_of(body.counter_prompts) | words_of(library.labels[owner].counter_prompts)
        return words_of(body.prompts), background | {pair for pair in own if pair[1] not in said}

    return {label: frozenset(map(of, concepts)) for label, concepts in library.subtrees.items()}


def words_of(phrases: Phrases) -> Words:
    """Phrases with their language, whatever their order."""
    return frozenset((language, text) for language, some in phrases.items() for text in some)


def labels_below(library: SemanticLibrary, label: str) -> set[str]:
    """A label and all labels under it that are scored."""
    found = {label}
    while True:
        more = {key for key, one in library.labels.items() if one.parent in found} - found
        if not more:
            return found
        found |= more


def _digest(value: Mapping[str, object]) -> str:
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
