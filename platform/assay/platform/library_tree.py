"""What must hold across a semantic library, beyond each of its parts.

Knows the raw document, so that a broken part hides no other fault. Knows no score; what is allowed but unwise is told
by `library_lint.py`.
"""

from collections.abc import Iterator

from assay.platform.document import Document, Loc, Problem, did_you_mean
from assay.platform.phrases import ENGLISH, foreign_scripts, sameness

_ACTIVE = "active"


class LibraryTree:
    """See the module."""

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
        """Everything that does not hold, in no order."""
        yield from self._ids()
        yield from self._parents()
        yield from self._phrases("background", ("background",), self._root.get("background"), True)
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
        if concepts and not body.get("counter_prompts"):
            yield Problem(self._at(loc), f"{name} needs counter_prompts: the harmless things it could be mistaken for")
        counter = (*loc, "counter_prompts")
        yield from self._phrases(f"counter-prompts of {name}", counter, body.get("counter_prompts"), False)
        against = _words(body.get("counter_prompts"))
        for concept, raw in concepts.items():
            yield from self._concept(concept, (*loc, "concepts", concept), _mapping(raw), against)

    def _concept(self, concept: str, loc: Loc, body: dict[str, object], against: set[str]) -> Iterator[Problem]:
        name = f"concept {concept!r}"
        if "prompts" in body:
            yield from self._phrases(f"prompts of {name}", (*loc, "prompts"), body["prompts"], True)
        counter = body.get("counter_prompts")
        yield from self._phrases(f"counter-prompts of {name}", (*loc, "counter_prompts"), counter, False)
        for language, phrases in _mapping(body.get("prompts")).items():
            for position, phrase in enumerate(_items(phrases)):
                if isinstance(phrase, str) and sameness(phrase) in against | _words(counter):
                    line = self._at((*loc, "prompts", language, position))
                    yield Problem(line, f"{phrase!r} is both a prompt and a counter-prompt of {name}")
        yield from self._exemplars(name, (*loc, "exemplars"), _mapping(body.get("exemplars")))

    def _phrases(self, name: str, loc: Loc, value: object, required: bool) -> Iterator[Problem]:
        if isinstance(value, str | list):  # no language tag at all: told by the type
            return
        languages = _mapping(value)
        if (required or languages) and ENGLISH not in languages:
            yield Problem(self._at(loc), f"{name} lack English (en)")
        for language, phrases in languages.items():
            if isinstance(phrases, list) and not phrases:
                yield Problem(self._at((*loc, language)), f"{name} have an empty list for {language!r}")
            yield from self._list(name, (*loc, language), language, _items(phrases))

    def _list(self, name: str, loc: Loc, language: str, phrases: list[object]) -> Iterator[Problem]:
        seen: set[str] = set()
        for position, phrase in enumerate(phrases):
            line = self._at((*loc, position))
            if isinstance(phrase, str) and sameness(phrase) in seen:
                yield Problem(line, f"{phrase!r} is said twice in the {name}")
            seen.add(sameness(str(phrase)))
            if foreign := foreign_scripts(language, str(phrase)):
                written = " and ".join(foreign)
                text = f"{phrase!r} is tagged {language!r} and has {written} letters: mixed languages without tags"
                yield Problem(line, f"{text}; put each phrase under its own language in the {name}")

    def _exemplars(self, name: str, loc: Loc, sides: dict[str, object]) -> Iterator[Problem]:
        positive = _items(sides.get("positive"))
        for position, uri in enumerate(_items(sides.get("negative"))):
            if uri in positive:
                line = self._at((*loc, "negative", position))
                yield Problem(line, f"{uri!r} is both a positive and a negative exemplar of {name}")


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _is_active(body: dict[str, object]) -> bool:
    return body.get("status", _ACTIVE) == _ACTIVE


def _words(phrases: object) -> set[str]:
    return {sameness(one) for some in _mapping(phrases).values() for one in _items(some) if isinstance(one, str)}
