"""Encoders whose relation to the hash encoder is known: for tests of what one store's embeddings say of another's.

`turned` is the hash encoder in a space that was rotated, with as much noise as wanted; `scrambled` knows pictures by
their pixels' digest only, so that nothing can be told of it from any other encoder. Both understand the same phrases.
A release of one pins a file `vocab.double` beside the hash encoder's, and works where `load_doubles` was called.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from assay.platform import release, release_build
from assay.platform.encoder import load_encoder
from assay.platform.hash_encoder import HashEncoder, HashSpec

MARK = "vocab.double"
"""One of the names that make an encoder's digest, and that the hash encoder does not read."""


class Double(HashEncoder):
    """See the module."""

    def __init__(self, like: HashEncoder, kind: str, noise: float) -> None:
        super().__init__(HashSpec(), like.digest)
        self.kind, self.noise = kind, noise
        self.turn = np.linalg.qr(np.random.default_rng(7).normal(size=(self.dim, self.dim)))[0]

    def encode_images(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
        seeds = [int.from_bytes(hashlib.sha256(one.tobytes()).digest()[:8], "big") for one in pixels]
        rows = [np.random.default_rng(seed).normal(size=self.dim) / np.sqrt(self.dim) for seed in seeds]
        own = np.array(rows).reshape(-1, self.dim)
        if self.kind == "turned":
            own = super().encode_images(pixels).astype(np.float64) @ self.turn + self.noise * own
        return _unit(own).astype(np.float16)

    def encode_texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        vectors = super().encode_texts(texts).astype(np.float64)
        return _unit(vectors @ self.turn if self.kind == "turned" else vectors).astype(np.float32)


def _unit(rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    unit: npt.NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _load(directory: Path, *settings: Any) -> Any:
    found = load_encoder(directory, *settings)
    told = directory / MARK
    return Double(found, **json.loads(told.read_text())) if told.is_file() else found  # type: ignore[arg-type]


def load_doubles(patch: pytest.MonkeyPatch) -> None:
    """Let releases of doubles find them."""
    for module in (release, release_build):
        patch.setattr(module, "load_encoder", _load)
