"""An encoder's second image tower, for CPUs: which encoders get one, which files it is, and what its card says.

The network is in OpenVINO's form (IR): its layers in `image_tower.xml`; its weights in open_clip's own file, found
by place and length; the few constants that are not there, in `image_tower.bin`. The card, `image_tower.json`, says what
it was made from and what else there is to know of an encoder to judge pictures with it. Knows no torch and no OpenVINO:
whoever builds or copies an encoder without them can tell whether the tower is its own.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import safetensors
from pydantic import BaseModel, ValidationError

from assay.platform.errors import ReleaseError
from assay.platform.views import Preprocess

CARD_FILE, NETWORK_FILE, CONSTANTS_FILE = "image_tower.json", "image_tower.xml", "image_tower.bin"
TOWER_FILES = (CARD_FILE, NETWORK_FILE, CONSTANTS_FILE)

WEIGHTS_FILE = "open_clip_model.safetensors"
MADE_FROM = ("open_clip_config.json", WEIGHTS_FILE)
"""The files of an encoder that its image tower depends on."""

_ALIGNMENT = 64


class TowerCard(BaseModel, frozen=True, extra="forbid"):
    """The whole of `image_tower.json`."""

    made_from: dict[str, str]
    """sha256 of each file in `MADE_FROM`."""
    made_by: str
    dim: int
    logit_scale: float
    preprocess: Preprocess

    @classmethod
    def find(cls, directory: Path) -> Self | None:
        """The card of the tower in an encoder's directory; None if it has none."""
        path = directory / CARD_FILE
        if not path.is_file():
            return None
        try:
            return cls.model_validate_json(path.read_bytes())
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            why = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
            raise refusal(path, "the image tower's card is not understood", why) from error

    def write(self, directory: Path) -> None:
        """Written last: without it the other two files are not looked at."""
        (directory / CARD_FILE).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def fits(self, files: Mapping[str, str]) -> bool:
        """Whether the tower was made from these files, given as {name: sha256}."""
        return self.made_from == {name: files.get(name) for name in MADE_FROM}

    def check(self, directory: Path, files: Mapping[str, str]) -> None:
        """Refuse a tower that lies beside other weights than its own."""
        if not self.fits(files):
            why = f"{' or '.join(MADE_FROM)} is another than it was made from"
            raise refusal(directory / CARD_FILE, "the image tower is not of this encoder", why)


def wants_tower(directory: Path) -> bool:
    """Whether an encoder in fp32 is given a tower for CPUs: if most of its image tower's weights are convolutions'.

    Such a tower is some five times as fast there as in torch (infra/bench/LOG.md). Transformers are fastest in bf16,
    which is torch's.
    """
    path = directory / WEIGHTS_FILE
    if not path.is_file():
        return False
    try:
        with safetensors.safe_open(str(path), framework="numpy") as file:
            names = [name for name in file.offset_keys() if name.startswith("visual.")]
            shapes: list[list[int]] = [file.get_slice(name).get_shape() for name in names]
    except safetensors.SafetensorError as error:
        raise ReleaseError(
            "the encoder does not load", where=str(path), why=str(error), fix="export the encoder again"
        ) from error
    sizes = [(math.prod(shape), len(shape) == 4) for shape in shapes]  # a kernel is [out, in, height, width]
    return 2 * sum(size for size, is_kernel in sizes if is_kernel) > sum(size for size, _ in sizes)


def read_constants(directory: Path) -> bytes:
    """What a network's offsets count in: open_clip's weights, and behind them the tower's own constants."""
    weights = (directory / WEIGHTS_FILE).read_bytes()
    return weights.ljust(aligned(len(weights)), b"\0") + (directory / CONSTANTS_FILE).read_bytes()


def aligned(size: int) -> int:
    """The next place that a constant of any type may begin at, in bytes."""
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def refusal(path: Path, what: str, why: str) -> ReleaseError:
    """What is wrong with a tower's file."""
    return ReleaseError(what, where=str(path), why=why, fix="fetch the release again, or build it again")
