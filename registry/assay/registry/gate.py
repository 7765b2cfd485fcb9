"""The gate of promotion: what must hold of a release before it decides.

Knows five checks, each with a name by which it may be waived. Does not measure: it reads what was measured, and refuses
what was measured of something else. Moves no alias (`promotion.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import Field

from assay.platform.comparison import ComparisonSpec
from assay.platform.finding import Severity
from assay.platform.library_lint import lint_words
from assay.platform.library_text import LibraryText
from assay.platform.release import Release
from assay.platform.spec import Spec
from assay.registry.evidence import Change, Changed, Document, Documents, Measured
from assay.registry.promotion_entry import Check, Evidence, Side

SCORECARD, CALIBRATION, DIFF, GOLDEN, LIBRARY = CHECKS = ("scorecard", "calibration", "diff", "golden", "library")


class GateSpec(Spec):
    """How much worse, and how different, a release may be."""

    margins: ComparisonSpec = Field(ComparisonSpec(), description="greatest margins of a comparison")
    calibration_error: float = Field(0.1, gt=0, le=1, description="greatest calibration error of a label")
    golden_missing: float = Field(
        0.1, ge=0, le=1, description="greatest share of golden images the store need not have"
    )
    newly_flagged: float = Field(0.05, ge=0, le=1, description="greatest share of images that passed and would not now")
    newly_cleared: float = Field(0.05, ge=0, le=1, description="greatest share of images that would pass and did not")


@dataclass(frozen=True)
class Candidate:
    """A release that is to be promoted, the champion it replaces, and what is known of it."""

    release: Release
    champion: Side | None
    its_files: Release | None
    """The champion itself; None, too, when nobody has it any more."""
    known: Documents

    @property
    def measured(self) -> Document[Measured] | None:
        """The scorecard of its default policy that compares it with the champion; failing that, the newest one."""
        mine = [
            one
            for one in self.known.measured
            if one.facts.scorecard.subject.policy == self.release.manifest.default_policy
        ]
        against = [one for one in mine if one.facts.comparison and self.is_champion(one.facts.comparison.reference)]
        return next(iter([*against, *mine]), None)

    @property
    def changed(self) -> Document[Changed] | None:
        """The newest diff from the champion."""
        return next((one for one in self.known.changed if self.is_champion(one.facts.before)), None)

    def is_champion(self, release: str) -> bool:
        """Whether a release's id is the champion's."""
        return self.champion is not None and release == self.champion.release


def check_candidate(candidate: Candidate, spec: GateSpec) -> tuple[Check, ...]:
    """All checks, in order. None is left out because another failed."""
    rules: dict[str, Callable[[Candidate, GateSpec], _Answer]] = {
        SCORECARD: _scorecard,
        CALIBRATION: _calibration,
        DIFF: _diff,
        GOLDEN: _golden,
        LIBRARY: _library,
    }
    answers = {name: rule(candidate, spec) for name, rule in rules.items()}
    return tuple(
        Check(name=name, passed=one.passed, said=one.said, evidence=tuple(one.evidence))
        for name, one in answers.items()
    )


@dataclass(frozen=True)
class _Answer:
    passed: bool
    said: str
    evidence: Sequence[Evidence] = ()


def _scorecard(candidate: Candidate, spec: GateSpec) -> _Answer:
    policy = candidate.release.manifest.default_policy
    found = candidate.measured
    if found is None:
        return _Answer(False, f"no scorecard under policy {policy}: run `assay evaluate` with --against the champion")
    card, comparison = found.facts.scorecard, found.facts.comparison
    cited = [found.cite(f"{card.images:,} images of golden set {card.subject.golden[:12]}")]
    if candidate.champion is None:
        return _Answer(True, f"{len(card.labels)} labels measured; there is no champion to be worse than", cited)
    if comparison is None or not candidate.is_champion(comparison.reference):
        why = f"not compared with the champion, {candidate.champion.release}: run `assay evaluate` with --against"
        return _Answer(False, why, cited)
    loose = _looser(comparison.spec, spec.margins)
    if loose:
        return _Answer(False, f"compared with wider margins than the gate's: {', '.join(loose)}", cited)
    if comparison.worse:
        worst = "; ".join(
            f"{one.label}{f' ({one.slice} {one.value})' if one.slice else ''}: "
            f"{one.figure} {one.reference:.3f} -> {one.candidate:.3f}"
            for one in comparison.worse[:5]
        )
        more = f" and {len(comparison.worse) - 5} more" if len(comparison.worse) > 5 else ""
        return _Answer(False, f"worse than the champion: {worst}{more}", cited)
    gone = f"; labels gone: {', '.join(comparison.only_reference)}" if comparison.only_reference else ""
    counted = f"{len(comparison.differences):,} figures over labels and slices, none worse beyond its margin"
    return _Answer(not gone, f"{counted}{gone}", cited)


def _looser(made: ComparisonSpec, allowed: ComparisonSpec) -> list[str]:
    return [
        f"{name} {getattr(made, name):g} > {getattr(allowed, name):g}"
        for name in ComparisonSpec.model_fields
        if getattr(made, name) > getattr(allowed, name)
    ]


def _calibration(candidate: Candidate, spec: GateSpec) -> _Answer:
    """That it fits the release was checked as the release was loaded; here, that it covers and that it is right."""
    ours = set(candidate.release.calibration().labels)
    if not ours:
        return _Answer(False, "no label is calibrated: scores are no probabilities, so nothing may block")
    if candidate.champion is not None and candidate.its_files is None:
        return _Answer(False, "the champion's files are gone: what it had calibrated is not known")
    theirs = set(candidate.its_files.calibration().labels) if candidate.its_files else set()
    lost = sorted((theirs - ours) & set(candidate.release.library().labels))
    if lost:
        return _Answer(False, f"calibrated in the champion and not here: {', '.join(lost)}")
    said = f"{len(ours)} of {len(candidate.release.library().labels)} labels, made for this encoder and these phrases"
    found = candidate.measured
    if found is None:
        return _Answer(True, f"{said}; not measured")
    card = found.facts.scorecard
    errors = {label.label: label.overall.figures.get("calibration_error") for label in card.labels}
    off = [
        f"{label} {one.value:.2f}"
        for label, one in errors.items()
        if label in ours and one and one.low is not None and one.value is not None and one.low > spec.calibration_error
    ]
    cited = [found.cite("calibration error on the golden set")]
    if off:
        return _Answer(False, f"calibration error over {spec.calibration_error:g}: {', '.join(off)}", cited)
    return _Answer(True, f"{said}; no error is surely over {spec.calibration_error:g}", cited)


def _diff(candidate: Candidate, spec: GateSpec) -> _Answer:
    if candidate.champion is None:
        return _Answer(True, "there is no champion to differ from")
    found = candidate.changed
    if found is None:
        ids = f"--from {candidate.champion.release} --to {candidate.release.id}"
        return _Answer(False, f"no diff from the champion: run `assay diff STORE {ids} --json`")
    facts = found.facts
    cited = [found.cite(f"{facts.observed:,} images of {facts.store}, {facts.written}")]
    if facts.half:
        half = "; ".join(f"{one.release}, {one.policy}: {one.judged:,} of {one.observed:,}" for one in facts.half)
        return _Answer(False, f"not all is judged: {half}", cited)
    over = [f"policy {one.policy}: {one.said}" for one in facts.overruns]
    over += [said for change in facts.policies for said in _over_budget(change, spec)]
    if over:
        return _Answer(False, "; ".join(over[:5]), cited)
    if not facts.policies:
        return _Answer(False, "no policy was compared", cited)
    moved = "; ".join(
        f"{one.after}: {one.moves.newly_flagged:,} newly flagged, {one.moves.newly_cleared:,} newly cleared "
        f"of {one.images:,}"
        for one in facts.policies
    )
    return _Answer(True, moved, cited)


def _over_budget(change: Change, spec: GateSpec) -> list[str]:
    found = {
        "newly flagged": (change.moves.newly_flagged, spec.newly_flagged),
        "newly cleared": (change.moves.newly_cleared, spec.newly_cleared),
    }
    return [
        f"policy {change.after}: {count:,} of {change.images:,} images {name} ({count / change.images:.2%}), "
        f"{allowed:.2%} allowed"
        for name, (count, allowed) in found.items()
        if change.images and count / change.images > allowed
    ]


def _golden(candidate: Candidate, spec: GateSpec) -> _Answer:
    of_golden = [one for one in candidate.known.replayed if one.facts.golden]
    if not of_golden:
        return _Answer(False, "golden verdicts were not reproduced: run `assay replay STORE --golden FILE --json`")
    found = of_golden[0]
    facts, measured = found.facts, candidate.measured
    cited = [found.cite(f"golden set {facts.golden[:12]}, policy {facts.policy}")]
    if measured is not None and measured.facts.scorecard.subject.golden != facts.golden:
        theirs = measured.facts.scorecard.subject.golden[:12]
        return _Answer(False, f"reproduced on golden set {facts.golden[:12]}, measured on {theirs}", cited)
    total = facts.replayed + facts.missing
    if facts.missing > spec.golden_missing * total:
        return _Answer(False, f"{facts.missing:,} of {total:,} golden images are not in the store", cited)
    said = f"{facts.exact:,} of {facts.replayed:,} verdicts made again to the last bit"
    return _Answer(facts.exact == facts.replayed > 0, said, cited)


def _library(candidate: Candidate, _spec: GateSpec) -> _Answer:
    release = candidate.release
    text = LibraryText.read(release.directory / release.manifest.library.path)
    found = list(lint_words(text))
    errors = [one for one in found if one.severity is Severity.ERROR]
    if errors:
        return _Answer(False, "; ".join(f"line {one.line}: {one.what}" for one in errors[:5]))
    warnings = sum(one.severity is Severity.WARNING for one in found)
    return _Answer(True, f"no error, {warnings} warnings in {len(text.library.labels)} labels")
