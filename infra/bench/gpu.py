"""The GPU's own bench: `python -m infra.bench.gpu`, alone and without Ray, for anyone with a card.

For each encoder, random weights in bf16: how fast its passes are, what share of the GPU's own matrix products that is,
how much of it is left from JPEG bytes to embeddings, how busy the GPU is then, and how much faster all that is than
clip-retrieval's loop on the same card. Without a GPU it says so; `--device cpu` tries it at small sizes.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from cyclopts import App, Parameter
from pydantic import Field
from rich.console import Console

from assay.platform.spec import Spec
from infra.bench.encoders import real_release
from infra.bench.figure import Figure, Result
from infra.bench.machine import machine
from infra.bench.pictures import PicturesSpec, compose_pictures, link_pictures
from infra.bench.race import MakeSide, Race, SideError, race
from infra.bench.side import ChildSide, Task
from infra.bench.spec import num_cores
from infra.bench.table import as_table, merge

PART = "GPU"
BYTES_TARGETS = {"ViT-L-14": 0.97, "ViT-B-16": 0.90, "ViT-B-32": 0.35}
"""JPEG bytes to embedding over the model alone. A small encoder outruns what the host's cores decode."""
BUSY_TARGETS = {"ViT-L-14": 0.97}
LOOP_TARGET = 3.0
SIDES = {
    "model": "infra.bench.gpu_sides:ModelOnly",
    "model, best pass": "infra.bench.gpu_sides:ModelBest",
    "model, compiled": "infra.bench.gpu_sides:ModelCompiled",
    "GEMM": "infra.bench.encoder_efficiency:Gemm",
    "bytes": "infra.bench.gpu_sides:GuardedBytes",
    "bytes, threads": "infra.bench.gpu_sides:ThreadedBytes",
    "clip-retrieval": "infra.bench.clip_retrieval_loop:ClipRetrievalLoop",
}
COMPILED = "model, compiled"
PASS = 64
"""Rows of the matrix products that a GPU's rate is taken from: those of the product's pass there."""


class GpuSpec(Spec):
    """Sizes of a run. The defaults are for a card of a data centre; smaller ones only try the bench."""

    model: list[str] = Field(list(BYTES_TARGETS), min_length=1, description="open_clip's names of the encoders")
    device: Literal["cuda", "cpu"] = Field("cuda", description="where the encoders run")
    rounds: int = Field(5, ge=1, description="interleaved rounds; the median of at least five is told")
    images: int = Field(16384, ge=8, description="images of a lap")
    pictures: int = Field(2000, ge=8, description="files they are of, over and over")
    distinct: int = Field(800, ge=1, description="plain pictures composed; other files are these with other bytes")
    batch: int = Field(256, ge=1, description="images in a batch")
    decoders: int | None = Field(None, ge=1, description="decoders at once; unset: one a core")
    compiled: bool = Field(True, description="also time `torch.compile`, which takes minutes to start")
    json_path: Annotated[Path | None, Parameter("--json")] = Field(None, description="file to merge the result into")
    seed: int = Field(7, ge=0, description="fixes the pictures and the random weights")


Say = Callable[[str], None]
DEFAULTS = GpuSpec()


def measure(spec: GpuSpec, say: Say) -> Result:
    """Race the sides of each encoder; one that cannot be made is told, and the others go on."""
    figures: dict[str, Figure] = {}
    facts: dict[str, float | str] = {"device": device_name(spec.device), "busy is by": _busy_by(spec.device)}
    with tempfile.TemporaryDirectory(prefix="assay-bench-gpu-") as folder:
        say(f"composing {spec.pictures} pictures")
        wanted = PicturesSpec(images=spec.pictures, distinct=spec.distinct, seed=spec.seed)
        link_pictures(compose_pictures(Path(folder) / "drawn", wanted), Path(folder) / "pictures", spec.images)
        for model in spec.model:
            try:
                run = _race(model, spec, Path(folder), say)
            except Exception as error:  # noqa: BLE001  # whatever one encoder fails of, the table tells it
                run = _none(f"{type(error).__name__}: {error}", spec)
                say(f"  {model} failed: {run.failures['model']}")
            figures |= {f"{model}: {name}": figure for name, figure in _figures(model, run).items()}
            facts |= _rate(model, run) | run.facts(f"{model}: ")
    title, first = next(iter(figures.items()))
    return Result(
        title=title,
        figure=first,
        bound_by="a large encoder: the GPU's arithmetic; a small one: the host's decoders, then their hand-over",
        more={name: figure for name, figure in figures.items() if name != title},
        facts=facts,
    )


def _race(model: str, spec: GpuSpec, folder: Path, say: Say) -> Race:
    say(f"{model}: making it, with random weights")
    release = real_release(folder / model, model, spec.seed)
    task = Task(
        pictures=str(folder / "pictures"),
        images=spec.images,
        release=str(release.directory),
        batch=spec.batch,
        threads=spec.decoders or num_cores(),
        scratch=str(folder),
        device=spec.device,
    )
    makes: dict[str, MakeSide] = {name: partial(_side, name, task) for name in _names(spec)}
    return race(makes, spec.rounds, lambda what: say(f"  {what}"))


def _side(name: str, task: Task) -> ChildSide:
    scratch = Path(tempfile.mkdtemp(prefix="side-", dir=task.scratch))
    own = {"scratch": str(scratch)}
    if name == "GEMM":
        rows = min(PASS, task.batch)
        return ChildSide(SIDES[name], task.model_copy(update=own | {"batch": rows, "images": rows}), scratch / "log")
    return ChildSide(SIDES[name], task.model_copy(update=own), scratch / "log")


def _names(spec: GpuSpec) -> list[str]:
    return [name for name in SIDES if spec.compiled or name != COMPILED]


def _none(why: str, spec: GpuSpec) -> Race:
    return Race({name: [] for name in _names(spec)}, dict.fromkeys(_names(spec), why))


def _figures(model: str, run: Race) -> dict[str, Figure]:
    compiled = {"compiled ÷ model": run.ratio(COMPILED, "model", None)} if COMPILED in run.laps else {}
    return {
        "bytes to embedding ÷ model": run.ratio("bytes", "model", BYTES_TARGETS.get(model)),
        "the same, decoders in threads": run.ratio("bytes, threads", "model", None),
        "busy share": _busy(run, BUSY_TARGETS.get(model)),
        "bytes to embedding ÷ clip-retrieval's loop": run.ratio("bytes", "clip-retrieval", LOOP_TARGET),
        "model ÷ GEMM at its shapes": run.ratio("model", "GEMM", None),
        "best pass ÷ model": run.ratio("model, best pass", "model", None),
        **compiled,
    }


def _busy(run: Race, target: float | None) -> Figure:
    try:
        run.rates("bytes")
    except SideError as error:
        return Figure.missing(str(error), target)
    return Figure.of([float(lap.facts["busy"]) for lap in run.laps["bytes"]], target)


def _rate(model: str, run: Race) -> dict[str, float | str]:
    """The model's own rate under its name: `scale.md` is computed from it."""
    try:
        return {model: Figure.of(run.rates("model")).value or 0.0}
    except SideError:
        return {}


def device_name(device: str) -> str:
    """What the card calls itself."""
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def _busy_by(device: str) -> str:
    return "CUDA events around each pass" if device == "cuda" else "the clock around each pass"


app = App(name="python -m infra.bench.gpu", help=__doc__, result_action="return_value")


@app.default
def main(spec: Annotated[GpuSpec, Parameter(name="*")] = DEFAULTS) -> int:
    """Measure, print, and write where asked to."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if spec.device == "cuda" and not torch.cuda.is_available():
        console.print(
            "no GPU here: torch sees no CUDA device, so nothing was measured.\n"
            "Run this on a machine with one, or try the bench itself at small sizes:\n"
            "  python -m infra.bench.gpu --device cpu --model ViT-B-32 --images 64 --pictures 32 --batch 16 --rounds 1",
            markup=False,
        )
        return 0
    result = measure(spec, lambda what: console.print(what, markup=False))
    console.print(as_table({PART: result}))
    if spec.json_path is not None:
        merge(spec.json_path, {PART: result}, [PART], machine())
    return 0


def run(typed: Sequence[str]) -> int:
    """The command with its arguments."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    code: int = app(list(typed))
    return code


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
