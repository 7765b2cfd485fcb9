"""The one door to OpenVINO: imported so that nobody is told, and an image tower compiled for this CPU.

Knows how OpenVINO is set up: fp32 arithmetic, as many threads as torch would take, nothing cached on disk. Does not
know what goes in or comes out.

What reading an IR can do: OpenVINO parses XML (no entities, no other file) and takes constants by offset and length,
both checked, from the bytes that it is given here. Its layers are OpenVINO's own; one that asks for an extension is
refused, for extensions are libraries that a program must load by itself, and this one loads none. So no code runs that
is not OpenVINO's. But that is native code over foreign bytes, and a network may ask for any memory and time: towers are
read from files whose digests were checked, or that the user names.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from assay.platform.tower_card import NETWORK_FILE, TowerCard, read_constants, refusal

_TELEMETRY = "openvino_telemetry"


def _import_quietly() -> Any:  # a module that mypy is told not to follow
    """OpenVINO, which finds no telemetry package and takes its stand-in: else it tells its maker of every import."""
    there = {name: sys.modules.pop(name) for name in (_TELEMETRY,) if name in sys.modules}
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # how Python is told that a module is not to be found
    try:
        return importlib.import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]
        sys.modules.update(there)


openvino = _import_quietly()


def compile_tower(directory: Path, card: TowerCard, height: int) -> Any:
    """A request that runs the tower in a directory on uint8[height, size, size, 3]; gives float32[height, dim].

    Raises:
        ReleaseError: the files are not a tower such as the card says.
        ImportError: OpenVINO is there, but cannot use this CPU.
    """
    core = openvino.Core()
    _require_cpu(core)
    try:
        # As bytes: files that OpenVINO maps into memory must not change under it.
        constants = np.frombuffer(read_constants(directory), np.uint8)
        model = core.read_model((directory / NETWORK_FILE).read_bytes(), openvino.Tensor(constants))
        _check(model, card, directory / NETWORK_FILE)
        model.reshape([height, card.preprocess.size, card.preprocess.size, 3])
        return core.compile_model(model, "CPU", _settings()).create_infer_request()
    except (OSError, RuntimeError) as error:
        why = " ".join(str(error).split())[-300:]  # OpenVINO begins with places in its source
        raise refusal(directory / NETWORK_FILE, "the image tower does not load", why) from error


def _require_cpu(core: Any) -> None:
    try:
        core.get_property("CPU", "FULL_DEVICE_NAME")
    except RuntimeError as error:
        raise ImportError(f"OpenVINO cannot use this CPU: {' '.join(str(error).split())[-200:]}") from error


def _check(model: Any, card: TowerCard, path: Path) -> None:
    """Pictures in, vectors out, and nothing kept from one pass to the next."""
    size = card.preprocess.size
    found = [f"{port.element_type.type_name}{port.partial_shape}" for port in (*model.inputs, *model.outputs)]
    wanted = [f"u8[?,{size},{size},3]", f"f32[?,{card.dim}]"]
    if found != wanted:
        raise refusal(path, "the image tower is not such as its card says", f"expected {wanted}, found {found}")
    if model.get_sinks():
        raise refusal(path, "the image tower keeps state", "a picture's vector would depend on those before it")


def _settings() -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",  # one pass at a time, by all threads
        "INFERENCE_NUM_THREADS": _num_threads(),
        "ENABLE_CPU_PINNING": False,  # two actors on a node would be pinned to the same cores
        "CACHE_DIR": "",
    }


def _num_threads() -> int:
    """As many as torch would take: OMP_NUM_THREADS, which Ray and the judge stage set, or the CPUs this process has."""
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if told.isdigit() and int(told) > 0:
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
