"""Which engine should run the encoder on a CPU? `python -m infra.bench.engines`, outside `make bench`: it takes long.

Every engine encodes the same pixels in a process of its own, in turn, round after round. Two encoders: ViT-B/32 with
random weights, whose speed counts, and the bundled one, whose verdicts must not change. The reference of both gates is
torch eager in fp32. Knows speed and gates; `engine_sides.py` knows the engines. An engine that cannot run is told.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field
from rich.console import Console

from assay.platform.batch import ImageBatch, Looked
from assay.platform.encoder import Embeddings
from assay.platform.faults import Fault
from assay.platform.images import Budget, decode
from assay.platform.moderator import Moderator
from assay.platform.release import Release, bundled_release
from assay.platform.rows import ImageRef
from assay.platform.spec import Spec
from infra.bench.bench import Bench
from infra.bench.engine_sides import EMBEDDINGS, ENGINES, PIXELS
from infra.bench.figure import Figure, Result
from infra.bench.guards import FLIPS, MEDIAN, WORST, cosines, verdicts
from infra.bench.race import MakeSide, Race, race
from infra.bench.side import Task
from infra.bench.spec import BenchSpec
from infra.bench.table import as_table

REFERENCE, OURS = "eager fp32", "product"
CLEARLY = 1.15
"""Times the product's rate from which another engine is worth the trouble of a second one."""


class EnginesSpec(Spec):
    """Sizes of the comparison."""

    engines: tuple[str, ...] = tuple(ENGINES)
    images: int = Field(128, ge=1, description="of a lap with ViT-B/32")
    gate_images: int = Field(1200, ge=1, description="that the bundled encoder's verdicts are compared on")
    batches: tuple[int, ...] = Field((8, 32), description="the pipeline's micro-batch, and a larger one")
    rounds: int = Field(5, ge=1)


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures as an encoder gets them, and what is known of each but its embedding."""

    release: Release
    batch: ImageBatch


def look(release: Release, paths: list[Path]) -> Seen:
    """Decode as the product does; pictures that are not whole are left out."""
    refs = [ImageRef(path.as_uri(), "etag", path.stat().st_size) for path in paths]
    seen = [decode(path.read_bytes(), release.preprocess, Budget()) for path in paths]
    whole = [Looked(ref, one) for ref, one in zip(refs, seen, strict=True) if not isinstance(one, Fault)]
    return Seen(release, ImageBatch.of(0, whole, release.preprocess.size))


def race_engines(bench: Bench, seen: Seen, batch: int, spec: EnginesSpec) -> tuple[Race, dict[str, Embeddings]]:
    """Every engine's laps, and the embeddings its last one made."""
    pictures = bench.scratch()
    np.save(pictures / PIXELS, seen.batch.pixels)
    tasks = {
        name: Task(
            pictures=str(pictures),
            images=len(seen.batch.pixels),
            release=str(seen.release.directory),
            batch=batch,
            threads=bench.cores,
            scratch=str(bench.scratch()),
        )
        for name in dict.fromkeys((OURS, REFERENCE, *spec.engines))
    }
    makes: dict[str, MakeSide] = {
        name: partial(bench.child, f"infra.bench.engine_sides:{ENGINES[name].__name__}", task)
        for name, task in tasks.items()
    }
    run = race(makes, spec.rounds, lambda what: bench.say(f"  {what}"))
    made = {name: Path(task.scratch) / EMBEDDINGS for name, task in tasks.items() if name not in run.failures}
    return run, {name: np.load(path) for name, path in made.items()}


def compare_speed(run: Race, found: Mapping[str, Embeddings], batch: int) -> Result:
    """Each engine's rate over the product's, and its nearness to the reference."""
    others = [name for name in run.laps if name != OURS]
    ratios = {name: run.ratio(name, OURS, CLEARLY) for name in others}
    best = max(others, key=lambda name: ratios[name].value or 0.0)
    return Result(
        title=f"{best} ÷ product, {batch} images at once",
        figure=ratios[best],
        bound_by="the cores' matrix arithmetic",
        more=ratios | _nearness(found),
        facts=run.facts(),
    )


def gate(seen: Seen, run: Race, found: Mapping[str, Embeddings]) -> Result:
    """Cosines to the reference, and the share of verdicts that each engine turns over."""
    known = _observed(seen, found[REFERENCE])
    wanted = verdicts(seen.release, known, found[REFERENCE])
    flips = {}
    for name, embeddings in found.items():
        given = verdicts(seen.release, known, embeddings)
        share = sum(given[uri] != action for uri, action in wanted.items()) / len(wanted)
        flips[f"{name}: share of verdicts that differ"] = Figure.of([share], FLIPS, "at most")
    missing = {name: Figure.missing(why) for name, why in run.failures.items()}
    return Result(
        title="bundled encoder: most verdicts an engine turns over",
        figure=Figure.of([max(figure.value or 0.0 for figure in flips.values())], FLIPS, "at most"),
        bound_by="rounding",
        more=flips | _nearness(found) | missing,
        facts=run.facts() | {"images": len(wanted)},
    )


def _nearness(found: Mapping[str, Embeddings]) -> dict[str, Figure]:
    told = {}
    for name, embeddings in found.items():
        near = cosines(embeddings, found[REFERENCE])
        told[f"{name}: cosine, median"] = Figure.of([float(np.median(near))], MEDIAN)
        told[f"{name}: cosine, worst"] = Figure.of([float(near.min())], WORST)
    return told


def _observed(seen: Seen, embeddings: Embeddings) -> pa.Table:
    """Observations as the product has them; each picture is one view."""
    moderator = Moderator(seen.release)
    moderator.encoder = _Given(embeddings)  # type: ignore[assignment]  # all that `observe` asks of an encoder
    return moderator.observe(seen.batch)


@dataclass(frozen=True, slots=True)
class _Given:
    """An encoder that knows its answer."""

    embeddings: Embeddings

    def encode_images(self, _pixels: object) -> Embeddings:
        return self.embeddings


def measure(bench: Bench, spec: EnginesSpec) -> dict[str, Result]:
    """The gate with the bundled encoder, then speed at each batch.

    Raises:
        KeyError: the reference itself could not run.
    """
    bundled = look(Release.load(bundled_release()), bench.paths[: spec.gate_images])
    run, found = race_engines(bench, bundled, spec.batches[0], spec)
    results = {"gate": gate(bundled, run, found)}
    real = look(bench.release("real"), bench.paths[: spec.images])
    for batch in spec.batches:
        results[f"speed, {batch}"] = compare_speed(*race_engines(bench, real, batch, spec), batch)
    return results


def main() -> int:
    """Measure and print. ENGINES, JSON over `EnginesSpec`, asks for other sizes."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    spec = EnginesSpec.model_validate_json(os.environ.get("ENGINES") or "{}")
    sizes = BenchSpec(null_images=max(64, spec.images, spec.gate_images))
    with Bench(sizes, {}, lambda what: console.print(what, markup=False)) as bench:
        results = measure(bench, spec)
    console.print(as_table(results))
    for name, result in results.items():
        console.print(name, dict(result.facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
