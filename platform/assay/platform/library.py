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
              firearm:
                prompts: {en: [a handgun, a rifle], zh: [手枪]}
                exemplars: {positive: ["s3://cases/1.jpg"], negative: ["s3://cases/2.jpg"]}

What must hold across it is in `library_tree.py`; the whole format is told in infra/docs/library.md.
"""

import datetime
import hashlib
import json
import re
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from assay.platform.document import Document, Problem
from assay.platform.errors import LibraryError
from assay.platform.library_tree import LibraryTree
from assay.platform.phrases import Phrases


class Status(StrEnum):
    """Whether a label or concept takes part in scoring: only `active` does."""

    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"


def _slug(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
        raise ValueError(f"{text!r} is not an id: lower-case letters, digits and _, beginning with a letter")
    return text


Slug = Annotated[str, AfterValidator(_slug)]
Uri = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Grown(BaseModel, frozen=True, extra="forbid"):
    """A part that got more fields after libraries were published. While empty those are left out of what is written,
    so that a library which does not use them keeps its digest."""

    later: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value or name not in self.later}


class Crosswalk(_Grown, frozen=True):
    """A label's names in other taxonomies (`taxonomies.py` lists them), for comparison and export."""

    later: ClassVar[frozenset[str]] = frozenset({"azure", "llavaguard", "dsa"})

    rekognition: tuple[str, ...] = ()  # moderation labels, version 7
    openai: tuple[str, ...] = ()  # omni-moderation categories
    unsafebench: tuple[str, ...] = ()
    azure: tuple[str, ...] = ()  # AI Content Safety categories
    llavaguard: tuple[str, ...] = ()  # O1 to O9
    dsa: tuple[str, ...] = ()  # categories of EU statements of reasons


class Exemplars(BaseModel, frozen=True, extra="forbid"):
    """Uris of confirmed cases: pictures that show a concept, and pictures mistaken for it. A plain list is positive."""

    positive: tuple[Uri, ...] = ()
    negative: tuple[Uri, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _plain_list(cls, value: object) -> object:
        return {"positive": value} if isinstance(value, list) else value

    @model_serializer(mode="wrap")
    def _shortest(self, write: SerializerFunctionWrapHandler) -> object:
        # Without negatives as the plain list it once was: the digest of such libraries stays.
        return write(self) if self.negative else list(self.positive)


class Concept(_Grown, frozen=True):
    """One thing that can be seen."""

    later: ClassVar[frozenset[str]] = frozenset({"owner", "provenance", "date"})

    description: str = ""
    status: Status = Status.ACTIVE
    owner: str = ""
    provenance: str = ""
    date: datetime.date | None = None
    prompts: Phrases
    counter_prompts: Phrases = {}
    exemplars: Exemplars = Exemplars()


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
        document, library, problems = cls.examine(source)
        if library is None:
            document.refuse(problems, fix="mend the lines named, then load the library again")
        return library

    @classmethod
    def examine(cls, source: Path | str) -> "Examined":
        """Read a library and say what is wrong with it; the library only where nothing is.

        Raises:
            LibraryError: no such file, or not YAML.
        """
        document = Document.read(source, LibraryError)
        library, problems = document.parse(cls)
        problems = sorted({*document.problems, *problems, *LibraryTree(document).problems()})
        return Examined(document, None if problems else library, problems)

    @cached_property
    def statuses(self) -> dict[str, Status]:
        """The status of every label, scored or not, by id in sorted order."""
        found = {key: label.status for shelf in self.categories.values() for key, label in shelf.labels.items()}
        return dict(sorted(found.items()))

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
        return json.dumps(canonical_form(self), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical form."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def canonical_form(part: BaseModel) -> dict[str, Any]:
    """A library, or a part of one, as plain values that are equal when it says the same."""
    return {name: _sorted(value) for name, value in part.model_dump(mode="json").items()}


def _sorted(value: object) -> object:
    # Every list in a library is a set of words: its order is layout.
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return sorted(value) if isinstance(value, list) else value


class Examined(NamedTuple):
    """A library as it was read: its document, itself if it holds together, and what is wrong if not."""

    document: Document
    library: SemanticLibrary | None
    problems: list[Problem]
