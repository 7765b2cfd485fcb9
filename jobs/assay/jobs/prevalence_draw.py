"""The record of a draw: which strata there were, how many images each had, and how likely one of it was to be drawn.

    STORE/draws/DRAW.json               written before the golden set; names no image

Knows how a draw is written, found again, and who was in it: an image's own number (`priority_sample.draw`), its score
and the record tell. So the record holds nothing about any image, nothing of it need be erased, and whatever happened to
the store since, each stratum's answers are a plain random sample of the images that are left of it.

Does not know how strata are cut (`assay.platform.stratification`) nor what is learned from the answers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, ValidationError

from assay.jobs.judged import Judged, Verdicts
from assay.jobs.score_bands import codes_of
from assay.jobs.shard_ranges import ShardRanges
from assay.jobs.store import Store
from assay.jobs.tally import explode_scores
from assay.platform.errors import GoldenError, StoreVersionError
from assay.platform.policy import Action
from assay.platform.stratification import Part, Stratum

FOLDER = "draws"
SLICE = "draw"
"""The slice of a golden set that names the draw of an image."""
PARTS = tuple(Part)
"""Parts by number."""

Numbers = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]


def own_seed(seed: int) -> int:
    """What images' own numbers are made from. Not those of `assay golden build`: whoever calibrates with its sample
    would meet the same images again in this one."""
    return seed + 2**64


class DrawnStratum(BaseModel, frozen=True):
    """One stratum at the time of the draw."""

    part: Part
    start: int
    """The code of its lowest score (`score_bands.py`); it ends where the next of its part begins."""
    images: int
    score: float
    """Their mean score, as the draw took it: a probability, or a stand-in by rank."""
    rate: float
    """Of its images, those drawn: an image whose own number is less. 1 or more: all of them."""

    @classmethod
    def of(cls, stratum: Stratum, rate: float) -> "DrawnStratum":
        """A stratum, and how much of it is drawn."""
        parts = {"part": stratum.part, "start": stratum.start, "images": stratum.images, "score": stratum.score}
        return cls.model_validate({**parts, "rate": min(rate, 1.0)})


class LabelDraw(BaseModel, frozen=True):
    """One label's strata: those of one part together, by rising score."""

    strata: tuple[DrawnStratum, ...]
    is_calibrated: bool
    """Whether its scores were probabilities; if not, only their order was used."""

    def place(self, parts: Numbers, codes: Numbers) -> Numbers:
        """The stratum of each image, by its part's number and its score's code; -1: no image was in such a one."""
        found = np.full(len(codes), -1, np.int64)
        for part, group in groupby(enumerate(self.strata), key=lambda one: one[1].part):
            places, strata = zip(*group, strict=True)
            mine = parts == PARTS.index(part)
            starts = np.array([stratum.start for stratum in strata])
            found[mine] = places[0] + np.searchsorted(starts, codes[mine], "right") - 1
        return found

    @property
    def rates(self) -> Doubles:
        """How much of each stratum is drawn, float64[strata]."""
        return np.array([stratum.rate for stratum in self.strata])


class Draw(BaseModel):
    """One draw."""

    model_config = ConfigDict(frozen=True)

    assay_draw: Literal[1] = 1
    name: str
    release: str
    policy: str
    seed: int
    images: int
    """Images drawn."""
    population: int
    """Readable images judged."""
    shards: tuple[tuple[int, int], ...]
    """First and last of the ranges of shards that were judged."""
    labels: dict[str, LabelDraw]

    @property
    def where(self) -> ShardRanges:
        """The shards that were judged."""
        return ShardRanges.between(self.shards)

    def write(self, store: Store) -> None:
        """Write the record, once and for all."""
        place = store.path(FOLDER, f"{self.name}.json")
        store.storage.write(place, self.model_dump_json(indent=1).encode(), if_absent=True)

    @classmethod
    def read(cls, store: Store, name: str) -> "Draw":
        """The draw of a store by its name.

        Raises:
            GoldenError: the store has no such draw.
            StoreVersionError: its record cannot be read.
        """
        place = store.path(FOLDER, f"{name}.json")
        data = store.storage.read(place)
        if data is None:
            raise GoldenError(
                f"this store has no draw {name!r}",
                where=store.shown,
                why="the golden set was drawn from another store, or the record was removed",
                fix="name the store it was drawn from",
            )
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            fix = "upgrade Assay, or draw again with `assay prevalence sample`"
            raise StoreVersionError("a draw cannot be read", where=place, why=str(error), fix=fix) from error


@dataclass(frozen=True, slots=True)
class Scored:
    """Images of a batch that have a score for one label: rows[n], and each one's part by number and score's code."""

    rows: Numbers
    parts: Numbers
    codes: Numbers


@dataclass(frozen=True, slots=True)
class Scan:
    """Verdicts of one release and policy, label by label."""

    verdicts: Verdicts
    edges: Mapping[str, float]
    """The score from which on each label's own rule flags; infinity for never."""

    @classmethod
    def of(cls, judged: Judged, verdicts: Verdicts, labels: Sequence[str]) -> "Scan":
        """Of some labels."""
        thresholds = judged.thresholds()
        return cls(verdicts, {label: min(thresholds[label].values(), default=np.inf) for label in labels})

    def batches(self, columns: list[str]) -> Iterator[tuple[pa.RecordBatch, dict[str, Scored]]]:
        """Each batch of verdicts with some columns, and what it says of each label."""
        for batch in self.verdicts.batches([*columns, "scores", "action"]):
            entries, scores = explode_scores(batch["scores"])
            passed = pc.equal(batch["action"], Action.PASS.value).to_numpy(zero_copy_only=False)
            found = {}
            for label, edge in self.edges.items():
                which = entries.of(label)
                rows, mine = entries.rows[which], scores[which]
                parts = np.where(passed[rows], PARTS.index(Part.PASSED), PARTS.index(Part.ELSEWHERE))
                # Compared as the policy compares: in float32, and a score that is no number is over.
                parts[~(mine < np.float32(edge)) & ~passed[rows]] = PARTS.index(Part.FLAGGED)
                found[label] = Scored(rows, parts, codes_of(mine))
            yield batch, found
