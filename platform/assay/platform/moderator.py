"""The moderator: one release, one policy, from pixels to verdicts. Batch and online both call it.

Knows how observations, scores and actions become columns. Knows no Ray, no storage and no network; the
encoder is loaded when asked for, at the latest by the first `observe`, so that re-auditing stored observations never
loads torch.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from assay.platform.errors import ConservationError, ReleaseError
from assay.platform.faults import OK
from assay.platform.policy import ACTIONS, Ranks, Scores
from assay.platform.release import Release
from assay.platform.rows import FINDING, OBSERVATIONS, VERDICTS
from assay.platform.scoring import Scorer, over_views

if TYPE_CHECKING:
    from assay.platform.batch import ImageBatch
    from assay.platform.encoder import Encoder
    from assay.platform.views import Preprocess

_HALF = np.dtype("<f2")
_NOT_FINITE = 0x7C00
"""The exponent of a float16 that is infinite or no number."""
_NAMES = pa.array([action.value for action in ACTIONS])
PROBED = 8
"""Images of each batch whose carried scores are held against their embeddings, flagged or not."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A batch's observations and its verdicts, row for row."""

    observations: pa.Table
    verdicts: pa.Table


@dataclass(frozen=True, slots=True)
class Carried:
    """Scores[images, labels] that another release gave the readable images of a batch, for labels that it scores alike
    (`Scorer.fingerprints`)."""

    labels: tuple[str, ...]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The rows that have embeddings: `rows` are their places, `starts` where each one's views begin."""

    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    embeddings: npt.NDArray[np.float16]  # [views, dim]

    def only(self, asked: npt.NDArray[np.bool_]) -> "_Seen":
        """Some of the images."""
        counts = np.diff(np.append(self.starts, len(self.embeddings)))
        kept = counts[asked]
        return _Seen(self.rows[asked], np.cumsum(kept) - kept, self.embeddings[np.repeat(asked, counts)])


class Moderator:
    """Observes and judges under one release and one of its policies."""

    def __init__(
        self, release: Release, policy: str | None = None, device: str = "auto", encoder: "Encoder | None" = None
    ) -> None:
        """`encoder` is the release's own, where a process has it loaded already."""
        self.release = release
        self.policy = release.policy(policy)
        self.points = release.operating_points().of(self.policy.name)
        self.scorer = release.scorer()
        self.device = device
        self._lent = encoder
        self._narrow: dict[tuple[str, ...], Scorer] = {}

    def under(self, policy: str) -> Self:
        """The same under another of the release's policies; what is loaded by now is shared."""
        other = copy(self)
        other.policy = self.release.policy(policy)
        other.points = self.release.operating_points().of(policy)
        return other

    @property
    def preprocess(self) -> "Preprocess":
        """How pictures must be prepared for `observe`."""
        return self.release.preprocess

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label that is scored."""
        return self.scorer.labels

    @cached_property
    def encoder(self) -> "Encoder":
        """The release's encoder, loaded when first asked for."""
        return self._lent or self.release.encoder(self.device)

    def warm_up(self) -> None:
        """Load the encoder and encode one picture: what comes first is slow, and better done while nobody waits."""
        size = self.preprocess.size
        self.encoder.encode_images(np.zeros((1, size, size, 3), np.uint8))

    def judge(self, batch: "ImageBatch") -> Judgement:
        """Observe a batch and decide it."""
        observations = self.observe(batch)
        return Judgement(observations, self.decide(observations))

    def observe(self, batch: "ImageBatch") -> pa.Table:
        """Encode a batch: its rows with their embeddings."""
        num_views = pc.fill_null(pc.list_value_length(batch.rows["views"]), 0).to_numpy().astype(np.int64)
        if int(num_views.sum()) != len(batch.pixels):
            raise ConservationError(
                "views and pixels do not match",
                why=f"{num_views.sum()} views in rows, {len(batch.pixels)} in pixels",
            )
        embeddings = self.encoder.encode_images(batch.pixels).astype(_HALF, copy=False)
        column = embedding_column(embeddings, num_views)
        position = OBSERVATIONS.get_field_index("embedding")
        observations = batch.rows.add_column(position, OBSERVATIONS.field(position), column).cast(OBSERVATIONS)
        _conserve("observe", batch.rows.num_rows, observations.num_rows)
        return observations

    def decide(self, observations: pa.Table, carried: Carried | None = None) -> pa.Table:
        """Decide stored or fresh observations: one verdict each, in their order.

        Most images are under every threshold; only of the others is it asked which concept and phrase made a score.
        What is `carried` is held against the scores of all of these, and of a few more.

        Raises:
            ReleaseError: observations of another encoder, or damaged; carried scores that are not this release's.
        """
        seen = self._seen(observations)
        best = self._scores(seen, carried)
        ranks = self.policy.decide(best, self.labels, self.points)
        actions = np.full(observations.num_rows, ACTIONS.index(self.policy.on_fault), np.uint8)
        actions[seen.rows] = ranks.max(axis=1, initial=0)
        asked = (ranks > 0).max(axis=1, initial=False)
        if carried is not None:
            asked[:PROBED] = True
        columns = {
            **{name: observations[name] for name in ("shard", "uri", "etag", "outcome")},
            "action": _NAMES.take(pa.array(actions)),
            "findings": self._findings(observations.num_rows, seen.only(asked), best[asked], ranks[asked]),
            "scores": self._score_maps(observations.num_rows, seen.rows, best),
            "release": pa.repeat(self.release.id, observations.num_rows),
            "policy": pa.repeat(self.policy.name, observations.num_rows),
        }
        verdicts = pa.table([columns[name] for name in VERDICTS.names], schema=VERDICTS)
        _conserve("decide", observations.num_rows, verdicts.num_rows)
        return verdicts

    def _scores(self, seen: _Seen, carried: Carried | None) -> Scores:
        """Each image's score for each label, float32[images, labels]: the greatest over its views."""
        if carried is None:
            return _greatest(self.scorer.score_labels(seen.embeddings), seen)
        if carried.scores.shape != (len(seen.rows), len(carried.labels)):
            what = "the scores carried over are not of these images"
            raise ConservationError(what, why=f"{carried.scores.shape} of {len(seen.rows)} images")
        found = np.empty((len(seen.rows), len(self.labels)), np.float32)
        found[:, [self.labels.index(label) for label in carried.labels]] = carried.scores
        fresh = [label for label in self.labels if label not in carried.labels]
        if fresh:
            narrow = self._narrowed(tuple(fresh))
            scores = _greatest(narrow.score_labels(seen.embeddings), seen)
            found[:, [self.labels.index(label) for label in narrow.labels]] = scores
        return found

    def _narrowed(self, labels: tuple[str, ...]) -> Scorer:
        """The scorer of some labels: made once, since a run scores the same ones anew in every batch."""
        if labels not in self._narrow:
            self._narrow[labels] = self.scorer.narrowed(labels)
        return self._narrow[labels]

    def _seen(self, observations: pa.Table) -> _Seen:
        row_bytes = self.scorer.dim * _HALF.itemsize
        lengths = pc.binary_length(observations["embedding"]).to_numpy().astype(np.int64)
        is_ok = pc.equal(observations["outcome"], OK).to_numpy()
        wrong = (lengths % row_bytes != 0) | (is_ok != (lengths > 0))
        if "views" in observations.column_names:
            num_views = pc.fill_null(pc.list_value_length(observations["views"]), 0).to_numpy()
            wrong |= lengths != num_views * row_bytes
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise ReleaseError(
                "an observation does not fit this release's encoder",
                where=f"{observations['uri'][at]} ({observations['outcome'][at]})",
                why=f"its embedding has {lengths[at]} bytes; this encoder makes {row_bytes} per view",
                fix="use a release with the encoder these images were observed with, or observe them again",
            )
        rows = np.flatnonzero(is_ok)
        counts = lengths[rows] // row_bytes
        embeddings = embeddings_of(observations["embedding"], self.scorer.dim)
        if not is_finite(embeddings):
            raise ReleaseError(
                "a stored embedding is not a number",
                why="damaged observations",
                fix="observe these images again",
            )
        return _Seen(rows, np.cumsum(counts) - counts, embeddings)

    def _findings(self, num_rows: int, seen: _Seen, best: Scores, ranks: Ranks) -> pa.Array:
        """Labels over a threshold of the images in `seen`, whose scores are `best`[images, labels]."""
        scores = self.scorer.score(seen.embeddings)
        again, view = over_views(scores.labels, seen.starts)
        if not np.array_equal(again, best):
            raise ReleaseError(
                "scores carried over are not what this release gives",
                where=f"release {self.release.id}",
                why=f"{int((again != best).sum())} of {best.size} scores held against the embeddings differ",
                fix="run it with --no-carry, and report this",
            )
        row, label = np.nonzero(ranks)
        at = seen.starts[row] + view[row, label]
        score = scores.labels[at, label]
        order = np.lexsort((label, -score, row))
        row, label, at, score = row[order], label[order], at[order], score[order]
        concept = scores.concepts[at, label]
        prompt, counter = self.scorer.evidence(seen.embeddings[at], concept)
        texts = pa.array(self.scorer.phrases.texts)
        columns = [
            pa.array(self.labels).take(pa.array(label)),
            _NAMES.take(pa.array(ranks[row, label])),
            pa.array(score),
            pa.array(self.scorer.concepts).take(pa.array(concept)),
            texts.take(pa.array(prompt)),
            texts.take(pa.array(counter)),
            pa.array(view[row, label].astype(np.int32)),
        ]
        counts = np.bincount(seen.rows[row], minlength=num_rows)
        offsets = pa.array(np.append(0, np.cumsum(counts)).astype(np.int32))
        return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(columns, fields=list(FINDING)))

    def _score_maps(self, num_rows: int, rows: npt.NDArray[np.int64], best: npt.NDArray[np.float32]) -> pa.Array:
        num_labels = len(self.labels)
        names = np.tile(np.arange(num_labels, dtype=np.int32), len(rows))
        keys = pa.DictionaryArray.from_arrays(pa.array(names), pa.array(self.labels))
        has = np.zeros(num_rows, np.bool_)
        has[rows] = True
        offsets = np.append(0, np.cumsum(has) * num_labels).astype(np.int32)
        # A null offset makes the row null: a fault has no scores, which is not an empty list of them.
        marked = pa.array(offsets, mask=np.append(~has, False))
        return pa.MapArray.from_arrays(marked, keys, pa.array(best.reshape(-1)))


def _greatest(scores: Scores, seen: _Seen) -> Scores:
    """Each image's greatest score per label."""
    return scores if len(scores) == len(seen.rows) else np.maximum.reduceat(scores, seen.starts, axis=0)


def embedding_column(embeddings: npt.NDArray[np.float16], num_views: npt.NDArray[np.int64]) -> pa.Array:
    """One binary value per row: its views' embeddings, end to end. No row is copied on its own."""
    ends = np.cumsum(num_views) * embeddings.shape[1] * _HALF.itemsize
    offsets = np.append(0, ends)
    assert offsets[-1] < 2**31, "a batch beyond Arrow's 2 GiB of binary; shards are far smaller"
    buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(embeddings))]
    return pa.Array.from_buffers(pa.binary(), len(num_views), buffers)


def embeddings_of(column: pa.ChunkedArray, dim: int) -> npt.NDArray[np.float16]:
    """A binary column's bytes as one matrix, viewed, not copied, when the column is in one piece."""
    parts: Sequence[npt.NDArray[np.float16]] = [_chunk_matrix(chunk, dim) for chunk in column.chunks if len(chunk)]
    if len(parts) == 1:
        return parts[0]
    return np.concatenate([np.empty((0, dim), _HALF), *parts])


def is_finite(halves: npt.NDArray[np.float16]) -> bool:
    """Whether all are numbers: the same as NumPy's `isfinite`, at twenty times its speed for float16."""
    return int((halves.view(np.uint16) & _NOT_FINITE).max(initial=0)) != _NOT_FINITE


def _chunk_matrix(chunk: pa.Array, dim: int) -> npt.NDArray[np.float16]:
    _, offsets, data = chunk.buffers()
    ends = np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1]
    if data is None or ends[0] == ends[-1]:
        return np.empty((0, dim), _HALF)
    return np.frombuffer(data, _HALF, (ends[-1] - ends[0]) // _HALF.itemsize, int(ends[0])).reshape(-1, dim)


def _conserve(step: str, rows_in: int, rows_out: int) -> None:
    if rows_in != rows_out:
        raise ConservationError(f"{step} lost or doubled rows", why=f"{rows_in} in, {rows_out} out")
