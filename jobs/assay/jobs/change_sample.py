"""The sampled images of a comparison, with the phrases on both sides: also on the side where no threshold was reached,
whose verdict names none.

Knows that phrases follow from a stored embedding and a release's scorer. Reads no picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.jobs.change_data import Changed, Direction, Phrase
from assay.jobs.change_tally import Candidate, ChangeTally
from assay.jobs.embedding_lookup import Image, find_observed
from assay.jobs.store import Store
from assay.platform.scoring import Scorer, over_views

Asked = tuple[Image, str]
"""An image and a label."""


def describe_sample(tally: ChangeTally, store: Store, scorers: tuple[Scorer, Scorer]) -> dict[str, tuple[Changed, ...]]:
    """The sample of each label, direction by direction.

    Raises:
        StorageError: committed rows cannot be read.
    """
    chosen = {label: tally.sample_of(label) for label in tally.labels}
    everyone = [one for some in chosen.values() for one in some]
    seen = find_observed(store, [_image(one) for one in everyone], ["embedding", "views"])
    asked = [(_image(one), one.label) for one in everyone]
    phrases = tuple(Phrases.of(scorer, asked, seen) for scorer in scorers)
    return {label: tuple(_described(one, phrases, seen) for one in some) for label, some in chosen.items()}


@dataclass(frozen=True)
class Phrases:
    """The phrases that make the scores of some images for some labels."""

    of_label: Mapping[Asked, Phrase]

    @classmethod
    def of(cls, scorer: Scorer, asked: Sequence[Asked], seen: Mapping[Image, Mapping[str, Any]]) -> "Phrases":
        """Those of the images that were `seen`, for labels that the scorer has."""
        wanted = [(image, label) for image, label in asked if image in seen and label in scorer.labels]
        images = list(dict.fromkeys(image for image, _ in wanted))
        if not images:
            return cls({})
        parts = [np.frombuffer(seen[image]["embedding"], "<f2").reshape(-1, scorer.dim) for image in images]
        counts = np.array([len(part) for part in parts])
        starts, embeddings = np.cumsum(counts) - counts, np.concatenate(parts).astype(np.float16, copy=False)
        scores = scorer.score(embeddings)
        _, view = over_views(scores.labels, starts)
        rows = np.array([images.index(image) for image, _ in wanted])
        columns = np.array([scorer.labels.index(label) for _, label in wanted])
        views = view[rows, columns]
        at = starts[rows] + views
        concepts = scores.concepts[at, columns]
        found = zip(wanted, concepts, *scorer.evidence(embeddings[at], concepts), views, strict=True)
        texts = scorer.phrases.texts
        return cls(
            {
                one: Phrase(
                    concept=scorer.concepts[concept], prompt=texts[prompt], counter=texts[counter], view=int(number)
                )
                for one, concept, prompt, counter, number in found
            }
        )


def _image(candidate: Candidate) -> Image:
    return candidate.uri, candidate.etag


def _described(one: Candidate, phrases: tuple[Phrases, ...], seen: Mapping[Image, Mapping[str, Any]]) -> Changed:
    before, after = (side.of_label.get((_image(one), one.label)) for side in phrases)
    # Shown is the view that reached a threshold: the one before, where the label lets the image go.
    shown = before if one.direction in (Direction.CLEARED, Direction.EASED) else after
    views = seen.get(_image(one), {}).get("views") or []
    view = views[shown.view] if shown is not None and shown.view < len(views) else {}
    return Changed(
        uri=one.uri,
        etag=one.etag,
        direction=one.direction,
        before=one.before,
        after=one.after,
        score_before=one.score_before,
        score_after=one.score_after,
        phrase_before=before,
        phrase_after=after,
        view_kind=view.get("kind", "whole"),
        time_s=view.get("time_s"),
    )
