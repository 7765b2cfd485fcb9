"""What each label's scores and thresholds stand on, in words for people: the promise, what was shown, or why nothing.

Knows rules, calibrations and operating points. Does not know pictures, verdicts or pages.
"""

from assay.platform.calibration import Calibration
from assay.platform.policy import Policy
from assay.platform.promise import LabelPoints, OperatingPoint, Target
from assay.platform.release import Release

CURVES = {"isotonic": "isotonic regression", "platt": "Platt's curve"}


def standing(release: Release, policy: Policy) -> dict[str, tuple[str, ...]]:
    """A few sentences for each label that is scored."""
    calibration, points = release.calibration(), release.operating_points().of(policy.name)
    return {
        label: (_of_score(label, calibration), *_of_rule(policy, label, points.get(label, LabelPoints())))
        for label in release.library().labels
    }


def _of_score(label: str, calibration: Calibration) -> str:
    held = calibration.labels.get(label)
    if held is None:
        why = calibration.uncalibrated.get(label, "the release was never calibrated")
        return f"uncalibrated: {why}. Its score is no probability, and blocks nothing."
    return (
        f"calibrated by {CURVES[held.curve.method]} on {held.positives:,} images that have it "
        f"and {held.negatives:,} that have not"
    )


def _of_rule(policy: Policy, label: str, points: LabelPoints) -> list[str]:
    rule = policy.rule(label)
    if rule is None:
        return []
    said = []
    wanted = {"review": (rule.review, points.review, points.why_no_review)}
    wanted["block"] = (rule.block, points.block, points.why_no_block)
    for action, (asked, point, why) in wanted.items():
        if isinstance(asked, Target):
            said.append(_of_promise(action, asked, point, why))
        elif asked is not None:
            said.append(
                f"{action} from {asked:g}: set by hand, promises nothing" + (", and only reviews" * (action == "block"))
            )
    return said


def _of_promise(action: str, asked: Target, point: OperatingPoint | None, why: str) -> str:
    if point is None or not point.keeps(asked):
        lack = why or "the release was never calibrated for it"
        return f"{action}, {asked}: not promised, {lack}; until then, review from {asked.otherwise:g}"
    slices = f", in each of {', '.join(point.slices)} too" if point.slices else ""
    return (
        f"{action}, {asked}{slices}: kept from {point.threshold:.3g} on; "
        f"shown {point.estimate:.1%} ({point.flagged:,} of {point.images:,} images flagged)"
    )
