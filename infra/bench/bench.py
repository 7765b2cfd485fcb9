"""What the parts of one run share: the pictures, the releases, one Ray, and one race for each regime.

Knows how each is made, once, when first asked for. Does not know what a part measures.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, Self

import ray

from assay.platform.encoder import Precision
from assay.platform.release import Release
from infra.bench.encoders import has_bf16, null_release, real_release
from infra.bench.pictures import PicturesSpec, compose_pictures, link_pictures
from infra.bench.product import Backfill, start_ray
from infra.bench.race import MakeSide, Race, Side, race
from infra.bench.side import ChildSide, Task
from infra.bench.spec import SHARD, BenchSpec, num_cores

Regime = Literal["null", "real"]
Sides = Mapping[Regime, frozenset[str]]

CHILDREN = {
    "decode": "infra.bench.bare_loops:BareDecode",
    "encode": "infra.bench.bare_loops:BareEncode",
    "encode, best batch": "infra.bench.bare_loops:BareEncodeBest",
    "Daft": "infra.bench.daft_recipe:DaftRecipe",
    "DataLoader": "infra.bench.dataloader:PlainLoop",
    "clip-retrieval": "infra.bench.clip_retrieval_loop:ClipRetrievalLoop",
}
"""Sides that run in a process of their own. `assay` and `Ray Data` run in this one, on its Ray."""


class Bench:
    """One run. Use as a context: what it started and wrote ends with it."""

    def __init__(self, spec: BenchSpec, sides: Sides, say: Callable[[str], None]) -> None:
        self.spec, self.say, self.cores = spec, say, num_cores()
        self._sides = sides
        self._stack = ExitStack()
        self._races: dict[Regime, Race] = {}
        self._folders = 0

    def __enter__(self) -> Self:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @cached_property
    def paths(self) -> list[Path]:
        """The pictures, composed now."""
        spec = self.spec
        self.say(f"composing {spec.null_images} pictures")
        wanted = PicturesSpec(images=spec.null_images, distinct=spec.distinct, seed=spec.seed)
        return compose_pictures(self.folder / "pictures", wanted)

    def pictures(self, count: int) -> Path:
        """A folder of `count` of them, each under a name of its own."""
        return link_pictures(self.paths, self.scratch(), count)

    def scratch(self) -> Path:
        """A new empty folder."""
        self._folders += 1
        folder = self.folder / f"scratch-{self._folders:04d}"
        folder.mkdir()
        return folder

    def release(self, regime: Regime) -> Release:
        """The regime's release."""
        return self._null if regime == "null" else self._real

    @cached_property
    def _null(self) -> Release:
        return null_release(self.folder / "null")

    @cached_property
    def _real(self) -> Release:
        precision: Precision = "bf16" if has_bf16() else "fp32"
        self.say(f"making the real encoder, {self.spec.model} with random weights in {precision}")
        if precision == "fp32":
            self.say("this CPU does not multiply bf16 in hardware; ratios stand, targets are of one that does")
        return real_release(self.folder / "real", self.spec.model, self.spec.seed, precision)

    def images(self, regime: Regime) -> int:
        """Images of a lap."""
        return self.spec.null_images if regime == "null" else min(self.spec.real_images, self.spec.null_images)

    def task(self, release: Release, images: int, batch: int | None = None) -> Task:
        """Work over `images` pictures."""
        return Task(
            pictures=str(self.pictures(images)),
            images=images,
            release=str(release.directory),
            batch=batch or self.spec.batch,
            threads=self.cores,
            scratch=str(self.scratch()),
        )

    def ray(self) -> None:
        """Be on the run's one Ray."""
        if not ray.is_initialized():
            self.say("starting Ray")
            start_ray()
            self._stack.callback(ray.shutdown)

    def race(self, regime: Regime) -> Race:
        """The regime's race, run now with all the sides that the asked-for parts want, or as it was run before."""
        if regime not in self._races:
            task = self.task(self.release(regime), self.images(regime))
            task = task.model_copy(update={"from_first_result": regime == "real"})
            self.say(f"race with the {regime} encoder, {task.images} images a lap")
            makes = {name: self._side(name, task, regime) for name in sorted(self._sides.get(regime, ()))}
            self._races[regime] = race(makes, self.spec.rounds, lambda what: self.say(f"  {what}"))
            shutil.rmtree(task.scratch)
        return self._races[regime]

    def child(self, side: str, task: Task) -> ChildSide:
        """A side in a process of its own; close it."""
        return ChildSide(side, task, self.scratch() / "log")

    def _side(self, name: str, task: Task, regime: Regime) -> MakeSide:
        if name in CHILDREN:
            own = task.model_copy(update={"scratch": str(self.scratch())})
            return partial(self.child, CHILDREN[name], own)
        return partial(self._beside_us, name, task, regime)

    def _beside_us(self, name: str, task: Task, regime: Regime) -> Side:
        self.ray()
        if name == "assay":
            return Backfill(task, self.spec.real_shard if regime == "real" else SHARD)
        # Imported here: a Ray without `download` must not end the run.
        from infra.bench.ray_recipe import RayRecipe

        return RayRecipe(task)
