"""The semantic library: what may be looked for, said in words.

Knows categories, labels, concepts and their phrases, and when they hold together. Knows no model, no score,
no threshold. A library is an immutable snapshot: its digest is over the canonical form, so layout, comments
and order do not matter.

    categories:
      violence:
        labels:
          weapons:
            counter_prompts: {en: [water pistol, scissors]}
            concepts:
              firearm: {prompts: {en: [a handgun, a rifle], zh: [手枪]}}
"""

import datetime
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterator
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel

from assay.platform.document import Document, Loc, Problem, did_you_mean
from assay.platform.errors import LibraryError

ENGLISH = "en"
MAX_PHRASE = 300
"""Characters in one phrase. Text towers read far fewer tokens; a longer phrase is a mistake."""


class Status(StrEnum):
    """Whether a label or concept takes part in scoring: only `active` does."""

    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
        raise ValueError(f"{text!r} is not an id: lower-case letters, digits and _, beginning with a letter")
    return text


def _language(text: str) -> str:
    if not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", text):
        raise ValueError(f"{text!r} is not a language tag such as en, zh or pt-BR")
    return text


def _phrase(text: str) -> str:
    normal = " ".join(unicodedata.normalize("NFC", text).split())
    if not normal:
        raise ValueError("an empty phrase")
    if len(normal) > MAX_PHRASE:
        raise ValueError(f"a phrase of {len(normal)} characters; at most {MAX_PHRASE}")
    return normal


Slug = Annotated[str, AfterValidator(_slug)]
Language = Annotated[str, AfterValidator(_language)]
Phrase = Annotated[str, AfterValidator(_phrase)]
Phrases = dict[Language, tuple[Phrase, ...]]
"""Phrases by language. Their order carries no meaning."""


class Crosswalk(BaseModel, frozen=True, extra="forbid"):
    """A label's names in other taxonomies, for comparison and export."""

    rekognition: tuple[str, ...] = ()  # moderation labels, version 7
    openai: tuple[str, ...] = ()  # omni-moderation categories
    unsafebench: tuple[str, ...] = ()


class Concept(BaseModel, frozen=True, extra="forbid"):
    """One thing that can be seen."""

    description: str = ""
    status: Status = Status.ACTIVE
    prompts: Phrases
    counter_prompts: Phrases = {}
    exemplars: tuple[str, ...] = ()  # uris of example images; kept, not used yet


class Label(BaseModel, frozen=True, extra="forbid"):
    """What policies speak of. Its score is the greatest of its concepts' and child labels' scores."""

    description: str = ""
    status: Status = Status.ACTIVE
    parent: Slug | None = None
    no_evidence: bool = False  # no thumbnail, no export
    owner: str = ""
    provenance: str = ""
    date: datetime.date | None = None
    crosswalk: Crosswalk = Crosswalk()
    counter_prompts: Phrases = {}
    concepts: dict[Slug, Concept] = {}


class Category(BaseModel, frozen=True, extra="forbid"):
    """A shelf of labels; not scored itself."""

    description: str = ""
    labels: dict[Slug, Label]


class SemanticLibrary(BaseModel, frozen=True, extra="forbid"):
    """An immutable snapshot of a whole library."""

    assay_library: Literal[1]
    name: Slug
    description: str = ""
    owner: str = ""
    provenance: str = ""
    date: datetime.date | None = None
    background: Phrases  # the benign world, against every concept
    categories: dict[Slug, Category]

    @classmethod
    def load(cls, source: Path | str) -> "SemanticLibrary":
        """Read a library from a file, or from its text; every problem found is in the one error raised."""
        document = Document.read(source, LibraryError)
        library, problems = document.parse(cls)
        problems = [*document.problems, *problems, *_Tree(document).problems()]
        if problems or library is None:
            document.refuse(problems, fix="mend the lines named, then load the library again")
        return library

    @cached_property
    def labels(self) -> dict[str, Label]:
        """The labels that are scored, by id in sorted order."""
        found = {key: label for shelf in self.categories.values() for key, label in shelf.labels.items()}
        return {key: found[key] for key in sorted(found) if found[key].status is Status.ACTIVE}

    @cached_property
    def concepts(self) -> dict[str, tuple[str, Concept]]:
        """The concepts that are scored, by id in sorted order, each with its label's id."""
        found = {
            key: (label_id, concept)
            for label_id, label in self.labels.items()
            for key, concept in label.concepts.items()
            if concept.status is Status.ACTIVE
        }
        return {key: found[key] for key in sorted(found)}

    @cached_property
    def subtrees(self) -> dict[str, tuple[str, ...]]:
        """Concept ids under each scored label, its child labels' included, sorted."""
        under: dict[str, set[str]] = {label: set() for label in self.labels}
        for concept, (owner, _) in self.concepts.items():
            at: str | None = owner
            while at is not None and at in under:
                under[at].add(concept)
                at = self.labels[at].parent
        return {label: tuple(sorted(members)) for label, members in under.items()}

    def canonical(self) -> str:
        """The library as one line of JSON that two equal libraries share."""
        return json.dumps(
            _sorted(self.model_dump(mode="json")), sort_keys=True, ensure_ascii=False, separators=(",", ":")
        )

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical form."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def _sorted(value: object) -> object:
    # Every list in a library is a set of words: its order is layout.
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return sorted(value) if isinstance(value, list) else value


class _Tree:
    """What must hold across a library. Works on the raw document, so that a broken part hides no other
    fault."""

    def __init__(self, document: Document) -> None:
        self._at = document.line
        self._root = _mapping(document.value)
        self._labels: dict[str, Loc] = {}
        self._raw: dict[str, dict[str, object]] = {}
        for category, shelf in _mapping(self._root.get("categories")).items():
            for label, body in _mapping(_mapping(shelf).get("labels")).items():
                self._labels.setdefault(label, ("categories", category, "labels", label))
                self._raw.setdefault(label, _mapping(body))

    def problems(self) -> Iterator[Problem]:
        yield from self._ids()
        yield from self._parents()
        yield from self._lists("background", ("background",), self._root.get("background"), True)
        for label, loc in self._labels.items():
            yield from self._label(label, loc)

    def _ids(self) -> Iterator[Problem]:
        first: dict[str, int] = {}
        for category, shelf in _mapping(self._root.get("categories")).items():
            at: Loc = ("categories", category)
            places: list[tuple[str, Loc]] = [(category, at)]
            for label, body in _mapping(_mapping(shelf).get("labels")).items():
                places.append((label, (*at, "labels", label)))
                below = _mapping(_mapping(body).get("concepts"))
                places += [(key, (*at, "labels", label, "concepts", key)) for key in below]
            for key, loc in places:
                line = self._at(loc)
                if first.setdefault(key, line) != line:
                    yield Problem(line, f"id {key!r} is used twice; first on line {first[key]}")

    def _parents(self) -> Iterator[Problem]:
        parent_of = {label: body["parent"] for label, body in self._raw.items() if isinstance(body.get("parent"), str)}
        for label, parent in parent_of.items():
            line = self._at((*self._labels[label], "parent"))
            if parent not in self._labels:
                near = did_you_mean(str(parent), self._labels)
                yield Problem(line, f"label {label!r} has an unknown parent {parent!r}{near}")
            chain = [label]
            while (above := parent_of.get(chain[-1])) is not None and str(above) not in chain:
                chain.append(str(above))
            if above == label and label == min(chain):
                yield Problem(line, f"labels are each other's parents: {' -> '.join([*chain, label])}")

    def _label(self, label: str, loc: Loc) -> Iterator[Problem]:
        body, name = self._raw[label], f"label {label!r}"
        concepts = _mapping(body.get("concepts"))
        children = [other for other in self._raw.values() if other.get("parent") == label]
        below = [*children, *map(_mapping, concepts.values())]
        if _is_active(body) and not any(map(_is_active, below)):
            text = f"{name} has no active concepts and no active child labels: nothing could score for it"
            yield Problem(self._at(loc), text)
        if concepts and not _mapping(body.get("counter_prompts")):
            yield Problem(self._at(loc), f"{name} needs counter_prompts: the harmless things it could be mistaken for")
        counter = (*loc, "counter_prompts")
        yield from self._lists(f"counter-prompts of {name}", counter, body.get("counter_prompts"), False)
        against = _words(body.get("counter_prompts"))
        for concept, raw in concepts.items():
            yield from self._concept(concept, (*loc, "concepts", concept), _mapping(raw), against)

    def _concept(self, concept: str, loc: Loc, body: dict[str, object], against: set[str]) -> Iterator[Problem]:
        name = f"concept {concept!r}"
        if "prompts" in body:
            yield from self._lists(f"prompts of {name}", (*loc, "prompts"), body["prompts"], True)
        counter = body.get("counter_prompts")
        yield from self._lists(f"counter-prompts of {name}", (*loc, "counter_prompts"), counter, False)
        for language, phrases in _mapping(body.get("prompts")).items():
            for position, phrase in enumerate(_items(phrases)):
                if isinstance(phrase, str) and _key(phrase) in against | _words(counter):
                    line = self._at((*loc, "prompts", language, position))
                    yield Problem(line, f"{phrase!r} is both a prompt and a counter-prompt of {name}")

    def _lists(self, name: str, loc: Loc, value: object, required: bool) -> Iterator[Problem]:
        languages = _mapping(value)
        if (required or languages) and ENGLISH not in languages:
            yield Problem(self._at(loc), f"{name} lack English (en)")
        for language, phrases in languages.items():
            if isinstance(phrases, list) and not phrases:
                yield Problem(self._at((*loc, language)), f"{name} have an empty list for {language!r}")
            seen: set[str] = set()
            for position, phrase in enumerate(_items(phrases)):
                if isinstance(phrase, str) and _key(phrase) in seen:
                    yield Problem(self._at((*loc, language, position)), f"{phrase!r} is said twice in the {name}")
                seen.add(_key(str(phrase)))


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _is_active(body: dict[str, object]) -> bool:
    return body.get("status", Status.ACTIVE) == Status.ACTIVE


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _key(phrase: str) -> str:
    return " ".join(unicodedata.normalize("NFC", phrase).casefold().split())


def _words(phrases: object) -> set[str]:
    return {_key(one) for some in _mapping(phrases).values() for one in _items(some) if isinstance(one, str)}
