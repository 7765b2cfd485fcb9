"""What changed from one library to another, by id, and which labels' scores change with it.

Knows two libraries. Knows no encoder: a label is scored anew when any word that its score depends on is another, which
is exact but for words that an encoder gives one vector.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from assay.platform.label_binding import dependencies, words_of
from assay.platform.library import Category, Concept, Label, SemanticLibrary, Status, canonical_form
from assay.platform.phrases import Phrases


class Change(StrEnum):
    """What happened to a label or concept."""

    ADDED = "added"
    REMOVED = "removed"
    RETIRED = "retired"
    ACTIVATED = "activated"
    DRAFTED = "drafted"
    MOVED = "moved"  # a concept to another label; a label to another parent or category
    REWORDED = "reworded"  # its prompts or counter-prompts
    EDITED = "edited"  # what no score depends on: description, owner, crosswalk, exemplars, …


class Changed(BaseModel):
    """One change of one thing."""

    model_config = ConfigDict(frozen=True)

    change: Change
    kind: Literal["library", "category", "label", "concept"]
    id: str
    detail: str = ""


class LibraryDiff(BaseModel):
    """Everything that changed."""

    model_config = ConfigDict(frozen=True)

    before: str  # digest
    after: str
    changes: tuple[Changed, ...]
    rescored: tuple[str, ...]
    """Labels that are scored by both and whose scores change."""
    scored_no_more: tuple[str, ...]
    scored_now: tuple[str, ...]


_STATUS = {Status.RETIRED: Change.RETIRED, Status.ACTIVE: Change.ACTIVATED, Status.DRAFT: Change.DRAFTED}

_LABEL_CHANGES = ("status", "parent", "counter_prompts", "concepts")
_CONCEPT_CHANGES = ("status", "prompts", "counter_prompts")
"""Fields whose changes have a word of their own."""


def compare(before: SemanticLibrary, after: SemanticLibrary) -> LibraryDiff:
    """Say what changed."""
    depends_before, depends_after = dependencies(before), dependencies(after)
    both = sorted(set(depends_before) & set(depends_after))
    return LibraryDiff(
        before=before.digest,
        after=after.digest,
        changes=(*_library(before, after), *_labels(before, after), *_concepts(before, after)),
        rescored=tuple(label for label in both if depends_before[label] != depends_after[label]),
        scored_no_more=tuple(sorted(set(depends_before) - set(depends_after))),
        scored_now=tuple(sorted(set(depends_after) - set(depends_before))),
    )


def _library(before: SemanticLibrary, after: SemanticLibrary) -> Iterator[Changed]:
    if told := _reworded(before.background, after.background):
        yield Changed(change=Change.REWORDED, kind="library", id=after.name, detail=f"background: {told}")
    if _rest(before, "background", "categories") != _rest(after, "background", "categories"):
        yield Changed(change=Change.EDITED, kind="library", id=after.name, detail="its head")
    yield from _come_and_gone("category", before.categories, after.categories)
    for key, shelf in after.categories.items():
        if key in before.categories and shelf.description != before.categories[key].description:
            yield Changed(change=Change.EDITED, kind="category", id=key)


def _rest(part: BaseModel, *without: str) -> dict[str, object]:
    """What a part says beside some fields, whatever its order."""
    said = canonical_form(part)
    return {name: value for name, value in said.items() if name not in without}


def _labels(before: SemanticLibrary, after: SemanticLibrary) -> Iterator[Changed]:
    olds, news = _shelved(before.categories), _shelved(after.categories)
    yield from _come_and_gone("label", olds, news)
    for key, (shelf, new) in news.items():
        if key not in olds:
            continue
        old_shelf, old = olds[key]
        if new.status is not old.status:
            yield Changed(change=_STATUS[new.status], kind="label", id=key, detail=f"was {old.status}")
        if (shelf, new.parent) != (old_shelf, old.parent):
            detail = f"from {old.parent or old_shelf} to {new.parent or shelf}"
            yield Changed(change=Change.MOVED, kind="label", id=key, detail=detail)
        if told := _reworded(old.counter_prompts, new.counter_prompts):
            yield Changed(change=Change.REWORDED, kind="label", id=key, detail=f"counter-prompts: {told}")
        if _rest(old, *_LABEL_CHANGES) != _rest(new, *_LABEL_CHANGES):
            yield Changed(change=Change.EDITED, kind="label", id=key)


def _concepts(before: SemanticLibrary, after: SemanticLibrary) -> Iterator[Changed]:
    olds, news = _owned(before.categories), _owned(after.categories)
    yield from _come_and_gone("concept", olds, news)
    for key, (owner, new) in news.items():
        if key not in olds:
            continue
        old_owner, old = olds[key]
        if new.status is not old.status:
            yield Changed(change=_STATUS[new.status], kind="concept", id=key, detail=f"was {old.status}")
        if owner != old_owner:
            yield Changed(change=Change.MOVED, kind="concept", id=key, detail=f"from {old_owner} to {owner}")
        for name, one, other in (
            ("prompts", old.prompts, new.prompts),
            ("counter-prompts", old.counter_prompts, new.counter_prompts),
        ):
            if told := _reworded(one, other):
                yield Changed(change=Change.REWORDED, kind="concept", id=key, detail=f"{name}: {told}")
        if _rest(old, *_CONCEPT_CHANGES) != _rest(new, *_CONCEPT_CHANGES):
            yield Changed(change=Change.EDITED, kind="concept", id=key)


def _come_and_gone(
    kind: Literal["category", "label", "concept"], before: Mapping[str, object], after: Mapping[str, object]
) -> Iterator[Changed]:
    for key in sorted(set(after) - set(before)):
        yield Changed(change=Change.ADDED, kind=kind, id=key)
    for key in sorted(set(before) - set(after)):
        yield Changed(change=Change.REMOVED, kind=kind, id=key)


def _reworded(before: Phrases, after: Phrases) -> str:
    """What was said and is not, and the other way round; nothing when the same is said."""
    old, new = words_of(before), words_of(after)
    told = [f"+ {text} ({language})" for language, text in sorted(new - old)]
    return "; ".join([*told, *(f"- {text} ({language})" for language, text in sorted(old - new))])


def _shelved(categories: Mapping[str, Category]) -> dict[str, tuple[str, Label]]:
    return {key: (shelf, label) for shelf, body in categories.items() for key, label in body.labels.items()}


def _owned(categories: Mapping[str, Category]) -> dict[str, tuple[str, Concept]]:
    labels = _shelved(categories)
    return {key: (owner, one) for owner, (_, label) in labels.items() for key, one in label.concepts.items()}
