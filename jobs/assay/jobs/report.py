"""The report's data: one pass over verdicts and one over observations, counted and sampled in constant
memory.

Knows how what a report says (`report_data.py`) is found, and what must never be in it. Does not know stores, nor how
pictures (`gallery.py`) and pages (`page.py`) are made.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from assay.jobs.report_data import FaultExample, LabelReport, ReportData, RunFacts, Specimen
from assay.jobs.tally import Band, Candidate, LabelTally, explode_findings, explode_scores
from assay.platform.errors import ConservationError
from assay.platform.faults import OK

Fetch = Callable[[str, str], bytes | str | None]
"""The stored bytes of (uri, etag); None if that version is no longer there; or, in words, why nothing can be had."""

READING = {"batch_size": 32_768, "batch_readahead": 2, "fragment_readahead": 1}
"""Counting is slower than reading: Arrow's own readahead (16 batches of 4 files) would only fill memory."""

FAULT_EXAMPLES = 5
"""Objects named per kind of fault."""


@dataclass(frozen=True)
class ReportInputs:
    """What a report is made from.

    `observations` has the columns of `rows.OBSERVATIONS`; `verdicts` those of `rows.VERDICTS`, of one
    release and one policy. `thresholds` maps a label to its {"review", "block"}, either of which may be
    null; `standing` says what these stand on.
    Labels in `no_evidence` are counted and never shown. `fetch` is for the gallery.
    """

    observations: ds.Dataset
    verdicts: ds.Dataset
    run: Mapping[str, Any]
    thresholds: Mapping[str, Mapping[str, float | None]]
    standing: Mapping[str, tuple[str, ...]]
    titles: Mapping[str, str]
    no_evidence: frozenset[str]
    fetch: Fetch


def collect_report(inputs: ReportInputs) -> ReportData:
    """Count and sample.

    Raises:
        ConservationError: more images are decided than were observed.
    """
    run = RunFacts.model_validate(dict(inputs.run))
    decided = _Decided.of(inputs)
    sampled = {name: tally.sample() for name, tally in decided.tallies.items()}
    wanted = {candidate.uri for sample in sampled.values() for _, candidate in sample}
    seen = _Seen.of(inputs.observations, wanted)
    num_images = seen.outcomes.total()
    undecided = seen.outcomes[OK] - decided.actions.total()
    if undecided < 0:
        raise ConservationError(
            "More images are decided than were observed",
            why=f"{decided.actions.total()} verdicts for {seen.outcomes[OK]} readable images",
            fix="run the backfill or re-audit of this release again",
        )
    planned = max(run.planned or 0, num_images)
    labels = {
        name: _label_report(name, tally, [_specimen(*one, seen) for one in sampled[name]], inputs)
        for name, tally in decided.tallies.items()
    }
    return ReportData(
        release=run.release,
        policy=run.policy,
        images=num_images,
        ok=seen.outcomes[OK],
        faults={kind: count for kind, count in sorted(seen.outcomes.items()) if kind != OK},
        planned=planned,
        unseen=planned - num_images,
        undecided=undecided,
        actions={action: decided.actions[action] for action in ("pass", "review", "block")},
        fault_actions=dict(sorted(decided.fault_actions.items())),
        seconds=run.seconds,
        images_per_second=run.images_per_second,
        labels=dict(sorted(labels.items(), key=lambda item: (-item[1].flagged, item[0]))),
        fault_examples={kind: tuple(examples) for kind, examples in sorted(seen.examples.items())},
        run=run,
    )


@dataclass
class _Decided:
    """What the pass over verdicts keeps. `actions` are of readable images, `fault_actions` of the others."""

    tallies: dict[str, LabelTally]
    actions: Counter[str] = field(default_factory=Counter)
    fault_actions: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, inputs: ReportInputs) -> "_Decided":
        named = sorted({*inputs.thresholds, *inputs.titles, *inputs.no_evidence})
        decided = cls({name: LabelTally(_lowest(inputs.thresholds.get(name, {}))) for name in named})
        columns = ["uri", "etag", "outcome", "action", "findings", "scores"]
        for batch in inputs.verdicts.scanner(columns=columns, **READING).to_batches():
            decided._add(batch, inputs.no_evidence)
        return decided

    def _add(self, batch: pa.RecordBatch, no_evidence: frozenset[str]) -> None:
        is_ok = pc.equal(batch["outcome"], OK)
        self.actions += Counter(_counts(batch["action"].filter(is_ok)))
        self.fault_actions += Counter(_counts(batch["action"].filter(pc.invert(is_ok))))
        findings, structs = explode_findings(batch["findings"])
        actions = pc.struct_field(structs, "action")
        for name in findings.names:
            self._tally(name).actions += Counter(_counts(actions.filter(pa.array(findings.of(name)))))
        secret = {int(row) for name in no_evidence for row in findings.rows[findings.of(name)]}
        scored, values = explode_scores(batch["scores"])
        # An image flagged for a label without evidence is shown under no other label either.
        shown = ~pc.is_in(pa.array(scored.rows), pa.array(sorted(secret), pa.int64())).to_numpy(False)
        for name in scored.names:
            mine = scored.of(name)
            self._tally(name).count(values[mine])
            if name not in no_evidence:
                rows = scored.rows[mine & shown]
                self._tally(name).offer(values[mine & shown], _Picker(batch, rows, values[mine & shown], name))

    def _tally(self, name: str) -> LabelTally:
        return self.tallies.setdefault(name, LabelTally(None))


@dataclass(frozen=True, slots=True)
class _Picker:
    """Makes the candidate of the i-th of some `rows` of a batch; only what is sampled becomes Python
    objects.
    """

    batch: pa.RecordBatch
    rows: Any  # int64[n]
    scores: Any  # float32[n]
    label: str

    def __call__(self, place: int) -> Candidate:
        row = int(self.rows[place])
        findings = self.batch["findings"][row].as_py() or []
        finding = next((one for one in findings if one["label"] == self.label), None)
        action = finding["action"] if finding else "pass"
        uri, etag = self.batch["uri"][row].as_py(), self.batch["etag"][row].as_py()
        return Candidate(float(self.scores[place]), uri, etag, action, finding)


@dataclass
class _Seen:
    """What the pass over observations keeps. `facts` are of sampled images, by (uri, etag)."""

    outcomes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[FaultExample]] = field(default_factory=dict)
    facts: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, observations: ds.Dataset, wanted: Iterable[str]) -> "_Seen":
        """One scan; embeddings, the bulk of the table, are not read."""
        seen, uris = cls(), pa.array(sorted(wanted), pa.string())
        columns = ["uri", "etag", "outcome", "detail", "format", "width", "height", "views"]
        for batch in observations.scanner(columns=columns, **READING).to_batches():
            seen.outcomes += Counter(_counts(batch["outcome"]))
            for row in batch.filter(pc.is_in(batch["uri"], uris)).to_pylist():
                seen.facts[row["uri"], row["etag"]] = row
            seen._add_examples(batch.filter(pc.not_equal(batch["outcome"], OK)))
        return seen

    def _add_examples(self, faults: pa.RecordBatch) -> None:
        for kind in _counts(faults["outcome"]):
            kept = self.examples.setdefault(kind, [])
            rows = faults.filter(pc.equal(faults["outcome"], kind)).slice(0, FAULT_EXAMPLES - len(kept))
            kept += [FaultExample(uri=row["uri"], detail=row["detail"] or "") for row in rows.to_pylist()]


def _specimen(band: Band, candidate: Candidate, seen: _Seen) -> Specimen:
    facts = seen.facts.get((candidate.uri, candidate.etag), {})
    finding: dict[str, Any] = candidate.finding or {}
    index = finding.get("view")
    views = facts.get("views") or []
    view = views[index] if index is not None and index < len(views) else {}
    return Specimen(
        uri=candidate.uri,
        etag=candidate.etag,
        band=band,
        action=candidate.action,
        score=candidate.score,
        **{name: finding.get(name) for name in ("concept", "prompt", "counter", "view")},
        view_kind=view.get("kind", "whole"),
        time_s=view.get("time_s"),
        **{name: facts.get(name) for name in ("format", "width", "height")},
    )


def _label_report(name: str, tally: LabelTally, specimens: list[Specimen], inputs: ReportInputs) -> LabelReport:
    thresholds = inputs.thresholds.get(name, {})
    review, block = tally.actions["review"], tally.actions["block"]
    return LabelReport(
        title=inputs.titles.get(name, name),
        flagged=review + block,
        review=review,
        block=block,
        scored=tally.scored,
        review_at=thresholds.get("review"),
        block_at=thresholds.get("block"),
        standing=inputs.standing.get(name, ()),
        no_evidence=name in inputs.no_evidence,
        histogram=tuple(tally.histogram.tolist()),
        specimens=tuple(specimens),
    )


def _lowest(thresholds: Mapping[str, float | None]) -> float | None:
    set_ones = [value for value in thresholds.values() if value is not None]
    return min(set_ones) if set_ones else None


def _counts(column: pa.Array) -> dict[str, int]:
    return {entry["values"]: entry["counts"] for entry in pc.value_counts(column).to_pylist()}
