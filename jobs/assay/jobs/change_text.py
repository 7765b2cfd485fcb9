"""What changed between two releases before any image is looked at: words, calibration, thresholds and rules.

Knows releases and policies. Does not know verdicts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from assay.platform.calibration import Calibration
from assay.platform.label_binding import labels_below
from assay.platform.library import SemanticLibrary
from assay.platform.library_diff import LibraryDiff, compare
from assay.platform.policy import Policy
from assay.platform.promise import Target
from assay.platform.release import Release


@dataclass(frozen=True)
class Text:
    """What the scores of a release come from."""

    library: SemanticLibrary
    calibration: Calibration
    bindings: Mapping[str, str]

    @classmethod
    def of(cls, release: Release) -> "Text":
        """Read now."""
        return cls(release.library(), release.calibration(), release.bindings())

    def curves_below(self, label: str) -> dict[str, object]:
        """The curves that a label's score goes through: its own, and those of the labels below it."""
        labels = self.calibration.labels
        return {one: labels[one].curve for one in labels_below(self.library, label) if one in labels}


@dataclass(frozen=True)
class TextChange:
    """Two releases of one encoder."""

    before: Text
    after: Text
    library: LibraryDiff

    @classmethod
    def between(cls, before: Release, after: Release) -> "TextChange":
        """What changed."""
        one, other = Text.of(before), Text.of(after)
        return cls(one, other, compare(one.library, other.library))

    def causes(self, label: str) -> tuple[str, ...]:
        """Why the scores of a label that both have can differ."""
        before, after = self.before, self.after
        found = ["text"] if label in self.library.rescored else []
        # Other than by words: another temperature, or another precision of the encoder.
        if not found and before.bindings[label] != after.bindings[label]:
            found.append("scoring")
        if before.curves_below(label) != after.curves_below(label):
            found.append("calibration")
        return tuple(found)

    def calibrated(self, label: str) -> tuple[bool, bool]:
        """Whether a label's score is a probability, before and after."""
        return label in self.before.calibration.labels, label in self.after.calibration.labels


def tell_rule(policy: Policy, label: str) -> str:
    """What a policy asks of a label, in words."""
    rule = policy.rule(label)
    if rule is None:
        return "not judged"
    wanted = {"review": rule.review, "block": rule.block}
    return "; ".join(f"{action} {_told(one)}" for action, one in wanted.items() if one is not None)


def _told(wanted: float | Target) -> str:
    if isinstance(wanted, Target):
        return f"{wanted}, until promised review from {wanted.otherwise:g}"
    return f"from {wanted:g}"
