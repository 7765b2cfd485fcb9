"""What is kept of two sides while their images stream by: matrices, densities, and a small sample for each stratum.

Knows decisions and scores as arrays. Does not know files, phrases or pages. Memory does not grow with the images.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from assay.jobs.change_data import Direction, Faults, Moves, Shift
from assay.jobs.pairing import Pairs
from assay.jobs.side import Places, Rows, Scores, Side
from assay.platform.errors import ConservationError
from assay.platform.policy import ACTIONS, Action, Ranks

GRID = 25
"""Parts of 0 to 1 on each axis of a density."""
STEPS = 2000
"""Parts of -1 to 1 in which shifts are counted."""
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)

DIRECTIONS = tuple(Direction)
_OF_MOVE = {(0, 1): 0, (0, 2): 0, (1, 0): 1, (2, 0): 1, (1, 2): 2, (2, 1): 3}
DIRECTION_OF = np.array([_OF_MOVE.get(divmod(code, 3), -1) for code in range(9)], np.int8)
"""The place in `DIRECTIONS` of each move (three times the rank before, and the rank after); -1 for none."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may get into the sample of its stratum: a label and a direction."""

    priority: float
    uri: str
    etag: str
    label: str
    direction: Direction
    before: Action
    after: Action
    score_before: float | None
    score_after: float | None


@dataclass
class ChangeTally:
    """Two sides, compared. `labels` are those of both, first those of `before` in its order."""

    before: Side
    after: Side
    samples: int
    """Images kept for each label and direction."""
    seed: int
    moves: Places = field(init=False)  # [9]: of images, by move
    label_moves: Places = field(init=False)  # [labels, 9]
    faults: Places = field(init=False)  # [4]: readable on both, not after, not before, on neither
    only: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        count = len(self.labels)
        self.moves, self.faults = np.zeros(9, np.int64), np.zeros(4, np.int64)
        self.label_moves = np.zeros((count, 9), np.int64)
        self._density = np.zeros((len(self.shared), GRID * GRID), np.int64)
        self._shifts = np.zeros((len(self.shared), STEPS + 1), np.int64)
        self._ends = np.tile([np.inf, -np.inf], (len(self.shared), 1))
        self._random = np.random.default_rng(self.seed)
        self._kept: dict[tuple[int, int], list[Candidate]] = {}
        self._bounds = np.full((count, len(DIRECTIONS)), np.inf)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The labels of both sides."""
        return tuple(dict.fromkeys((*self.before.labels, *self.after.labels)))

    @cached_property
    def shared(self) -> tuple[str, ...]:
        """The labels that both sides score."""
        return tuple(label for label in self.labels if label in self.before.labels and label in self.after.labels)

    @cached_property
    def secret(self) -> frozenset[str]:
        """The labels of which a side shows no evidence."""
        found = [side.judged.release.library().labels for side in (self.before, self.after)]
        return frozenset(name for labels in found for name, label in labels.items() if label.no_evidence)

    def add(self, pairs: Pairs) -> None:
        """Count some images.

        Raises:
            ConservationError: what was done with an image does not follow from its scores.
        """
        one, other = pairs.before, pairs.after
        self.only[0] += len(pairs.only_before)
        self.only[1] += len(pairs.only_after)
        self.moves += np.bincount(_codes(one.ranks, other.ranks), minlength=9)
        self.faults += np.bincount(2 * ~one.readable + ~other.readable, minlength=4)
        # Drawn for every image, so that the sample does not depend on how rows are cut into files.
        priorities = self._random.random(len(one))
        both = one.readable & other.readable
        if not both.all():
            rows = np.flatnonzero(both)
            one, other, priorities = one.take(rows), other.take(rows), priorities[rows]
        codes = _codes(self._wide(self.before, one), self._wide(self.after, other))
        self.label_moves += _count_by_column(codes, 9)
        self._add_scores(one, other)
        self._offer(one, other, codes, priorities)

    def _wide(self, side: Side, rows: Rows) -> Ranks:
        """Ranks for the labels of both sides; one that this side has not passes."""
        ranks = side.ranks_of(rows.scores)
        if not np.array_equal(ranks.max(axis=1, initial=0), rows.ranks):
            at = int(np.flatnonzero(ranks.max(axis=1, initial=0) != rows.ranks)[0])
            raise ConservationError(
                "a verdict does not follow from its scores",
                where=f"{rows.uris[at]}, release {side.judged.release.id}, policy {side.judged.policy.name}",
                why=f"it says {ACTIONS[rows.ranks[at]]}",
                fix="run `assay verify`; if the store is sound, judge it again with this version of Assay",
            )
        wide = np.zeros((len(rows), len(self.labels)), np.uint8)
        wide[:, [self.labels.index(label) for label in side.labels]] = ranks
        return wide

    def _add_scores(self, one: Rows, other: Rows) -> None:
        x, y = self._shared_scores(self.before, one), self._shared_scores(self.after, other)
        if not x.size:
            return
        cells = np.minimum((x * GRID).astype(np.int64), GRID - 1) * GRID
        cells += np.minimum((y * GRID).astype(np.int64), GRID - 1)
        self._density += _count_by_column(cells, GRID * GRID)
        shift = y.astype(np.float64) - x
        self._shifts += _count_by_column(np.rint((shift + 1) * (STEPS / 2)).astype(np.int64), STEPS + 1)
        self._ends[:, 0] = np.minimum(self._ends[:, 0], shift.min(axis=0))
        self._ends[:, 1] = np.maximum(self._ends[:, 1], shift.max(axis=0))

    def _shared_scores(self, side: Side, rows: Rows) -> Scores:
        """Scores of the labels that both sides have, in 0 to 1; what is no number is 1, as the policy takes it."""
        places = [side.labels.index(label) for label in self.shared]
        return np.clip(np.nan_to_num(rows.scores[:, places], nan=1.0), 0, 1)

    def _offer(self, one: Rows, other: Rows, codes: npt.NDArray[np.uint8], priorities: npt.NDArray[np.float64]) -> None:
        """Let the images that moved into the samples: of each stratum those of least priority, which is random."""
        hidden = [place for place, label in enumerate(self.labels) if label in self.secret]
        directions = DIRECTION_OF[codes]
        # Flagged for a label without evidence, on either side, an image is shown under no other label either.
        directions[(codes[:, hidden] > 0).any(axis=1)] = -1
        rows, columns = np.nonzero(directions >= 0)
        strata = directions[rows, columns].astype(np.int64)
        better = priorities[rows] < self._bounds[columns, strata]
        rows, columns, strata = rows[better], columns[better], strata[better]
        order = np.lexsort((priorities[rows], strata, columns))
        rows, columns, strata = rows[order], columns[order], strata[order]
        group = columns * len(DIRECTIONS) + strata
        nth = np.arange(len(group)) - np.searchsorted(group, group, "left")
        for at in np.flatnonzero(nth < self.samples):
            row, column, stratum = int(rows[at]), int(columns[at]), int(strata[at])
            kept = self._kept.setdefault((column, stratum), [])
            kept.append(self._candidate(one, other, (row, column), codes[row, column], float(priorities[row])))
        for (column, stratum), kept in self._kept.items():
            kept.sort(key=lambda candidate: candidate.priority)
            del kept[self.samples :]
            if len(kept) == self.samples and kept:
                self._bounds[column, stratum] = kept[-1].priority

    def _candidate(self, one: Rows, other: Rows, place: tuple[int, int], code: np.uint8, priority: float) -> Candidate:
        row, column = place
        label = self.labels[column]
        scores = [
            float(rows.scores[row, side.labels.index(label)]) if label in side.labels else None
            for side, rows in ((self.before, one), (self.after, other))
        ]
        before, after = (ACTIONS[rank] for rank in divmod(int(code), 3))
        direction = DIRECTIONS[DIRECTION_OF[code]]
        uri, etag = one.uris[row].as_py(), one.etags[row].as_py()
        return Candidate(priority, uri, etag, label, direction, before, after, *scores)

    def sample_of(self, label: str) -> list[Candidate]:
        """The sample of a label, direction by direction."""
        place = self.labels.index(label)
        return [one for stratum in range(len(DIRECTIONS)) for one in self._kept.get((place, stratum), [])]

    def moves_of(self, label: str) -> Moves:
        """How a label's decisions moved."""
        return moves_from(self.label_moves[self.labels.index(label)])

    def shift_of(self, label: str) -> Shift | None:
        """How a label's scores moved; None when a side has none."""
        place = self.shared.index(label) if label in self.shared else -1
        count = int(self._shifts[place].sum()) if place >= 0 else 0
        if not count:
            return None
        running = np.cumsum(self._shifts[place])
        # The least shift that so many images do not exceed.
        at = np.searchsorted(running, np.ceil(np.array(QUANTILES) * count), "left")
        least, greatest = (float(end) for end in self._ends[place])
        inner = np.clip(at * (2 / STEPS) - 1, least, greatest)
        named = {f"{quantile:g}": round(float(value), 3) for quantile, value in zip(QUANTILES, inner, strict=True)}
        density = self._density[place].reshape(GRID, GRID).tolist()
        quantiles = {"0": least} | named | {"1": greatest}
        return Shift(images=count, quantiles=quantiles, density=tuple(map(tuple, density)))

    def fault_counts(self) -> Faults:
        """Images that could not be read."""
        _, only_after, only_before, both = self.faults.tolist()
        return Faults(both=both, only_before=only_before, only_after=only_after)


def moves_from(counts: Places) -> Moves:
    """From counts int64[9] by move."""
    rows = counts.reshape(3, 3).tolist()
    return Moves(counts=tuple(map(tuple, rows)))


def _codes(before: Ranks, after: Ranks) -> npt.NDArray[np.uint8]:
    codes: npt.NDArray[np.uint8] = 3 * before + after
    return codes


def _count_by_column(codes: npt.NDArray[np.uint8] | Places, size: int) -> Places:
    """How often each code below `size` is in each column of codes[n, columns]: [columns, size]."""
    columns = codes.shape[1]
    flat = (codes + np.arange(columns) * size).ravel()
    found: Places = np.bincount(flat, minlength=columns * size).reshape(columns, size)
    return found
