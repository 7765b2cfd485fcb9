"""R1 to R6: the whole backfill beside bare loops and beside the alternatives, in the same races.

Knows which sides each part wants and how their rates make a ratio. The sides themselves say how their work differs from
ours.
"""

from infra.bench.bench import Bench, Regime
from infra.bench.figure import Figure, Result
from infra.bench.race import Race, SideError


def shared_cores(bench: Bench) -> Result:
    """R1: how much of the cores the pipeline makes work.

    One core-second decodes or encodes so many images; a pipeline without any loss would share the cores between both:
    cores / (t_decode + t_encode), t in core-seconds per image. A bare loop on all cores at r images a second takes
    cores / r.
    """
    race = bench.race("real")
    best = _share(race, "encode, best batch", None)
    return Result(
        title="backfill ÷ ceiling of the shared cores, real",
        figure=_share(race, "encode", 0.90),
        bound_by="the encoder's arithmetic: decoding takes its cores for the rest",
        more={"at the encoder's best batch": best},
        facts=race.facts(),
    )


def _share(race: Race, encode: str, target: float | None) -> Figure:
    try:
        rates = zip(race.rates("assay"), race.rates("decode"), race.rates(encode), strict=True)
        return Figure.of([ours * (1 / decoded + 1 / encoded) for ours, decoded, encoded in rates], target)
    except SideError as error:
        return Figure.missing(str(error), target)


def bare_decode(bench: Bench) -> Result:
    """R2: what the pipeline costs where the encoder costs nothing."""
    race = bench.race("null")
    return Result(
        title="backfill ÷ bare thread pool, fastest decoder of the same output, null",
        figure=race.ratio("assay", "decode", 0.70),
        bound_by="decoding: the same cores also plan, hand over, judge, write and commit",
        facts=race.facts(),
    )


def beside(bench: Bench, other: str, null: float | None, real: float) -> Result:
    """R3 to R6: ours over another's. The figure is of the null regime where there is one."""
    targets: dict[Regime, float] = {"real": real} if null is None else {"null": null, "real": real}
    races = {regime: bench.race(regime) for regime in targets}
    first, *others = [(regime, races[regime].ratio("assay", other, target)) for regime, target in targets.items()]
    facts = {name: value for regime, race in races.items() for name, value in _pair(race, other, regime).items()}
    return Result(
        title=f"backfill ÷ {other}, {first[0]}",
        figure=first[1],
        bound_by="null: decoding and hand-over on both sides; real: the encoder both share",
        more=dict(others),
        facts=facts,
    )


def _pair(race: Race, other: str, regime: Regime) -> dict[str, float | str]:
    told = race.facts()
    return {f"{regime}: {name}": value for name, value in told.items() if name.startswith(("assay", other))}
