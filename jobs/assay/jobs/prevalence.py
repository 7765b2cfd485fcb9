"""How much violating content a store has, and how much of it was left unflagged: from answers to figures.

Knows how a golden set, the record of its draw and the store's verdicts of today come together. Does not know the
statistics (`assay.platform.prevalence`).

Figures are about the images that were judged at the draw and are still there:
- what was forgotten since is gone from the strata and from the answers alike; the rest of a stratum's answers are a
  plain sample of its rest;
- what came in new shards is counted (`later`), and nothing is said about it;
- another release or policy changes nothing: verdicts of the draw's own are read.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, Field

from assay.jobs.forgotten import unerased
from assay.jobs.judged import Verdicts, find_judged
from assay.jobs.prevalence_draw import SLICE, Draw, LabelDraw, Scan, Scored, own_seed
from assay.jobs.priority_sample import Image, draw
from assay.jobs.store import Store
from assay.platform.document import did_you_mean
from assay.platform.errors import GoldenError, SpecError
from assay.platform.faults import OK
from assay.platform.golden import GoldenSet
from assay.platform.golden_rows import Truth
from assay.platform.prevalence import Answers, LabelPrevalence, PrevalenceSpec, measure
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec

Tell = Callable[[str], None]
Numbers = npt.NDArray[np.int64]

MANY = 0.1
"""Unanswered, of the images asked about: from here on it is told that they may be unlike the others."""


class EstimateSpec(Spec):
    """Which store, and the answers."""

    store: str = Field(kw_only=False, description="the store that the sample was drawn from")
    golden: Path = Field(description="the sample, filled in: Parquet")
    labels: tuple[str, ...] = Field((), description="labels to tell of; unset: all that were drawn for and answered")
    draw: str | None = Field(None, description="the draw, where the golden set has images of several")
    halving: bool = Field(True, description="find how many more answers would halve each interval")
    measure: PrevalenceSpec = Field(PrevalenceSpec(), description="how intervals are found")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


class PrevalenceFacts(BaseModel, frozen=True):
    """What is known of a store's prevalence."""

    release: str
    policy: str
    draw: str
    golden: str
    """Digest of the golden set."""
    confidence: float
    population: int
    """Readable images that were judged at the draw and still are: what figures are about."""
    drawn_from: int
    """Readable images that were judged at the draw."""
    later: int
    """Readable images judged in shards that came since; nothing is said about them."""
    asked: int
    """Images drawn."""
    gone: int
    """Images of the golden set, of this draw, that the store has no verdict of any more."""
    labels: dict[str, LabelPrevalence]
    notes: tuple[str, ...]
    """What one must know to trust the figures."""


def estimate_prevalence(spec: EstimateSpec, tell: Tell = lambda _line: None) -> PrevalenceFacts:
    """Tell, of each label, how many violating images there are and how many were left unflagged.

    Raises:
        GoldenError: the golden set cannot be read, was not drawn from this store, or nobody has answered.
        SpecError: there is no store, its release judged nothing in it any more, or a label was not drawn for.
        CommitError: an erasure is under way or was cut off.
        StorageError: committed rows cannot be read.
    """
    golden = GoldenSet.read(spec.golden)
    store = Store.open(Storage(spec.storage), spec.store)
    with unerased(store):
        drawn = Draw.read(store, _draw_of(golden, spec))
        said = _said(golden, drawn)
        labels = _labels(drawn, said, spec)
        judged = find_judged(store, drawn.release, drawn.policy)
        readable = Verdicts.by(store, judged, pc.field("outcome") == OK)
        counted = _Counted(drawn, labels, said)
        for batch, scored in Scan.of(judged, readable, labels).batches(["uri", "etag", "shard"]):
            counted.add(batch, scored)
            tell(f"{counted.population + counted.later:,} verdicts read")
    found = {}
    for label in labels:
        tell(f"measuring {label}")
        found[label] = measure(counted.answers(label), spec.measure, halving=spec.halving)
    return PrevalenceFacts(
        release=drawn.release,
        policy=drawn.policy,
        draw=drawn.name,
        golden=golden.digest,
        confidence=spec.measure.confidence,
        population=counted.population,
        drawn_from=drawn.population,
        later=counted.later,
        asked=drawn.images,
        gone=len(said) - len(counted.met),
        labels=found,
        notes=tuple(_notes(drawn, said, counted, found)),
    )


Said = dict[Image, dict[str, Truth]]
"""What people said of each image of the draw: labels nobody spoke of are left out."""


def _draw_of(golden: GoldenSet, spec: EstimateSpec) -> str:
    """The name of the draw."""
    names = sorted({*golden.slices().get(SLICE, ())} - {""})
    if spec.draw is None and len(names) == 1:
        return str(names[0])
    if spec.draw is not None and spec.draw in names:
        return spec.draw
    what = "this golden set is of several draws" if names else "this golden set was not drawn for prevalence"
    why = f"it has images of {', '.join(names)}" if names else f"no image has a slice {SLICE!r}"
    fix = "say which with --draw" if names else "draw one with `assay prevalence sample`, and keep its slices"
    raise GoldenError(what, where=str(spec.golden), why=why, fix=fix)


def _said(golden: GoldenSet, drawn: Draw) -> Said:
    images = zip(golden.uris, golden.etags, golden.slices()[SLICE].tolist(), golden.table["labels"], strict=True)
    return {
        (uri, etag): {label: Truth(word) for label, word in labels.as_py()}
        for uri, etag, name, labels in images
        if name == drawn.name
    }


def _labels(drawn: Draw, said: Said, spec: EstimateSpec) -> tuple[str, ...]:
    """The labels that are told of.

    Raises:
        SpecError: one that was asked for was not drawn for.
        GoldenError: nobody has answered.
    """
    answered = {label for labels in said.values() for label, word in labels.items() if word is not Truth.UNSURE}
    for label in spec.labels:
        if label not in drawn.labels:
            raise SpecError(
                f"label {label!r} was not drawn for{did_you_mean(label, drawn.labels)}",
                where=f"draw {drawn.name}",
                why="its images were chosen by other labels' scores, so what was said of it is no sample of the store",
                fix="draw again with `assay prevalence sample --labels`; --answered keeps what was said",
            )
    found = tuple(label for label in spec.labels or drawn.labels if label in answered)
    if not found:
        raise GoldenError(
            "nobody has answered yet",
            where=str(spec.golden),
            why=f"no image is called present or absent for {', '.join(spec.labels or drawn.labels)}",
            fix="have it filled in: `assay golden export` and `import`",
        )
    return found


class _Counted:
    """What the store's verdicts of today say of a draw, while they stream by."""

    def __init__(self, drawn: Draw, labels: Sequence[str], said: Said) -> None:
        self.drawn, self.said = drawn, said
        self.where, self.uris = drawn.where, pa.array(sorted({uri for uri, _ in said}), pa.string())
        self.population = self.later = 0
        self.met: set[Image] = set()
        self._tallies = {label: _Tally(drawn.labels[label]) for label in labels}

    def add(self, batch: pa.RecordBatch, scored: dict[str, Scored]) -> None:
        """Count a batch with uri, etag and shard."""
        inside = self.where.has_each(batch["shard"].to_numpy())
        self.population += int(inside.sum())
        self.later += int((~inside).sum())
        known = pc.is_in(batch["uri"], self.uris).to_numpy(zero_copy_only=False) & inside
        rows = np.flatnonzero(known)
        chosen = batch.take(pa.array(rows))
        images = list(zip(chosen["uri"].to_pylist(), chosen["etag"].to_pylist(), strict=True))
        asked = {row: image for row, image in zip(rows.tolist(), images, strict=True) if image in self.said}
        self.met.update(asked.values())
        numbers = dict(zip(asked, draw(own_seed(self.drawn.seed), list(asked.values())).tolist(), strict=True))
        words = {row: self.said[image] for row, image in asked.items()}
        for label, tally in self._tallies.items():
            tally.add(scored[label], inside, numbers, {row: said.get(label) for row, said in words.items()})

    def answers(self, label: str) -> Answers:
        """What was said of a label, by strata."""
        return self._tallies[label].answers()


@dataclass
class _Tally:
    """One label's images and answers by stratum."""

    label: LabelDraw
    counts: dict[str, Numbers] = field(default_factory=dict)

    def add(
        self,
        scored: Scored,
        inside: npt.NDArray[np.bool_],
        numbers: dict[int, float],
        words: dict[int, Truth | None],
    ) -> None:
        """Count the images `inside`. `numbers` are those asked about, by row, with their own numbers, `words` what was
        said of them."""
        places = self.label.place(scored.parts, scored.codes)
        self._count("images", places[inside[scored.rows] & (places >= 0)])
        asked = np.isin(scored.rows, list(numbers))
        rates = self.label.rates
        drawn: dict[str, list[int]] = {"drawn": [], **{word.value: [] for word in Truth}}
        for row, place in zip(scored.rows[asked].tolist(), places[asked].tolist(), strict=True):
            # Others were drawn for another label: they are no plain sample of this stratum.
            if place >= 0 and (numbers[row] < rates[place] or rates[place] >= 1):
                drawn["drawn"].append(place)
                if (word := words[row]) is not None:
                    drawn[word.value].append(place)
        for name, mine in drawn.items():
            self._count(name, np.array(mine, np.int64))

    def _count(self, name: str, places: Numbers) -> None:
        size = len(self.label.strata)
        self.counts[name] = self.counts.get(name, np.zeros(size, np.int64)) + np.bincount(places, minlength=size)

    def answers(self) -> Answers:
        strata = self.label.strata
        return Answers(
            parts=tuple(one.part for one in strata),
            images=self.counts["images"],
            scores=np.array([one.score for one in strata]),
            drawn=self.counts["drawn"],
            present=self.counts[Truth.PRESENT.value],
            absent=self.counts[Truth.ABSENT.value],
            unsure=self.counts[Truth.UNSURE.value],
        )


def _notes(drawn: Draw, said: Said, counted: _Counted, found: dict[str, LabelPrevalence]) -> list[str]:
    """What one must know to trust the figures."""
    spoken = Counter(label for labels in said.values() for label in labels)
    ranked = sorted(label for label in found if not drawn.labels[label].is_calibrated)
    quiet = sorted(set(drawn.labels) - set(found))
    other = sorted(set(spoken) - set(drawn.labels))
    few = sorted(label for label, one in found.items() if one.unanswered > MANY * (one.answers + one.unanswered))
    missing, changed = drawn.images - len(said), counted.population - drawn.population
    notes = {
        f"no probabilities, so only the order of scores was used: {', '.join(ranked)}": ranked,
        f"drawn for and not told of: {', '.join(quiet)}": quiet,
        f"not drawn for, so what was said of it is left aside: {', '.join(other)}": other,
        f"{missing:,} of the {drawn.images:,} images drawn are not in the golden set, and are taken to be like the "
        "others of their strata": missing > 0,
        f"more than {MANY:.0%} unanswered, and taken to be like the answered ones of their strata: "
        f"{', '.join(few)}": few,
        f"{-changed:,} images that were there at the draw have no verdict any more (forgotten); nothing is said about "
        "them": changed < 0,
        f"{changed:,} images of the draw's shards were mended since, and are taken to be like the others of their "
        "strata": changed > 0,
        f"{counted.later:,} images were judged since the draw; nothing is said about them": counted.later,
    }
    return [note for note, holds in notes.items() if holds]
