"""Replay: a verdict made again from its stored observation and its release, and held against what was decided then.

Knows which rows are read, and what "the same" is: every bit of scores, findings and action. Does not know how a score
comes about (`assay.platform.explanation`).
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, Field

from assay.jobs.evaluate import MeasuredSplit, read_split
from assay.jobs.forgotten import unerased
from assay.jobs.judged import Judged, find_release, judged_by
from assay.jobs.recorded import RecordChoice, RecordedFacts, recorded, refuse_unrecordable
from assay.jobs.release_choice import RegistryChoice, origins_of
from assay.jobs.replay_rows import differences, rows_of_golden, rows_of_image, sample_rows
from assay.jobs.report_trace import leave_trace_of
from assay.jobs.run_summary import summary_of_replay
from assay.jobs.standing import standing
from assay.jobs.store import Store
from assay.platform.errors import SpecError
from assay.platform.explanation import explain
from assay.platform.faults import OK
from assay.platform.golden import GoldenSet
from assay.platform.moderator import Moderator, embeddings_of
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.registry.place import RegistrySpec

PHRASES = 3
"""Nearest phrases told of either kind."""


class ReplaySpec(Spec):
    """Which verdicts are made again."""

    store: str = Field(kw_only=False, description="the store")
    uri: str | None = Field(None, kw_only=False, description="the image, as the store names it; unset: a sample")
    etag: str | None = Field(None, description="version of the image; unset: the one observed last")
    sample: int = Field(1000, ge=1, description="without a uri: so many verdicts, drawn at random")
    seed: int = Field(0, description="another seed draws others")
    golden: Path | None = Field(None, description="golden set, Parquet: its images instead of a sample")
    split: MeasuredSplit = Field("test", description="its rows, as of `assay evaluate`; those of no split serve both")
    release: str | None = Field(
        None, description="release that judged: id in the store, directory or models:/…; unset: the latest run's"
    )
    policy: str | None = Field(None, description="its policy; unset: one that judged the store")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")
    registry: RegistryChoice = RegistrySpec()
    record: RecordChoice = False


class PhrasePath(BaseModel, frozen=True):
    """A phrase near the image."""

    text: str
    language: str
    cosine: float


class LabelPath(BaseModel, frozen=True):
    """How one label came to its score and action. Of several views the one that scored highest is told."""

    label: str
    view: int
    concept: str
    similarity: float
    against: float
    margin: float
    raw: float
    score: float
    """The raw score through the label's calibration, and not below that of a label under it."""
    review_at: float | None
    block_at: float | None
    action: str
    standing: tuple[str, ...]
    prompts: tuple[PhrasePath, ...]
    counters: tuple[PhrasePath, ...]


class ReplayFacts(RecordedFacts, frozen=True):
    """What came of it."""

    release: str
    policy: str
    replayed: int
    exact: int
    """Verdicts that are the same to the last bit."""
    differing: tuple[str, ...]
    """What is not, each in words."""
    golden: str = ""
    """Digest of the golden rows whose images these are, as scorecards have it; empty if they are not of any."""
    missing: int = 0
    """Images of the golden set of which the store has no such verdict."""
    uri: str = ""
    etag: str = ""
    outcome: str = ""
    action: str = ""
    views: tuple[str, ...] = ()
    signals: dict[str, float] = Field({})
    labels: tuple[LabelPath, ...] = ()
    """Highest score first."""

    @property
    def is_exact(self) -> bool:
        """Whether all are."""
        return self.exact == self.replayed


def replay(spec: ReplaySpec) -> ReplayFacts:
    """Make one verdict again and tell its whole path; or those of a golden set, or of a sample, and count.

    Raises:
        SpecError: no store, nothing judged so, the image is not known, or an image and a golden set are named.
        GoldenError: the golden set cannot be read, or the store has no verdict of its images.
        StorageError: committed rows cannot be read.
        CommitError: something is being erased.
    """
    if spec.uri is not None and spec.golden is not None:
        why = f"{spec.uri}, and --golden {spec.golden}"
        raise SpecError("one image or a golden set", where="--golden", why=why, fix="leave one away")
    refuse_unrecordable(spec)
    golden = None if spec.golden is None else read_split(spec.golden, spec.split)
    store = Store.open(Storage(spec.storage), spec.store)
    chosen = find_release(store, spec.release, spec.registry)
    judged = judged_by(store, chosen.release, spec.policy)
    with unerased(store):  # an erasure that begins after this finds the trace
        facts, named = _replay(store, judged, spec, golden)
        facts = facts.model_copy(update={"origins": origins_of(release=chosen)})
        trace = functools.partial(leave_trace_of, store, named) if named else None
        summary = functools.partial(summary_of_replay, facts, spec, store, chosen.release)
        return recorded(facts, spec, summary, leave_trace=trace)


def _replay(
    store: Store, judged: Judged, spec: ReplaySpec, golden: GoldenSet | None
) -> tuple[ReplayFacts, tuple[str, ...]]:
    """What came of it, and the images that it names."""
    if spec.uri is not None:
        facts = _one(store, judged, spec)
        return facts, (facts.uri,)
    if golden is None:
        return _many(judged, sample_rows(store, judged, spec.sample, spec.seed))
    missing, rows = rows_of_golden(store, judged, golden)
    facts, named = _many(judged, rows)
    return facts.model_copy(update={"golden": golden.digest, "missing": missing}), named


def _one(store: Store, judged: Judged, spec: ReplaySpec) -> ReplayFacts:
    assert spec.uri is not None, "an image is asked for"
    seen, then = rows_of_image(store, judged, spec.uri, spec.etag)
    moderator = Moderator(judged.release, judged.policy.name)
    now = moderator.decide(seen)
    row, told = seen.to_pylist()[0], now.to_pylist()[0]
    differing = differences(now, then)
    return ReplayFacts(
        release=judged.release.id,
        policy=judged.policy.name,
        replayed=1,
        exact=int(not differing),
        differing=tuple(differing),
        uri=row["uri"],
        etag=row["etag"],
        outcome=row["outcome"],
        action=told["action"],
        views=tuple(_view(view) for view in row["views"] or ()),
        signals={str(name): float(value) for name, value in row["signals"] or ()},
        labels=_paths(judged, moderator, seen, told) if row["outcome"] == OK else (),
    )


def _paths(judged: Judged, moderator: Moderator, seen: pa.Table, told: dict[str, Any]) -> tuple[LabelPath, ...]:
    release, scorer = judged.release, moderator.scorer
    library, temperature = release.library(), release.manifest.scoring.temperature
    embeddings = embeddings_of(seen["embedding"], scorer.dim)
    scores, thresholds = scorer.score(embeddings), judged.thresholds()
    said = standing(release, judged.policy)
    actions = {finding["label"]: finding["action"] for finding in told["findings"]}
    found = []
    for column, label in enumerate(scorer.labels):
        view = int(scores.labels[:, column].argmax())
        concept = scorer.concepts[int(scores.concepts[view, column])]
        path = explain(library, scorer.phrases, temperature, concept, embeddings[view])
        edges = thresholds[label]
        found.append(
            LabelPath(
                label=label,
                view=view,
                **{name: getattr(path, name) for name in ("concept", "similarity", "against", "margin", "raw")},
                score=float(scores.labels[view, column]),
                review_at=edges.get("review"),
                block_at=edges.get("block"),
                action=actions.get(label, "pass"),
                standing=said[label],
                prompts=_phrases(path.prompts),
                counters=_phrases(path.counters),
            )
        )
    return tuple(sorted(found, key=lambda one: -one.score))


def _phrases(phrases: Sequence[Any]) -> tuple[PhrasePath, ...]:
    return tuple(PhrasePath(text=one.text, language=one.language, cosine=one.cosine) for one in phrases[:PHRASES])


def _view(view: dict[str, Any]) -> str:
    box = [view[side] for side in ("x0", "y0", "x1", "y1")]
    where = "" if None in box or box == [0, 0, 1, 1] else " from {:.0%}, {:.0%} to {:.0%}, {:.0%}".format(*box)
    when = "" if view["time_s"] is None else f" at {view['time_s']:.2f} s"
    return f"{view['kind']}{where}{when}"


def _many(judged: Judged, rows: Iterator[tuple[pa.Table, pa.Table]]) -> tuple[ReplayFacts, tuple[str, ...]]:
    moderator = Moderator(judged.release, judged.policy.name)
    replayed, differing = 0, list[tuple[str, list[str]]]()
    for seen, then in rows:
        now = moderator.decide(seen)
        replayed += then.num_rows
        for row in range(then.num_rows):
            if wrong := differences(now.slice(row, 1), then.slice(row, 1)):
                differing.append((str(seen["uri"][row]), wrong))
    facts = ReplayFacts(
        release=judged.release.id,
        policy=judged.policy.name,
        replayed=replayed,
        exact=replayed - len(differing),
        differing=tuple(f"{uri}: {what}" for uri, wrong in differing for what in wrong),
    )
    return facts, tuple(uri for uri, _ in differing)
