"""R7: the encoder by itself. How much faster than open_clip as it comes, and how near to the machine's own arithmetic.

The second is a share of FLOPs: what the image tower multiplies per image, times images a second, over what `torch.mm`
reaches on matrices of just those shapes (attention, a hundredth of it, is counted at the same rate). Knows a
vision transformer's shapes. The three loops run in processes of their own, interleaved, on the same pixels.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import open_clip
import torch

from assay.platform.clip_encoder import CONFIG_FILE
from assay.platform.encoder import Pixels
from assay.platform.release import Release
from infra.bench.encoders import has_bf16
from infra.bench.figure import Result
from infra.bench.race import Lap, MakeSide, SideError, race
from infra.bench.side import Task

if TYPE_CHECKING:  # it imports Ray, which `gpu.py` does without
    from infra.bench.bench import Bench

IMAGES = 256
GEMM_S = 2.0


@dataclass(frozen=True, slots=True)
class Shape:
    """One matrix product: [rows, inner] by [inner, columns], `times` an image tower's pass."""

    rows: int
    inner: int
    columns: int
    times: int

    @property
    def flops(self) -> int:
        """Floating-point operations of all of them."""
        return 2 * self.rows * self.inner * self.columns * self.times


def tower_shapes(vision: dict[str, Any], embed_dim: int, batch: int) -> list[Shape]:
    """The products with weights of one pass of a vision transformer over `batch` images."""
    width, layers, patch = int(vision["width"]), int(vision["layers"]), int(vision["patch_size"])
    hidden = int(width * float(vision.get("mlp_ratio", 4.0)))
    patches = (int(vision["image_size"]) // patch) ** 2
    rows = batch * (patches + 1)
    return [
        Shape(batch * patches, 3 * patch * patch, width, 1),
        Shape(rows, width, 3 * width, layers),
        Shape(rows, width, width, layers),
        Shape(rows, width, hidden, layers),
        Shape(rows, hidden, width, layers),
        Shape(batch, width, embed_dim, 1),
    ]


def tower_flops(vision: dict[str, Any], embed_dim: int) -> int:
    """Floating-point operations per image: those products, and attention's two (queries by keys, weights by values)."""
    tokens = (int(vision["image_size"]) // int(vision["patch_size"])) ** 2 + 1
    attention = 2 * 2 * tokens * tokens * int(vision["width"]) * int(vision["layers"])
    return attention + sum(shape.flops for shape in tower_shapes(vision, embed_dim, 1))


class _Ready:
    """What the loops share: a release, and pixels that lie ready."""

    def __init__(self, task: Task) -> None:
        self.release = Release.load(Path(task.release))
        self.config = json.loads((self.release.directory / "encoder" / CONFIG_FILE).read_text())["model_cfg"]
        size = self.release.preprocess.size
        self.batch = task.batch
        self.pixels = np.random.default_rng(0).integers(0, 256, (task.images, size, size, 3), np.uint8)

    def close(self) -> None:
        """Nothing is kept."""


def _lap(ready: _Ready, encode: Callable[[Pixels], object]) -> Lap:
    """Every picture once, in batches."""
    began = time.monotonic()
    for start in range(0, len(ready.pixels), ready.batch):
        encode(ready.pixels[start : start + ready.batch])
    return Lap(len(ready.pixels), len(ready.pixels), time.monotonic() - began)


class ProductEncoder(_Ready):
    """The product's encoder, as its release pins it."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._encoder = self.release.encoder("cpu")

    def lap(self) -> Lap:
        """Every picture once."""
        return _lap(self, self._encoder.encode_images)


class EagerEncoder(_Ready):
    """open_clip as it comes: eager, fp32, a batch at once, and the same normalisation before it."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self._model = open_clip.create_model(f"local-dir:{self.release.directory / 'encoder'}", precision="fp32").eval()
        seen = self.release.preprocess
        self._mean, self._std = (torch.tensor(one).view(1, 3, 1, 1) * 255 for one in (seen.mean, seen.std))

    def lap(self) -> Lap:
        """Every picture once."""
        return _lap(self, self._encode)

    def _encode(self, pixels: Pixels) -> None:
        with torch.inference_mode():
            images = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - self._mean) / self._std
            torch.nn.functional.normalize(self._model.encode_image(images), dim=-1).half().numpy()


class Gemm(_Ready):
    """The tower's matrix products alone, in the release's precision, a batch at once. Its images are passes times the
    batch."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        if "layers" not in self.config["vision_cfg"] or isinstance(self.config["vision_cfg"]["layers"], list):
            raise SideError("shapes are known of vision transformers only")
        vision, embed_dim = self.config["vision_cfg"], self.config["embed_dim"]
        self._shapes = tower_shapes(vision, embed_dim, self.batch)
        self._flops_per_image = tower_flops(vision, embed_dim)
        dtype = torch.bfloat16 if self.release.manifest.encoder.precision == "bf16" else torch.float32
        kind: Any = {"dtype": dtype, "device": task.device}
        self._matrices = [
            (torch.randn(s.rows, s.inner, **kind), torch.randn(s.inner, s.columns, **kind)) for s in self._shapes
        ]

    def lap(self) -> Lap:
        """Each shape for its share of the time. The lap is what the tower's FLOPs, attention's too, take at that rate:
        then FLOPs cancel in the ratio of two rates in images."""
        seconds = 0.0
        with torch.inference_mode():
            for shape, (left, right) in zip(self._shapes, self._matrices, strict=True):
                seconds += shape.times * _seconds_of(left, right, GEMM_S / len(self._shapes))
        rate = sum(shape.flops for shape in self._shapes) / seconds
        told = {"GFLOP per image": self._flops_per_image / 1e9, "GFLOP/s": round(rate / 1e9, 1)}
        return Lap(self.batch, self.batch, self.batch * self._flops_per_image / rate, facts=told)


def _seconds_of(left: torch.Tensor, right: torch.Tensor, budget_s: float) -> float:
    """Seconds of one product, its result's memory reused."""
    out = torch.mm(left, right)
    settle(left.device)
    began, count = time.monotonic(), 0
    while count < 3 or time.monotonic() - began < budget_s:
        torch.mm(left, right, out=out)
        count += 1
    settle(left.device)
    return (time.monotonic() - began) / count


def settle(device: torch.device) -> None:
    """Wait until a GPU has done all it was given; a CPU has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(bench: "Bench") -> Result:
    """Race the three."""
    release = bench.release("real")
    images = min(IMAGES, bench.spec.real_images)
    task = Task(
        pictures="",
        images=images,
        release=str(release.directory),
        batch=min(bench.spec.batch, images),
        threads=bench.cores,
        scratch=str(bench.scratch()),
    )
    makes: dict[str, MakeSide] = {
        name: partial(bench.child, f"infra.bench.encoder_efficiency:{kind}", task)
        for name, kind in (("encoder", "ProductEncoder"), ("eager fp32", "EagerEncoder"), ("GEMM", "Gemm"))
    }
    run = race(makes, bench.spec.rounds, lambda what: bench.say(f"  {what}"))
    return Result(
        title="encoder ÷ open_clip eager fp32",
        figure=run.ratio("encoder", "eager fp32", 2.5),
        bound_by="the cores' matrix arithmetic; without AVX512-BF16 or AMX, bf16 gains little"
        + ("" if has_bf16() else " (this machine has neither, so the encoder is fp32)"),
        more={"share of the GEMM rate at its shapes": run.ratio("encoder", "GEMM", 0.60)},
        facts=run.facts() | {"cores": float(bench.cores)},
    )
