"""Replay: a verdict made again from its stored observation and its release, and held against what was decided then.

Knows which rows are read, and what "the same" is: every bit of scores, findings and action. Does not know how a score
comes about (`assay.platform.explanation`).
"""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.forgotten import unerased
from assay.jobs.judged import Judged, find_judged
from assay.jobs.replay_rows import differences, rows_of_image, sample_rows
from assay.jobs.standing import standing
from assay.jobs.store import Store
from assay.platform.explanation import explain
from assay.platform.faults import OK
from assay.platform.moderator import Moderator, embeddings_of
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec

PHRASES = 3
"""Nearest phrases told of either kind."""


class ReplaySpec(Spec):
    """Which verdicts are made again."""

    store: str = Field(kw_only=False, description="the store")
    uri: str | None = Field(None, kw_only=False, description="the image, as the store names it; unset: a sample")
    etag: str | None = Field(None, description="version of the image; unset: the one observed last")
    sample: int = Field(1000, ge=1, description="without a uri: so many verdicts, drawn at random")
    seed: int = Field(0, description="another seed draws others")
    release: str | None = Field(None, description="release that judged, by id; unset: of the latest run")
    policy: str | None = Field(None, description="its policy; unset: one that judged the store")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


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


class ReplayFacts(BaseModel):
    """What came of it."""

    model_config = ConfigDict(frozen=True)

    release: str
    policy: str
    replayed: int
    exact: int
    """Verdicts that are the same to the last bit."""
    differing: tuple[str, ...]
    """What is not, each in words."""
    uri: str = ""
    etag: str = ""
    outcome: str = ""
    action: str = ""
    views: tuple[str, ...] = ()
    signals: dict[str, float] = {}
    labels: tuple[LabelPath, ...] = ()
    """Highest score first."""

    @property
    def is_exact(self) -> bool:
        """Whether all are."""
        return self.exact == self.replayed


def replay(spec: ReplaySpec) -> ReplayFacts:
    """Make one verdict again and tell its whole path, or a sample of verdicts and count.

    Raises:
        SpecError: no store, nothing judged so, or the image is not known.
        StorageError: committed rows cannot be read.
        CommitError: something is being erased.
    """
    store = Store.open(Storage(spec.storage), spec.store)
    judged = find_judged(store, spec.release, spec.policy)
    with unerased(store):
        if spec.uri is None:
            return _sample(store, judged, spec)
        return _one(store, judged, spec)


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


def _sample(store: Store, judged: Judged, spec: ReplaySpec) -> ReplayFacts:
    moderator = Moderator(judged.release, judged.policy.name)
    replayed, differing = 0, dict[str, list[str]]()
    for seen, then in sample_rows(store, judged, spec.sample, spec.seed):
        now = moderator.decide(seen)
        replayed += then.num_rows
        for row in range(then.num_rows):
            if wrong := differences(now.slice(row, 1), then.slice(row, 1)):
                differing[str(seen["uri"][row])] = wrong
    return ReplayFacts(
        release=judged.release.id,
        policy=judged.policy.name,
        replayed=replayed,
        exact=replayed - len(differing),
        differing=tuple(f"{uri}: {what}" for uri, wrong in differing.items() for what in wrong),
    )
