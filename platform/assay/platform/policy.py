"""A customer's rules: which scores ask for people, which are refused at once.

Knows thresholds, promises and actions. Knows no picture and no prompt; of the library it knows only which labels there
are.

    assay_policy: 1
    name: strict
    labels:
      weapons: {review: {recall: 0.9}, block: {precision: 0.98}}
      alcohol: {review: 0.6}
    default: {review: 0.8}          # labels not named; leave it out and they are not judged

A rule says what it wants kept, and `assay calibrate` finds the threshold that keeps it: an operating point. A number is
a threshold set by hand. Nothing is blocked but by an operating point: a number under `block`, and a promise without an
operating point, send to review.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Discriminator, Tag, model_validator

from assay.platform.document import Document, Problem, did_you_mean
from assay.platform.errors import PolicyError
from assay.platform.library import SemanticLibrary, Slug
from assay.platform.promise import LabelPoints, OperatingPoint, Target, Threshold

Scores = npt.NDArray[np.float32]  # [n, labels]
Ranks = npt.NDArray[np.uint8]  # places in ACTIONS


class Action(StrEnum):
    """What is decided for an image, mildest first."""

    PASS = "pass"  # noqa: S105  # not a password
    REVIEW = "review"
    BLOCK = "block"


ACTIONS = tuple(Action)
"""Actions by rank: a greater rank wins."""


def _form(wanted: Any) -> str:
    return "promise" if isinstance(wanted, dict | Target) else "threshold"


Wanted = Annotated[Annotated[Threshold, Tag("threshold")] | Annotated[Target, Tag("promise")], Discriminator(_form)]
"""What a rule asks of a label: a threshold set by hand, or a promise."""


class Rule(BaseModel, frozen=True, extra="forbid"):
    """One label's thresholds: a score at or over one asks for its action."""

    review: Wanted | None = None
    block: Wanted | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.review is None and self.block is None:
            raise ValueError("a rule needs review, block or both")
        if isinstance(self.review, float) and isinstance(self.block, float) and self.review > self.block:
            raise ValueError(f"review ({self.review}) is above block ({self.block})")
        return self

    def review_at(self, points: LabelPoints) -> float:
        """The score from which on people are asked; infinity for never."""
        by_hand = [_until(self.review, points.review), _until(self.block, points.block)]
        kept = [points.review.threshold] if points.review and _is_kept(self.review, points.review) else []
        return min([*kept, *(at for at in by_hand if at is not None)], default=math.inf)

    def block_at(self, points: LabelPoints) -> float:
        """The score from which on the image is refused; infinity for never."""
        return points.block.threshold if points.block and _is_kept(self.block, points.block) else math.inf


def _is_kept(wanted: float | Target | None, point: OperatingPoint | None) -> bool:
    return isinstance(wanted, Target) and point is not None and point.keeps(wanted)


def _until(wanted: float | Target | None, point: OperatingPoint | None) -> float | None:
    """What sends to review while there is no operating point."""
    if isinstance(wanted, Target):
        return None if _is_kept(wanted, point) else wanted.otherwise
    return wanted


NO_POINTS = LabelPoints()


class Policy(BaseModel, frozen=True, extra="forbid"):
    """An immutable policy."""

    assay_policy: Literal[1]
    name: Slug
    description: str = ""
    on_fault: Action = Action.REVIEW  # for an image nobody could look at
    default: Rule | None = None
    labels: dict[Slug, Rule] = {}

    @classmethod
    def load(cls, source: Path | str, library: SemanticLibrary | None = None) -> Self:
        """Read a policy from a file or its text, and hold it against the library it is for."""
        document = Document.read(source, PolicyError)
        policy, problems = document.parse(cls)
        problems = [*document.problems, *problems]
        if library is not None:
            problems += _unknown_labels(document, library)
        if problems or policy is None:
            document.refuse(problems, fix="mend the lines named, then load the policy again")
        return policy

    def rule(self, label: str) -> Rule | None:
        """The rule of a label; None if it is not judged."""
        return self.labels.get(label, self.default)

    def decide(self, scores: Scores, labels: Sequence[str], points: Mapping[str, LabelPoints] | None = None) -> Ranks:
        """The rank of each label's action, [n, labels]. An image's action is the greatest rank in its row."""
        review, block = self.thresholds(labels, points or {})
        # Asked as "not below", so that a score that is no number is seen by people, never passed.
        ranks = (~(scores < review)).astype(np.uint8)
        ranks[~(scores < block)] = ACTIONS.index(Action.BLOCK)
        return ranks

    def thresholds(self, labels: Sequence[str], points: Mapping[str, LabelPoints]) -> tuple[Scores, Scores]:
        """Scores from which on each label asks for review, and for block; infinity for never. Each [labels]."""
        rules = [(self.rule(label), points.get(label, NO_POINTS)) for label in labels]
        review = [rule.review_at(its) if rule else math.inf for rule, its in rules]
        block = [rule.block_at(its) if rule else math.inf for rule, its in rules]
        return np.array(review, np.float32), np.array(block, np.float32)

    def targets(self, labels: Sequence[str]) -> dict[str, dict[str, Target]]:
        """The promises asked for, by label and action."""
        rules = {label: rule for label in labels if (rule := self.rule(label))}
        wanted = {label: {"review": rule.review, "block": rule.block} for label, rule in rules.items()}
        found = {
            label: {action: one for action, one in both.items() if isinstance(one, Target)}
            for label, both in wanted.items()
        }
        return {label: both for label, both in found.items() if both}

    def canonical(self) -> str:
        """The policy as one line of JSON that two equal policies share."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))

    @cached_property
    def digest(self) -> str:
        """sha256 of the canonical form."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()


def _unknown_labels(document: Document, library: SemanticLibrary) -> list[Problem]:
    named = document.value.get("labels") if isinstance(document.value, dict) else None
    if not isinstance(named, dict):
        return []
    return [
        Problem(document.line(("labels", label)), _not_scored(label, library))
        for label in named
        if label not in library.labels
    ]


def _not_scored(label: str, library: SemanticLibrary) -> str:
    status = library.statuses.get(label)
    if status is not None:
        return f"label {label!r} is {status} in library {library.name!r}: it is not scored"
    return f"library {library.name!r} has no active label {label!r}{did_you_mean(label, library.labels)}"
