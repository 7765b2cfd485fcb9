"""A library as it is written: every phrase and every id, with the line it stands on.

Knows the document and the library it holds. Judges nothing: the lints do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from assay.platform.document import Document, Loc
from assay.platform.finding import Finding
from assay.platform.library import Concept, Label, SemanticLibrary
from assay.platform.phrases import Phrases


class Kind(StrEnum):
    """What a phrase is for."""

    PROMPT = "prompt"
    COUNTER = "counter-prompt"
    BACKGROUND = "background phrase"


@dataclass(frozen=True, slots=True)
class Wording:
    """A phrase in its place."""

    text: str
    language: str
    kind: Kind
    owner: str  # id of a concept or label; "" for the background
    label: str  # id of the label it belongs to; "" for the background
    line: int


@dataclass(frozen=True)
class LibraryText:
    """A library and its document."""

    document: Document
    library: SemanticLibrary

    @classmethod
    def read(cls, source: Path | str) -> "LibraryText":
        """Read a library that holds together.

        Raises:
            LibraryError: it does not.
        """
        document, library, problems = SemanticLibrary.examine(source)
        if library is None:
            document.refuse(problems, fix="mend the lines named, then load the library again")
        return cls(document, library)

    @cached_property
    def labels(self) -> dict[str, Label]:
        """Every label by id, scored or not."""
        shelves = self.library.categories.values()
        return {key: label for shelf in shelves for key, label in shelf.labels.items()}

    @cached_property
    def concepts(self) -> dict[str, tuple[str, Concept]]:
        """Every concept by id with its label's id, scored or not."""
        return {key: (owner, one) for owner, label in self.labels.items() for key, one in label.concepts.items()}

    @cached_property
    def places(self) -> Mapping[str, Loc]:
        """Where each category, label and concept begins."""
        found: dict[str, Loc] = {"": ()}
        for category, shelf in self.library.categories.items():
            found[category] = ("categories", category)
            for label, body in shelf.labels.items():
                found[label] = (*found[category], "labels", label)
                found.update({concept: (*found[label], "concepts", concept) for concept in body.concepts})
        return found

    @cached_property
    def wordings(self) -> tuple[Wording, ...]:
        """Every phrase that is scored, in the order it is written."""
        rows = [*self._of(("background",), self.library.background, Kind.BACKGROUND, "", "")]
        for owner, label in self.library.labels.items():
            counter = (*self.places[owner], "counter_prompts")
            rows += self._of(counter, label.counter_prompts, Kind.COUNTER, owner, owner)
        for owner, (of_label, concept) in self.library.concepts.items():
            place = self.places[owner]
            rows += self._of((*place, "prompts"), concept.prompts, Kind.PROMPT, owner, of_label)
            rows += self._of((*place, "counter_prompts"), concept.counter_prompts, Kind.COUNTER, owner, of_label)
        return tuple(sorted(rows, key=lambda row: row.line))

    def above(self, label: str) -> Iterator[tuple[str, Label]]:
        """The labels above one, nearest first."""
        while (parent := self.labels[label].parent) is not None:
            label = parent
            yield label, self.labels[label]

    def line(self, subject: str, *within: str | int) -> int:
        """The line of a label or concept, or of something within it."""
        return self.document.line((*self.places[subject], *within))

    def finding(self, rule: str, subject: str, what: str, line: int | None = None) -> Finding:
        """Say that a rule found something; at the subject's own line if no other is given."""
        return Finding.of(rule, self.document.name, self.line(subject) if line is None else line, subject, what)

    def _of(self, loc: Loc, phrases: Phrases, kind: Kind, owner: str, label: str) -> Iterator[Wording]:
        for language, some in phrases.items():
            for position, text in enumerate(some):
                yield Wording(text, language, kind, owner, label, self.document.line((*loc, language, position)))


def broken(source: Path | str) -> list[Finding]:
    """What keeps a library from loading, as findings; nothing where it loads.

    Raises:
        LibraryError: no such file, or not YAML.
    """
    document, _, problems = SemanticLibrary.examine(source)
    return [Finding.of("broken", document.name, problem.line, "", problem.text) for problem in problems]
