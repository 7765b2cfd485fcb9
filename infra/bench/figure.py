"""What a part found: figures with their targets, and what bounds them.

Knows medians, and how a result is written to `latest.json`. Does not know how anything is measured.
"""

import statistics
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Goal = Literal["at least", "at most"]


class Figure(BaseModel):
    """One number, with its spread and target; or, where there is none, why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    target: float | None = None
    low: float | None = None
    high: float | None = None
    goal: Goal = "at least"
    why: str = ""
    """Why there is no value."""

    @classmethod
    def of(cls, values: Sequence[float], target: float | None = None, goal: Goal = "at least") -> "Figure":
        """The median of what was measured, and its least and greatest."""
        if not values:
            return cls.missing("nothing was measured", target, goal)
        middle, low, high = statistics.median(values), min(values), max(values)
        return cls(value=_short(middle), target=target, low=_short(low), high=_short(high), goal=goal)

    @classmethod
    def missing(cls, why: str, target: float | None = None, goal: Goal = "at least") -> "Figure":
        """No number, and why."""
        return cls(value=None, target=target, goal=goal, why=why)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is; None without a number or a target."""
        if self.value is None or self.target is None:
            return None
        return self.value >= self.target if self.goal == "at least" else self.value <= self.target


class Result(BaseModel):
    """What one part found: its figure, more of the kind by name, what bounds them, and what they were made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    """What the figure is, in a line."""
    figure: Figure
    bound_by: str
    more: dict[str, Figure] = {}
    facts: dict[str, float | str] = {}
    """Rates, start-up times, sizes: absolute, of this machine and day."""

    @classmethod
    def failed(cls, title: str, why: str) -> "Result":
        """A part that could not be measured."""
        return cls(title=title, figure=Figure.missing(why), bound_by="not measured")

    def row(self) -> dict[str, Any]:
        """As `latest.json` has it: the figure's fields, then the others."""
        return {**self.figure.model_dump(), **self.model_dump(exclude={"figure"})}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> "Result":
        """A result as `row` wrote it."""
        figure = {name: row[name] for name in Figure.model_fields}
        return cls.model_validate({"figure": figure} | {name: row[name] for name in cls.model_fields if name in row})


def _short(value: float) -> float:
    """Three digits that count; figures here are not known better."""
    return float(f"{value:.4g}")
