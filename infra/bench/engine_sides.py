"""Ways to run an encoder's image tower on a CPU, each a side of its own: the same pixels in, unit vectors out.

Knows how an open_clip tower becomes an engine's program. What is exported is exported in memory, for one batch height,
as the product's encoder also has one. Does not know how engines compare. A library that is missing ends its side only.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch

from assay.platform.encoder import Embeddings, Pixels
from assay.platform.release import Release
from infra.bench.race import Lap
from infra.bench.side import Task

PIXELS, EMBEDDINGS = "pixels.npy", "embeddings.npy"
"""Read from a task's pictures; written to its scratch folder by every lap."""

Encode = Callable[[Pixels], Any]


class Tower(torch.nn.Module):
    """A release's image tower with what stands before and after it: uint8[n, size, size, 3] to unit vectors."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, release: Release, dtype: torch.dtype) -> None:
        super().__init__()
        folder = release.directory / release.manifest.encoder.path
        model = open_clip.create_model(f"local-dir:{folder}", precision="fp32", device="cpu")
        self._visual = model.visual.eval().requires_grad_(False).to(dtype)
        self._dtype = dtype
        for name, value in (("mean", release.preprocess.mean), ("std", release.preprocess.std)):
            self.register_buffer(name, 255 * torch.tensor(value).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embed a batch."""
        images = ((pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std).to(self._dtype)
        vectors: torch.Tensor = torch.nn.functional.normalize(self._visual(images).float(), dim=-1)
        return vectors


class Engine(ABC):
    """What all share: pixels that lie ready, encoded a batch at a time, the last one padded."""

    def __init__(self, task: Task) -> None:
        self.release, self.batch, self.threads = Release.load(Path(task.release)), task.batch, task.threads
        self._pixels = np.load(Path(task.pictures) / PIXELS)
        self._out = Path(task.scratch) / EMBEDDINGS
        self._encode = self.prepare()
        self._encode(self._full(0))  # compiling is start-up

    @abstractmethod
    def prepare(self) -> Encode:
        """The engine's program."""

    def lap(self) -> Lap:
        """Every picture once."""
        began, count = time.monotonic(), len(self._pixels)
        found = [np.asarray(self._encode(self._full(start)), np.float16) for start in range(0, count, self.batch)]
        seconds = time.monotonic() - began
        embeddings: Embeddings = np.concatenate(found)[:count]
        np.save(self._out, embeddings)
        return Lap(count, count, seconds)

    def close(self) -> None:  # noqa: B027  # an answer, not a gap: there is nothing to end
        """Nothing is kept."""

    def _full(self, start: int) -> Pixels:
        part = self._pixels[start : start + self.batch]
        return np.concatenate([part, np.zeros((self.batch - len(part), *part.shape[1:]), np.uint8)])

    def _example(self) -> torch.Tensor:
        return torch.from_numpy(self._full(0))


class Product(Engine):
    """The product's own encoder, as its release pins it."""

    def prepare(self) -> Encode:
        """Loaded."""
        encoder: Any = self.release.encoder("cpu")  # Any: another micro-batch is no part of its protocol
        if "_micro_batch" in vars(encoder):  # with OpenVINO it has one height, compiled in
            encoder._micro_batch = self.batch
        encode: Encode = encoder.encode_images
        return encode


class EagerFp32(Engine):
    """torch, eager."""

    dtype = torch.float32

    def prepare(self) -> Encode:
        """The tower itself."""
        return self.run(Tower(self.release, self.dtype))

    def run(self, module: Callable[[torch.Tensor], torch.Tensor]) -> Encode:
        """A module as a function of arrays."""

        def encode(pixels: Pixels) -> Any:
            with torch.inference_mode():
                return module(torch.from_numpy(pixels)).numpy()

        return encode


class EagerBf16(EagerFp32):
    """torch, eager, bf16."""

    dtype = torch.bfloat16


class CompiledBf16(EagerBf16):
    """torch.compile; needs a C++ compiler."""

    def prepare(self) -> Encode:
        """Compiled by the first batch."""
        return self.run(torch.compile(Tower(self.release, self.dtype)))


class TorchaoInt8(EagerFp32):
    """torchao: int8 weights, activations quantised as they come, the rest in fp32."""

    def prepare(self) -> Encode:
        """The tower's linear layers replaced."""
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        tower = Tower(self.release, self.dtype)
        quantize_(tower, Int8DynamicActivationInt8WeightConfig())
        return self.run(tower)


class OpenvinoFp32(Engine):
    """OpenVINO."""

    precision = "f32"

    def prepare(self) -> Encode:
        """Traced, and compiled for this CPU."""
        import openvino

        example = self._example()
        model = openvino.convert_model(Tower(self.release, torch.float32), example_input=example, input=example.shape)
        wanted = {"INFERENCE_PRECISION_HINT": self.precision, "INFERENCE_NUM_THREADS": self.threads}
        program = openvino.Core().compile_model(model, "CPU", wanted | {"PERFORMANCE_HINT": "LATENCY"})
        return lambda pixels: program(pixels)[0]


class OpenvinoBf16(OpenvinoFp32):
    """OpenVINO, computing in bf16 where the CPU has it."""

    precision = "bf16"


class OnnxFp32(Engine):
    """ONNX Runtime."""

    def prepare(self) -> Encode:
        """Exported, and optimised by the session."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        session = onnxruntime.InferenceSession(self.exported(), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda pixels: session.run(None, {name: pixels})[0]

    def exported(self) -> bytes:
        """The tower as ONNX."""
        program = torch.onnx.export(Tower(self.release, torch.float32).eval(), (self._example(),), verbose=False)
        assert program is not None
        written: bytes = program.model_proto.SerializeToString()
        return written


class OnnxInt8(OnnxFp32):
    """ONNX Runtime: int8 weights, activations quantised as they come."""

    def exported(self) -> bytes:
        """Quantised through files, for the library reads and writes those only."""
        from onnxruntime.quantization import quantize_dynamic

        whole, small = (self._out.with_name(name) for name in ("whole.onnx", "int8.onnx"))
        whole.write_bytes(super().exported())
        quantize_dynamic(whole, small)
        return small.read_bytes()


ENGINES = {
    "product": Product,
    "eager fp32": EagerFp32,
    "eager bf16": EagerBf16,
    "torch.compile bf16": CompiledBf16,
    "torchao int8": TorchaoInt8,
    "OpenVINO fp32": OpenvinoFp32,
    "OpenVINO bf16": OpenvinoBf16,
    "ONNX Runtime fp32": OnnxFp32,
    "ONNX Runtime int8": OnnxInt8,
}
"""By name."""
