"""The encoder without a network: a test double, and the null encoder of benchmarks.

Knows colours and letters, nothing of meaning. Torch-free, exact (integer sums, so no result depends on a
batch or a machine) and fast. A picture is its colour in 4 x 4 cells, projected by fixed signs; a phrase is
its hashed letter triples. One bridge joins the two, so that tests can write rules that hold: a phrase that
is just a colour's name ("red") has the vector of a picture painted in that colour.
"""

import hashlib
import json
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from assay.platform.errors import ReleaseError
from assay.platform.views import Preprocess

HASH_FILE = "encoder.json"
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "magenta": (255, 0, 255),
    "cyan": (0, 255, 255),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}
"""Phrases that have the vector of a picture of that colour."""

_CELLS = 4


class HashSpec(BaseModel, frozen=True, extra="forbid"):
    """What `encoder.json` of a `HashEncoder` says."""

    kind: Literal["hash"] = "hash"
    dim: int = 64
    size: int = 32  # input edge in pixels, a multiple of 4
    logit_scale: float = 20.0


class HashEncoder:
    """See the module. Has the shape of `Encoder`."""

    calls_at_once = 1
    notes: tuple[str, ...] = ()

    def __init__(self, spec: HashSpec, digest: str) -> None:
        if spec.size % _CELLS:
            raise ValueError(f"size {spec.size} is not a multiple of {_CELLS}")
        self.digest = digest
        self.dim = spec.dim
        self.logit_scale = spec.logit_scale
        self.preprocess = Preprocess(
            size=spec.size,
            fit="squash",
            interpolation="bilinear",
            fill=255,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        self._signs = _signs(_CELLS * _CELLS * 3 + 1, spec.dim)

    @classmethod
    def load(cls, directory: Path, digest: str) -> "HashEncoder":
        """Read `encoder.json` from a directory."""
        path = directory / HASH_FILE
        try:
            spec = HashSpec.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise ReleaseError(
                "this encoder.json is not a hash encoder's",
                where=str(path),
                why=str(error.errors(include_url=False)[0]["msg"]),
                fix='write {"kind": "hash"}, or remove the file to load the network beside it',
            ) from error
        return cls(spec, digest)

    def encode_images(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float16]:
        """Embed pixels[n, size, size, 3]."""
        size = self.preprocess.size
        if pixels.shape[1:] != (size, size, 3) or pixels.dtype != np.uint8:
            raise ValueError(f"pixels are {pixels.dtype}{pixels.shape}, not uint8[n, {size}, {size}, 3]")
        edge = size // _CELLS
        # Rows first: NumPy adds whole rows at once, twenty times as fast as over both axes together.
        rows = pixels.reshape(-1, _CELLS, edge, size * 3).sum(axis=2, dtype=np.uint32)
        cells = rows.reshape(-1, _CELLS, _CELLS, edge, 3).sum(axis=3, dtype=np.int64)
        # Twice the sum, so that middle grey is exactly zero; the constant keeps grey from having no vector.
        features = 2 * cells.reshape(len(pixels), _CELLS * _CELLS * 3) - 255 * edge * edge
        constant = np.full((len(pixels), 1), 255 * edge * edge // 4, np.int64)
        return _unit(np.concatenate([features, constant], axis=1) @ self._signs).astype(np.float16)

    def encode_texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        """Embed phrases."""
        rows = [self._text(" ".join(text.casefold().split())) for text in texts]
        return _unit(np.stack(rows) if rows else np.zeros((0, self.dim), np.int64)).astype(np.float32)

    def _text(self, text: str) -> npt.NDArray[np.int64]:
        if text in COLOURS:
            size = self.preprocess.size
            edge = size // _CELLS
            painted = (2 * np.tile(COLOURS[text], _CELLS * _CELLS) - 255) * edge * edge
            return np.append(painted, 255 * edge * edge // 4).astype(np.int64) @ self._signs
        row = np.zeros(self.dim, np.int64)
        padded = f"  {text} "
        for start in range(len(padded) - 2):
            digest = hashlib.blake2b(padded[start : start + 3].encode(), digest_size=8).digest()
            at, sign = int.from_bytes(digest[:6], "little") % self.dim, 1 if digest[7] & 1 else -1
            row[at] += sign
        return row


def write_hash_encoder(directory: Path, spec: HashSpec | None = None) -> None:
    """Make a directory that `load_encoder` reads as a `HashEncoder`."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps((spec or HashSpec()).model_dump(), indent=2, sort_keys=True)
    (directory / HASH_FILE).write_text(text + "\n", encoding="utf-8")


def _signs(rows: int, columns: int) -> npt.NDArray[np.int64]:
    # From a hash, not a generator of numpy's, whose streams may change between versions.
    raw = hashlib.shake_256(b"assay hash encoder 1").digest(rows * columns)
    return (np.frombuffer(raw, np.uint8).reshape(rows, columns) & 1).astype(np.int64) * 2 - 1


def _unit(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    wide = rows.astype(np.float64)
    length = np.sqrt((rows.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    unit: npt.NDArray[np.float64] = np.divide(wide, length, out=np.zeros_like(wide), where=length > 0)
    return unit
