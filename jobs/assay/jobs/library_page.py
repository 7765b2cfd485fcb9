"""A library, its findings and its changes, as a terminal shows them.

Knows rich. Judges nothing.
"""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict
from rich.console import Group
from rich.text import Text
from rich.tree import Tree

from assay.jobs.library_check import LintFacts
from assay.jobs.suggestion import SuggestFacts
from assay.platform.finding import Severity
from assay.platform.library import Concept, Label, SemanticLibrary, Status
from assay.platform.library_diff import LibraryDiff
from assay.platform.phrases import Phrases

_COLOURS = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}


class ShownConcept(BaseModel):
    """A concept in short."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: Status
    prompts: dict[str, int]  # by language
    counter_prompts: dict[str, int]
    exemplars: tuple[int, int]  # positive, negative


class ShownLabel(BaseModel):
    """A label in short."""

    model_config = ConfigDict(frozen=True)

    id: str
    category: str
    parent: str | None
    status: Status
    no_evidence: bool
    counter_prompts: dict[str, int]
    crosswalk: dict[str, tuple[str, ...]]
    concepts: tuple[ShownConcept, ...]


class ShownLibrary(BaseModel):
    """A library in short."""

    model_config = ConfigDict(frozen=True)

    name: str
    digest: str
    languages: tuple[str, ...]
    background: dict[str, int]
    num_labels: int  # that are scored
    num_concepts: int
    labels: tuple[ShownLabel, ...]


def shown(library: SemanticLibrary) -> ShownLibrary:
    """A library in short, retired and draft parts included."""
    return ShownLibrary(
        name=library.name,
        digest=library.digest,
        languages=tuple(sorted(library.background)),
        background=_counts(library.background),
        num_labels=len(library.labels),
        num_concepts=len(library.concepts),
        labels=tuple(
            _label(key, category, label)
            for category, shelf in library.categories.items()
            for key, label in shelf.labels.items()
        ),
    )


def tree(library: ShownLibrary) -> Tree:
    """The tree of categories, labels (child labels under their parents) and concepts."""
    spoken = ", ".join(library.languages)
    title = (
        f"{library.name} {library.digest[:12]}: {library.num_labels} labels, {library.num_concepts} concepts, {spoken}"
    )
    root = Tree(Text(title, style="bold"))
    known = {label.id for label in library.labels}
    for category in dict.fromkeys(label.category for label in library.labels):
        branch = root.add(Text(category, style="bold"))
        tops = [one for one in library.labels if one.category == category and one.parent not in known]
        for label in tops:
            _grow(branch, label, library.labels)
    root.add(Text(f"background: {_said(library.background)}"))
    return root


def findings_page(facts: LintFacts) -> Group:
    """Every finding with its line, why it matters and how to mend it; the counts at the end."""
    parts: list[Text] = []
    for one in facts.findings:
        head = Text(f"{one.file}:{one.line}: ")
        head.append(f"{one.severity} {one.rule}", style=_COLOURS[one.severity])
        parts += [head.append(f": {one.what}"), Text(f"  why: {one.why}\n  fix: {one.fix}", style="dim")]
    read = " and ".join(facts.read)
    counts = f"{facts.errors} errors, {facts.warnings} warnings, {facts.notes} notes in its {read}"
    return Group(*parts, Text(f"{facts.library}: {counts}", style="bold"))


def diff_page(diff: LibraryDiff) -> Group:
    """Every change, then whose scores change."""
    parts = [Text(f"{diff.before[:12]} -> {diff.after[:12]}", style="bold")]
    for one in diff.changes:
        parts.append(Text(f"{one.change:9} {one.kind:8} {one.id}{f'  ({one.detail})' if one.detail else ''}"))
    parts.append(_listed("scores change", diff.rescored))
    parts += [_listed(name, ids) for name, ids in _come_and_gone(diff) if ids]
    return Group(*parts)


def suggestions_page(facts: SuggestFacts) -> Group:
    """Every proposal with its figures, its examples and lines to paste into a library."""
    against = f", {facts.sampled_before:,} of before" if facts.sampled_before else ""
    parts = [Text(f"{facts.store}: {facts.sampled:,} pictures{against}; a person decides", style="bold")]
    for number, one in enumerate(facts.suggestions, 1):
        growth = "" if one.growth is None else f", {one.images_before:,} before, growth {one.growth:.1f} sd"
        counts = f"{one.images:,} pictures ({one.share:.2%}){growth}, farness {one.farness:.2f}"
        parts.append(Text(f"{number}. {', '.join(one.names) or '(no name)'}: {counts}", style="bold"))
        parts.append(
            Text(f"   nearest phrase: {one.nearest_phrase!r} of {one.nearest_owner}; merge there if it is the same")
        )
        parts += [Text(f"   {uri}") for uri in one.examples]
        parts.append(Text(f"   {one.draft()}", style="dim"))
    return Group(*parts)


def _come_and_gone(diff: LibraryDiff) -> Iterable[tuple[str, tuple[str, ...]]]:
    return ("scored now", diff.scored_now), ("scored no more", diff.scored_no_more)


def _listed(name: str, ids: tuple[str, ...]) -> Text:
    return Text(f"{name}: {', '.join(ids) or 'none'}", style="bold")


def _grow(branch: Tree, label: ShownLabel, every: tuple[ShownLabel, ...]) -> None:
    marks = [_mark(label.status), *(["no evidence"] if label.no_evidence else []), *sorted(label.crosswalk)]
    against = _said(label.counter_prompts)
    told = "; ".join(mark for mark in [*marks, f"against {against}" if against else ""] if mark)
    here = branch.add(Text.assemble((label.id, "bold" if label.status is Status.ACTIVE else "dim"), f"  {told}"))
    for concept in label.concepts:
        marks = [_mark(concept.status), _said(concept.prompts), f"{sum(concept.exemplars)} exemplars"]
        here.add(Text(f"{concept.id}  {'; '.join(mark for mark in marks if mark and not mark.startswith('0 '))}"))
    for child in every:
        if child.parent == label.id:
            _grow(here, child, every)


def _mark(status: Status) -> str:
    return "" if status is Status.ACTIVE else str(status)


def _said(counts: dict[str, int]) -> str:
    return " ".join(f"{language} {count}" for language, count in counts.items())


def _label(key: str, category: str, label: Label) -> ShownLabel:
    return ShownLabel(
        id=key,
        category=category,
        parent=label.parent,
        status=label.status,
        no_evidence=label.no_evidence,
        counter_prompts=_counts(label.counter_prompts),
        crosswalk={taxonomy: names for taxonomy, names in label.crosswalk if names},
        concepts=tuple(_concept(name, one) for name, one in label.concepts.items()),
    )


def _concept(key: str, concept: Concept) -> ShownConcept:
    return ShownConcept(
        id=key,
        status=concept.status,
        prompts=_counts(concept.prompts),
        counter_prompts=_counts(concept.counter_prompts),
        exemplars=(len(concept.exemplars.positive), len(concept.exemplars.negative)),
    )


def _counts(phrases: Phrases) -> dict[str, int]:
    return {language: len(some) for language, some in sorted(phrases.items())}
