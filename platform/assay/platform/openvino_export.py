"""An encoder's image tower written for OpenVINO: the same arithmetic, in a file that needs no torch to run.

Knows how torch's network becomes an IR, how the IR is made the same bytes each time, and that it must agree with torch
before it is kept. Does not know when an encoder gets one (`tower_card.py`).
"""

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from assay.platform.clip_encoder import ClipEncoder
from assay.platform.errors import ReleaseError
from assay.platform.openvino_encoder import OpenvinoEncoder
from assay.platform.openvino_engine import openvino
from assay.platform.tower_card import CONSTANTS_FILE, MADE_FROM, NETWORK_FILE, WEIGHTS_FILE, TowerCard, aligned

_MIN_COSINE = 0.9999
_FEWEST_HALVED = 16
"""Constants of fewer elements stay as they are: shapes and the like, where there is nothing to save."""


def export_tower(directory: Path, files: Mapping[str, str]) -> None:
    """Write the tower of the open_clip encoder in a directory beside it. `files`: that encoder's, with their sha256.

    Raises:
        ReleaseError: the encoder does not load, or OpenVINO cannot do with pictures what torch does.
    """
    encoder = ClipEncoder(directory, "", "fp32", "cpu")
    card = TowerCard(
        made_from={name: files[name] for name in MADE_FROM},
        made_by=f"openvino {openvino.__version__}",
        dim=encoder.dim,
        logit_scale=encoder.logit_scale,
        preprocess=encoder.preprocess,
    )
    try:
        model = _converted(encoder)
        _halve(model)
        _rename(model)
        openvino.serialize(model, directory / NETWORK_FILE, directory / CONSTANTS_FILE)
        _share(directory)
    except RuntimeError as error:
        raise _cannot(directory, " ".join(str(error).split())[-300:]) from error
    _compare(encoder, OpenvinoEncoder(directory, "", card), directory)
    card.write(directory)


def _converted(encoder: ClipEncoder) -> Any:
    """OpenVINO's model of the tower, for any number of pictures.

    By the frontend itself: `openvino.convert_model` would fuse weights, which then no longer fit into fp16.
    """
    # Imported here: `openvino_engine` has to be the first to import OpenVINO.
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    from openvino.passes import ConstantFolding, Manager

    size = encoder.preprocess.size
    with warnings.catch_warnings():
        # That tracing is old (OpenVINO traces), and that it takes sizes for fixed (they are).
        warnings.simplefilter("ignore")
        example = torch.zeros((1, size, size, 3), dtype=torch.uint8)
        traced = TorchScriptPythonDecoder(encoder.tower, example_input=example, shared_memory=False)
    frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(traced))
    model.reshape([-1, size, size, 3])
    passes = Manager()
    passes.register_pass(ConstantFolding())  # what is computed from sizes alone
    passes.run_passes(model)
    return model


def _halve(model: Any) -> None:
    """Make fp16 the constants that lose nothing by it: all weights that came from fp16. Arithmetic stays fp32."""
    for constant in [one for one in model.get_ordered_ops() if one.get_type_name() == "Constant"]:
        if constant.get_element_type() != openvino.Type.f32:
            continue
        wide = constant.get_data()
        with np.errstate(over="ignore"):  # what is too great for fp16 becomes infinite, and so differs
            narrow = wide.astype(np.float16)
        if wide.size >= _FEWEST_HALVED and (narrow.astype(np.float32) == wide).all():
            half = openvino.opset8.convert(openvino.opset8.constant(narrow), "f32")
            constant.output(0).replace(half.output(0))


def _rename(model: Any) -> None:
    """Name layers by their place: OpenVINO counts them through the life of a process."""
    model.set_friendly_name("image_tower")
    for place, layer in enumerate(model.get_ordered_ops()):
        layer.set_friendly_name(f"{layer.get_type_name()}_{place}")
        notes = layer.get_rt_info()
        for key in list(notes.keys()):
            del notes[key]
        for port in layer.outputs():
            port.get_tensor().set_names(set())


def _share(directory: Path) -> None:
    """Let the network take its weights from where they are, in open_clip's file: what is left is some kilobytes."""
    weights, constants = (directory / WEIGHTS_FILE).read_bytes(), (directory / CONSTANTS_FILE).read_bytes()
    places, own = _places(weights), bytearray()

    def moved(found: re.Match[str]) -> str:
        start, size = int(found[1]), int(found[2])
        constant = constants[start : start + size]
        if constant not in places:
            places[constant] = aligned(len(weights)) + len(own)
            own.extend(constant.ljust(aligned(size), b"\0"))
        return f'offset="{places[constant]}" size="{size}"'

    network = (directory / NETWORK_FILE).read_text("utf-8")
    (directory / NETWORK_FILE).write_text(re.sub(r'offset="(\d+)" size="(\d+)"', moved, network), "utf-8")
    (directory / CONSTANTS_FILE).write_bytes(own)


def _places(weights: bytes) -> dict[bytes, int]:
    """Where in a safetensors file each tensor's bytes are: https://huggingface.co/docs/safetensors, "Format"."""
    start = 8 + int.from_bytes(weights[:8], "little")
    header: dict[str, dict[str, list[int]]] = json.loads(weights[8:start])
    spans = [told["data_offsets"] for name, told in header.items() if name != "__metadata__"]
    return {weights[start + begin : start + end]: start + begin for begin, end in sorted(spans, reverse=True)}


def _compare(ours: ClipEncoder, theirs: OpenvinoEncoder, directory: Path) -> None:
    size = ours.preprocess.size
    pixels = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), np.uint8)
    one, other = (encoder.encode_images(pixels).astype(np.float64) for encoder in (ours, theirs))
    cosine = float(((one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())
    if not cosine >= _MIN_COSINE:
        raise _cannot(directory, f"its vectors have a cosine of {cosine:.5f} to torch's; {_MIN_COSINE} is asked for")


def _cannot(directory: Path, why: str) -> ReleaseError:
    return ReleaseError(
        "OpenVINO cannot run this encoder's image tower",
        where=str(directory / NETWORK_FILE),
        why=why,
        fix="build with precision bf16, or where OpenVINO is not installed: torch runs it then",
    )
