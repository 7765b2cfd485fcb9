"""A customer's rules: which scores ask for people, which are refused at once.

Knows thresholds and actions. Knows no picture and no prompt; of the library it knows only which labels
there are.

    assay_policy: 1
    name: strict
    labels:
      weapons: {review: 0.6, block: 0.9}
    default: {review: 0.8}          # labels not named; leave it out and they are not judged
"""

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, model_validator

from assay.platform.document import Document, Problem, did_you_mean
from assay.platform.errors import PolicyError
from assay.platform.library import SemanticLibrary, Slug

Threshold = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Scores = npt.NDArray[np.float32]  # [n, labels]
Ranks = npt.NDArray[np.uint8]  # places in ACTIONS


class Action(StrEnum):
    """What is decided for an image, mildest first."""

    PASS = "pass"  # noqa: S105  # not a password
    REVIEW = "review"
    BLOCK = "block"


ACTIONS = tuple(Action)
"""Actions by rank: a greater rank wins."""


class Rule(BaseModel, frozen=True, extra="forbid"):
    """One label's thresholds: a score at or over one asks for its action."""

    review: Threshold | None = None
    block: Threshold | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.review is None and self.block is None:
            raise ValueError("a rule needs review, block or both")
        if self.review is not None and self.block is not None and self.review > self.block:
            raise ValueError(f"review ({self.review}) is above block ({self.block})")
        return self


class Policy(BaseModel, frozen=True, extra="forbid"):
    """An immutable policy."""

    assay_policy: Literal[1]
    name: Slug
    description: str = ""
    basis: Literal["hand-set"] = "hand-set"  # where the thresholds are from; calibration will add its own
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

    def decide(self, scores: Scores, labels: Sequence[str]) -> Ranks:
        """The rank of each label's action, [n, labels]. An image's action is the greatest rank in its row."""
        review, block = self._thresholds(labels)
        # Asked as "not below", so that a score that is no number is seen by people, never passed.
        ranks = (~(scores < review)).astype(np.uint8)
        ranks[~(scores < block)] = ACTIONS.index(Action.BLOCK)
        return ranks

    def _thresholds(self, labels: Sequence[str]) -> tuple[Scores, Scores]:
        rules = [self.labels.get(label, self.default) or Rule.model_construct() for label in labels]
        review = [np.inf if rule.review is None else rule.review for rule in rules]
        block = [np.inf if rule.block is None else rule.block for rule in rules]
        return np.array(review, np.float32), np.array(block, np.float32)

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
    problems = []
    for label in named:
        if label not in library.labels:
            near = did_you_mean(label, library.labels)
            text = f"library {library.name!r} has no active label {label!r}{near}"
            problems.append(Problem(document.line(("labels", label)), text))
    return problems
