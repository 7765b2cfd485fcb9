"""How far decisions made on mapped embeddings can be trusted: measured on images whose real embeddings are known.

Knows what can be said of decisions with confidence, and how it is chosen which images are clear. Does not know
thresholds (`decider.py`), maps, images or stores.

An image is clear when every label's mapped score is farther from every threshold than the label's *band*. Bands are
multiples of the label's own error (0.9 of the images are off by less). What must hold of every policy, with 95 %
confidence, over the images that the sample stands for:

- agreement: of clear images, the share whose action is what their real embedding would have;
- kept: of images that the release really flags (review or block), the share that is not lost: they are clear with the
  same action, or not clear, and so encoded again. Without this, a store of harmless pictures would agree with any map;
- right: of clear images that are flagged, the share whose action is right. Where that cannot be shown, only images that
  pass are clear: flagged ones are few, and encoded again.

The multiple is chosen on the images the map was learnt from (each through a map learnt without it), with more
confidence than asked for; then it is tested once on images that nothing was learnt from. So the bounds told hold.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from assay.jobs.decider import ClearRule, Decider, log_odds
from assay.platform.confidence import effective_size, lower_bound

MULTIPLES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Of a label's error: the bands tried."""
ERROR_QUANTILE = 0.9
CHOICE_CONFIDENCE = 0.99
"""Of the choice, so that the test, on other images, is likely to be passed."""
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ids = npt.NDArray[np.int64]
Ranks = npt.NDArray[np.uint8]


class Promise(BaseModel):
    """What must hold for embeddings to be mapped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    agreement: float
    flagged: float
    """For both `kept` and `right`."""
    clear: float
    """The share of images that must be clear for a migration to be worth its name."""
    confidence: float = 0.95


class Share(BaseModel):
    """A weighted share, and how low the truth may be."""

    model_config = ConfigDict(frozen=True)

    share: float
    low: float
    images: int
    """Images of the sample that it is a share of."""


class PolicyAgreement(BaseModel):
    """One policy's decisions on mapped embeddings against those on real ones."""

    model_config = ConfigDict(frozen=True)

    policy: str
    agreement: Share
    kept: Share
    right: Share | None
    """None when no clear image is flagged: then nothing can be wrong with it."""

    def keeps(self, promise: Promise) -> bool:
        """Whether what is promised can be said of it."""
        right = self.right is None or self.right.low >= promise.flagged
        return self.agreement.low >= promise.agreement and self.kept.low >= promise.flagged and right


class Agreement(BaseModel):
    """What was measured under one rule."""

    model_config = ConfigDict(frozen=True)

    clear: float
    """Weighted share of the images that are clear."""
    policies: tuple[PolicyAgreement, ...]

    @property
    def low(self) -> float:
        """What of clear images' decisions agrees, at least, under every policy."""
        return min(one.agreement.low for one in self.policies)

    def why_not(self, promise: Promise) -> str:
        """What speaks against the promise; empty if nothing does."""
        short = [one for one in self.policies if not one.keeps(promise)]
        if short:
            return "; ".join(_shortfall(one, promise) for one in short)
        if self.clear < promise.clear:
            return f"only {self.clear:.1%} of the images would be clear; {promise.clear:.1%} are asked for"
        return ""


def _shortfall(one: PolicyAgreement, promise: Promise) -> str:
    named = [("agreement", one.agreement, promise.agreement), ("flagged images kept", one.kept, promise.flagged)]
    if one.right is not None:
        named.append(("flags that are right", one.right, promise.flagged))
    said = [
        f"{what} {share.share:.1%}, at least {share.low:.1%} ({share.images:,} images), asked for {wanted:.1%}"
        if share.images
        else f"{what}: nothing can be said, the sample has no such image"
        for what, share, wanted in named
        if share.low < wanted
    ]
    return f"{one.policy}: {', '.join(said)}"


@dataclass(frozen=True, slots=True)
class Cases:
    """Images whose scores are known both ways."""

    mapped: Floats  # [images, labels]
    real: Floats  # [images, labels]
    weights: Doubles  # [images]
    groups: Ids  # [images]: near-duplicates count as one

    def errors(self) -> Doubles:
        """How far each mapped score is off, in log odds: [images, labels]."""
        return np.abs(log_odds(self.mapped) - log_odds(self.real))


def rules(decider: Decider, cases: Cases) -> list[ClearRule]:
    """Every rule to choose from."""
    errors = cases.errors()
    sizes = {
        label: float(np.quantile(errors[:, decider.labels.index(label)], ERROR_QUANTILE)) for label in decider.edges
    }
    return [
        ClearRule(
            multiple=multiple,
            bands={label: multiple * size for label, size in sizes.items()},
            passes_only=passes_only,
        )
        for passes_only in (False, True)
        for multiple in MULTIPLES
    ]


def choose_rule(decider: Decider, cases: Cases, promise: Promise) -> ClearRule | None:
    """The rule under which most images are clear and all that is promised can be said; None if there is none."""
    for confidence in (CHOICE_CONFIDENCE, promise.confidence):
        measured = [(rule, measure(decider, cases, rule, confidence)) for rule in rules(decider, cases)]
        kept = [
            (found.clear, -place, rule) for place, (rule, found) in enumerate(measured) if not found.why_not(promise)
        ]
        if kept:
            return max(kept, key=lambda one: one[:2])[2]
    return None


def measure(decider: Decider, cases: Cases, rule: ClearRule, confidence: float) -> Agreement:
    """What can be said, with this confidence, of images that are clear under a rule."""
    clear = decider.is_clear(cases.mapped, rule)
    found = zip(decider.policies, decider.actions(cases.mapped), decider.actions(cases.real), strict=True)
    return Agreement(
        clear=float(cases.weights[clear].sum() / cases.weights.sum()),
        policies=tuple(
            _policy_agreement(policy.name, cases, (clear, mapped, real), confidence) for policy, mapped, real in found
        ),
    )


def _policy_agreement(name: str, cases: Cases, sides: tuple[Bools, Ranks, Ranks], confidence: float) -> PolicyAgreement:
    clear, mapped, real = sides
    same, flags = mapped == real, clear & (mapped > 0)
    return PolicyAgreement(
        policy=name,
        agreement=_share(cases, same, clear, confidence),
        kept=_share(cases, same | ~clear, real > 0, confidence),
        right=_share(cases, same, flags, confidence) if flags.any() else None,
    )


def _share(cases: Cases, inside: Bools, among: Bools, confidence: float) -> Share:
    """The share of images `among` some that are `inside`; near-duplicates are no independent witnesses."""
    weights = cases.weights * among
    by_group = np.bincount(cases.groups, weights)
    total = np.array([weights.sum()])
    share = np.array([(weights * inside).sum()]) / np.maximum(total, np.finfo(np.float64).tiny)
    size = effective_size(total, np.array([(by_group**2).sum()]))
    low = lower_bound(share, size, confidence)
    return Share(share=float(share[0]), low=float(low[0]), images=int(among.sum()))


class LabelError(BaseModel):
    """How far one label's mapped scores are from the real ones, on the images tested."""

    model_config = ConfigDict(frozen=True)

    label: str
    median: float
    """Of the differences between scores, as all the figures here but `band` and `same`."""
    p90: float
    p99: float
    band: float | None
    """In log odds; None where no policy has a threshold, or no rule was found."""
    same: dict[str, float]
    """By policy: the weighted share of images tested, clear or not, for which the label asks for the same action."""


def label_errors(decider: Decider, cases: Cases, rule: ClearRule | None) -> tuple[LabelError, ...]:
    """Each label's errors."""
    off = np.abs(cases.mapped.astype(np.float64) - cases.real)
    same = [
        policy.decide(cases.mapped, decider.labels, points) == policy.decide(cases.real, decider.labels, points)
        for policy, points in zip(decider.policies, decider.points, strict=True)
    ]
    weights = cases.weights / cases.weights.sum()
    found = []
    for column, label in enumerate(decider.labels):
        middle, high, highest = np.quantile(off[:, column], (0.5, 0.9, 0.99), weights=weights, method="inverted_cdf")
        found.append(
            LabelError(
                label=label,
                median=float(middle),
                p90=float(high),
                p99=float(highest),
                band=None if rule is None else rule.bands.get(label),
                same={
                    policy.name: float(weights @ alike[:, column])
                    for policy, alike in zip(decider.policies, same, strict=True)
                },
            )
        )
    return tuple(found)
