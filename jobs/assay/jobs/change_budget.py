"""How much a change may move before `assay diff` ends with exit code 3.

Knows budgets and the figures that they are held against. Does not know how these were found.
"""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field

from assay.jobs.change_data import LabelChange, Overrun, PolicyChange
from assay.platform.comparison import ComparisonSpec
from assay.platform.errors import SpecError
from assay.platform.policy import Action
from assay.platform.spec import Spec

Share = Annotated[float, Field(ge=0, le=1)]


class BudgetSpec(Spec):
    """What may change. Each holds for every policy compared; one that is not set is not asked about."""

    newly_flagged: Share | None = Field(None, description="share of images that passed and do not now")
    newly_cleared: Share | None = Field(None, description="share of images that pass now and did not")
    blocks: Share | None = Field(None, description="share of images that --to blocks")
    reviews_per_day: float | None = Field(None, ge=0, description="reviews a day under --to; with --images-per-day")
    precision_drop: Share | None = Field(
        None, description="loss of precision of any label, not by chance; with --golden"
    )
    recall_drop: Share | None = Field(None, description="loss of recall of any label, not by chance; with --golden")

    @property
    def drops(self) -> dict[str, float]:
        """The losses allowed, by figure."""
        both = {"precision": self.precision_drop, "recall": self.recall_drop}
        return {figure: allowed for figure, allowed in both.items() if allowed is not None}

    @property
    def margin(self) -> ComparisonSpec:
        """From which loss on a figure is worse."""
        return ComparisonSpec(**self.drops)

    def refuse_unmeasurable(self, *, has_golden: bool, has_rate: bool) -> None:
        """Refuse budgets that nothing could be held against.

        Raises:
            SpecError: naming what is missing.
        """
        if self.drops and not has_golden:
            named = ", ".join(f"--budget.{figure}-drop" for figure in self.drops)
            raise SpecError(
                f"{named} needs --golden", why="without truth no precision is known", fix="name a golden set"
            )
        if self.reviews_per_day is not None and not has_rate:
            why = "the store does not say how many images come in a day"
            raise SpecError("--budget.reviews-per-day needs --images-per-day", why=why, fix="say --images-per-day")


def find_overruns(budget: BudgetSpec, change: PolicyChange) -> Iterator[Overrun]:
    """The budgets that one policy does not keep."""
    policy, total = change.after, change.moves.total
    shares = {
        "newly_flagged": (budget.newly_flagged, change.moves.newly_flagged),
        "newly_cleared": (budget.newly_cleared, change.moves.newly_cleared),
        "blocks": (budget.blocks, change.moves.after(Action.BLOCK)),
    }
    for name, (allowed, count) in shares.items():
        share = count / total if total else 0.0
        if allowed is not None and share > allowed:
            said = f"{count:,} of {total:,} images ({share:.2%}), {allowed:.2%} allowed"
            yield Overrun(policy=policy, budget=name, allowed=allowed, found=share, said=said)
    reviews = change.load.after.value or 0.0
    if budget.reviews_per_day is not None and reviews > budget.reviews_per_day:
        allowed = budget.reviews_per_day
        said = f"{reviews:,.0f} reviews a day, {allowed:,.0f} allowed"
        yield Overrun(policy=policy, budget="reviews_per_day", allowed=allowed, found=reviews, said=said)
    for figure, allowed in budget.drops.items():
        yield from _drops(policy, figure, allowed, change.labels)


def _drops(policy: str, figure: str, allowed: float, labels: tuple[LabelChange, ...]) -> Iterator[Overrun]:
    name = f"{figure}_drop"
    mine = [(label, one) for label in labels for one in label.measured if one.figure.rpartition(".")[2] == figure]
    for label, one in mine:
        if one.worse and one.change.value is not None and one.before and one.after:
            said = f"{one.figure} {one.before.value:.3f} -> {one.after.value:.3f}, a loss of {allowed:.3f} allowed"
            found = -one.change.value
            yield Overrun(policy=policy, budget=name, label=label.label, allowed=allowed, found=found, said=said)
    if not any(one.change.is_known for _, one in mine):
        said = f"no label has enough golden images to measure {figure}, so nobody knows whether it is kept"
        yield Overrun(policy=policy, budget=name, allowed=allowed, found=None, said=said)
