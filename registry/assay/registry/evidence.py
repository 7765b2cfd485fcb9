"""Evidence of a release: what `assay evaluate`, `diff` and `replay` measured, as the gate reads it.

Knows the documents (what those commands print with --json) and where they are found: in files, and in the MLflow runs
that recorded them. Reads of them what the gate asks, and keeps nothing that names an image. Judges nothing (`gate.py`).
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from assay.platform.comparison import Comparison
from assay.platform.errors import RegistryError, SpecError
from assay.platform.scorecard import Scorecard
from assay.registry.promotion_entry import Evidence
from assay.registry.registry import Registry

FACTS_FILE = "facts.json"
KINDS = ("evaluate", "diff", "replay")
"""Of runs that measure a release."""
LOOKED_AT = 10
"""Newest runs of a kind that are looked at."""


class Measured(BaseModel, frozen=True):
    """What `assay evaluate` says."""

    scorecard: Scorecard
    comparison: Comparison | None = None


class Moves(BaseModel, frozen=True):
    """Images by what was done with them (rows) and what is done now (columns): pass, review, block."""

    counts: tuple[tuple[int, ...], ...]
    newly_flagged: int
    newly_cleared: int


class Change(BaseModel, frozen=True):
    """What a release decides otherwise under one policy."""

    before: str
    after: str
    images: int
    moves: Moves


class Overrun(BaseModel, frozen=True):
    """A budget of the diff's own that was not kept."""

    policy: str
    said: str


class Half(BaseModel, frozen=True):
    """A side that has not judged all that was observed."""

    release: str
    policy: str
    judged: int
    observed: int


class Changed(BaseModel, frozen=True):
    """What `assay diff` says; without its samples, which name images."""

    before: str
    after: str
    store: str
    written: str
    observed: int
    policies: tuple[Change, ...]
    half: tuple[Half, ...] = ()
    overruns: tuple[Overrun, ...] = ()


class Replayed(BaseModel, frozen=True):
    """What `assay replay --golden` says."""

    release: str
    policy: str
    replayed: int
    exact: int
    missing: int = 0
    """Images of the golden set that the store does not know."""
    golden: str = ""


D = TypeVar("D", Measured, Changed, Replayed)


@dataclass(frozen=True)
class Document(Generic[D]):
    """One document, and where it was found."""

    kind: str
    facts: D
    run: str

    @property
    def content(self) -> bytes:
        """As it is kept with the promotion."""
        return content_of(self.facts)

    def cite(self, said: str) -> Evidence:
        """What the log says of it."""
        return Evidence(kind=self.kind, sha256=hashlib.sha256(self.content).hexdigest(), run=self.run, said=said)


@dataclass
class Documents:
    """What is known of a release, newest first."""

    measured: list[Document[Measured]] = field(default_factory=list)
    changed: list[Document[Changed]] = field(default_factory=list)
    replayed: list[Document[Replayed]] = field(default_factory=list)

    def add(self, facts: Measured | Changed | Replayed, run: str = "") -> None:
        """Put a document with its kind."""
        if isinstance(facts, Measured):
            self.measured.append(Document("evaluate", facts, run))
        elif isinstance(facts, Changed):
            self.changed.append(Document("diff", facts, run))
        else:
            self.replayed.append(Document("replay", facts, run))

    def all(self) -> Iterator[Document[Measured] | Document[Changed] | Document[Replayed]]:
        """Each of them."""
        yield from self.measured
        yield from self.changed
        yield from self.replayed


def read_document(content: bytes, where: str) -> Measured | Changed | Replayed:
    """A document as its command prints it.

    Raises:
        SpecError: it is none.
    """
    kinds: dict[str, type[Measured] | type[Changed] | type[Replayed]] = {
        "scorecard": Measured,
        "policies": Changed,
        "replayed": Replayed,
    }
    why = "it is not JSON of one object"
    try:
        raw = json.loads(content)
        kind = next((kind for key, kind in kinds.items() if key in raw), None) if isinstance(raw, dict) else None
        if kind is not None:
            return kind.model_validate(raw)
        why = f"it has none of {', '.join(kinds)}" if isinstance(raw, dict) else why
    except (ValueError, ValidationError) as error:
        why = str(error).splitlines()[0]
    fix = "give what `assay evaluate`, `assay diff` or `assay replay --golden` print with --json"
    raise SpecError("not evidence the gate can read", where=where, why=why, fix=fix)


def gather(registry: Registry, release: str, files: Sequence[Path]) -> Documents:
    """All evidence of a release (by its id): the files given first, then what runs recorded, newest first.

    Raises:
        SpecError: a file is none, or is of another release.
        RegistryError: the registry cannot be asked, or does not hold what a run recorded.
    """
    found = Documents()
    for file in files:
        facts = read_document(_read(file), str(file))
        if release not in _about(facts):
            why = f"it is about {', '.join(_about(facts))}, not {release}"
            raise SpecError("evidence of another release", where=str(file), why=why, fix="measure the one to promote")
        found.add(facts)
    for kind in KINDS:
        for run in registry.runs.runs({"assay.kind": kind, "assay.release": release}, LOOKED_AT):
            found.add(read_recorded(registry, run.id, release), run.id)
    return found


def content_of(facts: Measured | Changed | Replayed) -> bytes:
    """A document as the gate reads it: the same bytes wherever it is kept, and no image in them."""
    return json.dumps(facts.model_dump(mode="json"), indent=1).encode()


def _about(facts: Measured | Changed | Replayed) -> tuple[str, ...]:
    if isinstance(facts, Measured):
        return (facts.scorecard.subject.release,)
    return (facts.after,) if isinstance(facts, Changed) else (facts.release,)


def read_recorded(registry: Registry, run: str, release: str) -> Measured | Changed | Replayed:
    """What a run recorded of a release.

    Raises:
        RegistryError: it recorded nothing, or of another one.
    """
    with tempfile.TemporaryDirectory() as aside:
        file = registry.runs.fetch(f"{registry.runs.run_artifacts(run)}/{FACTS_FILE}", Path(aside))
        what, fix = "a run's evidence is not what it recorded", "delete that run, and measure again"
        try:
            facts = read_document(file.read_bytes(), f"run {run}")
        except SpecError as error:
            raise RegistryError(what, where=run, why=error.why, fix=fix) from error
    if release not in _about(facts):
        why = f"it is about {', '.join(_about(facts))}, not {release}"
        raise RegistryError(what, where=run, why=why, fix=fix)
    return facts


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        why = error.strerror or str(error)
        raise SpecError("evidence cannot be read", where=str(file), why=why, fix="name a file that is there") from error
