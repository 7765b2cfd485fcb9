"""The encoder with a network, on a CPU without torch: OpenVINO runs the image tower that lies beside the weights.

Knows the shape of an `Encoder`. Does not know how a tower came to be (`openvino_export.py`) or is compiled
(`openvino_engine.py`). Phrases are open_clip's still: torch is loaded when the first one is encoded, which happens when
a release is built, not when it judges.
"""

import threading
from functools import cached_property
from pathlib import Path

import numpy as np

from assay.platform.encoder import (
    Embeddings,
    Encoder,
    Pixels,
    TextVectors,
    check_finite,
    check_pixels,
    load_clip,
)
from assay.platform.openvino_engine import compile_tower, openvino
from assay.platform.tower_card import TowerCard

_HEIGHT = 8
"""Images per pass, the last one padded, as in `ClipEncoder`. No height tried (1 to 64), nor number of threads (1 to 4),
changes a bit of the result; this one is as fast as any, and cheap for one image online."""


class OpenvinoEncoder:
    """An image tower for CPUs. Has the shape of `Encoder`."""

    calls_at_once = 1

    def __init__(self, directory: Path, digest: str, card: TowerCard, notes: tuple[str, ...] = ()) -> None:
        """`card`: the tower's, checked against the encoder's files. Raises as `compile_tower` does."""
        self.digest = digest
        self.dim, self.logit_scale, self.preprocess = card.dim, card.logit_scale, card.preprocess
        self.notes = notes
        self._directory = directory
        self._pixels = np.zeros((_HEIGHT, card.preprocess.size, card.preprocess.size, 3), np.uint8)
        self._request = compile_tower(directory, card, _HEIGHT)
        self._request.set_input_tensor(openvino.Tensor(self._pixels, shared_memory=True))
        self._turn = threading.Lock()  # one request with one buffer; two would only share the cores

    def encode_images(self, pixels: Pixels) -> Embeddings:
        """Embed pixels[n, size, size, 3]."""
        check_pixels(pixels, self.preprocess.size)
        found = np.empty((len(pixels), self.dim), np.float16)
        for start in range(0, len(pixels), _HEIGHT):
            part = pixels[start : start + _HEIGHT]
            found[start : start + len(part)] = self._pass(part)
        check_finite(found, "OpenVINO, on the CPU", "damaged weights")
        return found

    def encode_texts(self, texts: list[str]) -> TextVectors:
        """Embed phrases, with torch."""
        return self._for_texts.encode_texts(texts)

    @cached_property
    def _for_texts(self) -> Encoder:
        return load_clip(self._directory, self.digest, "fp32", "cpu")

    def _pass(self, part: Pixels) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        with self._turn:
            self._pixels[: len(part)] = part
            self._pixels[len(part) :] = 0
            self._request.infer()
            vectors: np.ndarray[tuple[int, int], np.dtype[np.float32]] = self._request.get_output_tensor().data
            return vectors[: len(part)].copy()
