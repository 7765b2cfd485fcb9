"""What is worth saying of each job where people compare runs: parameters, metrics, and which data it read.

Knows the facts of jobs that can be recorded. Does not know how a run is written (`recorded.py`). Names no image: only
sources, stores and golden sets; all else is in the facts, which are kept beside.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from assay.jobs.generation import Generation, generations
from assay.jobs.run import BackfillFacts, Run
from assay.jobs.store import Store
from assay.platform.release import Release
from assay.registry.recording import Data, Recording

if TYPE_CHECKING:  # they take what is here
    from assay.jobs.calibrate import CalibrateFacts, CalibrateSpec
    from assay.jobs.change_data import DiffFacts
    from assay.jobs.evaluate import EvaluateFacts, EvaluateSpec
    from assay.jobs.reaudit import ReauditFacts
    from assay.jobs.replay import ReplayFacts, ReplaySpec


def summary_of_backfill(facts: BackfillFacts, run: Run) -> Recording:
    """A backfill: how many images of which source ended how."""
    told = {**facts.model_dump(exclude={"origins"}), "fault_rate": facts.fault_rate}
    data = Data("source", digest_of(run.known), facts.source)
    return Recording(
        "backfill",
        run.release.id,
        run.release.digest,
        {"source": facts.source, "store": facts.store, "policy": facts.policy, "command": run.command},
        _metrics(told),
        (data, data_of(facts.store, run.known)),
        {"assay.run": facts.run, "assay.policy": facts.policy},
    )


def summary_of_reaudit(facts: "ReauditFacts", run: Run) -> Recording:
    """A re-audit: how many images were judged again, and what was carried over."""
    counts = {"labels_carried": len(facts.labels_carried), "labels_scored": len(facts.labels_scored)}
    return Recording(
        "reaudit",
        run.release.id,
        run.release.digest,
        {"store": facts.store, "policy": facts.policy, "base": facts.base, "command": run.command},
        _metrics({**facts.model_dump(exclude={"origins"}), **counts}),
        (data_of(facts.store, run.known),),
        {"assay.run": facts.run, "assay.policy": facts.policy},
    )


def summary_of_calibration(
    facts: "CalibrateFacts", spec: "CalibrateSpec", releases: tuple[Release, Release], golden: str
) -> Recording:
    """A calibration: of the release that it made, the second one, of the first. `golden` is the golden set's digest."""
    before, made = releases
    kept = [one for one in facts.promises if one.threshold is not None]
    counts = {
        "images": facts.images,
        "missing": facts.missing,
        "calibrated": len(facts.calibrated),
        "uncalibrated": len(facts.uncalibrated),
        "promises_kept": len(kept),
        "promises_not_kept": len(facts.promises) - len(kept),
    }
    found = {
        f"{figure}/{one.policy}/{one.label}/{one.action}": value
        for one in kept
        for figure, value in (("threshold", one.threshold), ("bound", one.bound))
    }
    asked = {"golden": spec.golden, "store": spec.store, "slices": ", ".join(spec.slices), "directory": facts.directory}
    return Recording(
        "calibrate",
        made.id,
        made.digest,
        _asked({**asked, "release": before.id, "allow_missing": spec.allow_missing}),
        _metrics({**counts, **found}),
        (Data("golden", golden, spec.golden),),
        {"assay.golden": golden, "assay.calibrated_from": before.id},
    )


def summary_of_evaluation(facts: "EvaluateFacts", spec: "EvaluateSpec", releases: Sequence[Release]) -> Recording:
    """An evaluation of the first release: every label's figures over all images; those of slices are in the facts."""
    release, *others = releases
    card, comparison = facts.scorecard, facts.comparison
    figures = {
        f"{name}/{label.label}": one.value for label in card.labels for name, one in label.overall.figures.items()
    }
    counts = {"images": card.images, "missing": card.subject.missing, "gaps": len(card.named_gaps)}
    worse = {} if comparison is None else {"compared": len(comparison.differences), "worse": len(comparison.worse)}
    asked = {"golden": spec.golden, "split": spec.split, "store": spec.store, "allow_missing": spec.allow_missing}
    against = {"assay.against": others[0].id} if others else {}
    golden = card.subject.golden
    return Recording(
        "evaluate",
        release.id,
        release.digest,
        _asked({**asked, "policy": card.subject.policy, "against": against.get("assay.against")}),
        _metrics({**counts, **worse, **figures}),
        (Data("golden", golden, str(spec.golden)),),
        {"assay.golden": golden, "assay.policy": card.subject.policy, **against},
    )


def summary_of_diff(facts: "DiffFacts", store: Store, before: Release, after: Release) -> Recording:
    """A comparison of two releases over a store: it is about the one that decides now."""
    metrics: dict[str, float | None] = {"observed": facts.observed, "overruns": len(facts.overruns)}
    for change in facts.policies:
        counts = change.moves.model_dump(exclude={"counts"})
        shares = {"newly_flagged_share": change.newly_flagged.value, "newly_cleared_share": change.newly_cleared.value}
        load = {"reviews_before": change.load.before.value, "reviews_after": change.load.after.value}
        told = {"images": change.images, **counts, **shares, **load}
        metrics |= {f"{change.after}/{name}": value for name, value in told.items()}
    golden = next((change.golden for change in facts.policies if change.golden is not None), None)
    asked = {"store": facts.store, "before": facts.before, "after": facts.after, "source": facts.source}
    data = [data_of(facts.store, generations(store))]
    data += [] if golden is None else [Data("golden", golden.digest, golden.golden)]
    return Recording(
        "diff",
        after.id,
        after.digest,
        _asked({**asked, "policies": ", ".join(change.after for change in facts.policies)}),
        _metrics(metrics),
        tuple(data),
        {"assay.before": before.id, "assay.before_digest": before.digest},
    )


def summary_of_replay(facts: "ReplayFacts", spec: "ReplaySpec", store: Store, release: Release) -> Recording:
    """A replay: how many verdicts are the same. Which image, if one was named, is in the facts."""
    counts = {"replayed": facts.replayed, "exact": facts.exact, "missing": facts.missing}
    asked: dict[str, object] = {"store": spec.store, "policy": facts.policy}
    if spec.golden is not None:
        asked |= {"golden": spec.golden, "split": spec.split}
    elif spec.uri is None:
        asked |= {"sample": spec.sample, "seed": spec.seed}
    data = [data_of(spec.store, generations(store))]
    data += [Data("golden", facts.golden, str(spec.golden))] if facts.golden else []
    golden = {"assay.golden": facts.golden} if facts.golden else {}
    return Recording(
        "replay",
        release.id,
        release.digest,
        _asked(asked),
        _metrics(counts),
        tuple(data),
        {"assay.policy": facts.policy, **golden},
    )


def data_of(store: str, known: Iterable[Generation]) -> Data:
    """A store, by what was planned in it."""
    return Data("store", digest_of(known), store)


def digest_of(known: Iterable[Generation]) -> str:
    """One digest over what a store's generations say of themselves: their parts have names of their own."""
    return hashlib.sha256("\n".join(one.model_dump_json() for one in known).encode()).hexdigest()


def _asked(told: Mapping[str, object]) -> dict[str, object]:
    """What was asked for, without what was left open."""
    return {name: value for name, value in told.items() if value is not None}


def _metrics(told: Mapping[str, object]) -> dict[str, float]:
    """The numbers, those of a dict by its name and theirs."""
    return dict(_numbers(told))


def _numbers(told: Mapping[str, object], above: str = "") -> Iterator[tuple[str, float]]:
    for name, value in told.items():
        if isinstance(value, dict):
            yield from _numbers(value, f"{above}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{above}{name}", float(value)
