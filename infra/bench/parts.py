"""The parts of the bench, by name: what can be asked for with ONLY, and what each measures.

A part is one line here. Knows which sides the parts race; does not know how anything is measured.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from infra.bench import (
    encoder_efficiency,
    growth,
    guards,
    online,
    ratios,
    reaudit,
    request_count,
    resume,
    rollback,
    start_up,
)
from infra.bench.bench import Bench, Regime, Sides
from infra.bench.figure import Result


@dataclass(frozen=True, slots=True)
class Part:
    """One thing the bench measures; `sides` are those it needs in the races that parts share."""

    measure: Callable[[Bench], Result]
    sides: Mapping[Regime, tuple[str, ...]] = field(default_factory=dict)


def _beside(other: str, null: float | None, real: float) -> Part:
    regimes: tuple[Regime, ...] = ("real",) if null is None else ("null", "real")
    return Part(partial(ratios.beside, other=other, null=null, real=real), dict.fromkeys(regimes, ("assay", other)))


PARTS: Mapping[str, Part] = {
    "R1": Part(ratios.shared_cores, {"real": ("assay", "decode", "encode", "encode, best batch")}),
    "R2": Part(ratios.bare_decode, {"null": ("assay", "decode")}),
    "R3": _beside("Ray Data", null=3.0, real=1.15),
    "R4": _beside("Daft", null=2.0, real=1.15),
    "R5": _beside("clip-retrieval", null=None, real=1.6),
    "R6": _beside("DataLoader", null=1.5, real=1.0),
    "R7": Part(encoder_efficiency.measure),
    "R8": Part(reaudit.measure, {"real": ("encode, best batch",)}),
    "R10": Part(growth.measure),
    "R11": Part(resume.measure),
    "R12": Part(request_count.measure),
    "R13": Part(start_up.measure),
    "R14": Part(rollback.measure),
    "R15": Part(online.beside_loop),
    "R16": Part(online.beside_minimal),
    "R17": Part(online.under_load),
    "guards": Part(guards.measure),
}


def choose(only: str) -> list[str]:
    """The parts that ONLY names, in the order of the table; all of them if it names none.

    Raises:
        ValueError: there is no such part.
    """
    known = {name.lower(): name for name in PARTS}
    asked = [word.strip().lower() for word in only.split(",") if word.strip()]
    for word in asked:
        if word not in known:
            raise ValueError(f"no part {word!r}; there are {', '.join(PARTS)}")
    return [name for name in PARTS if not asked or name.lower() in asked]


def sides_of(names: Sequence[str]) -> Sides:
    """The sides that the races of these parts need."""
    regimes: tuple[Regime, ...] = ("null", "real")
    return {
        regime: frozenset(side for name in names for side in PARTS[name].sides.get(regime, ())) for regime in regimes
    }
