"""How tests watch a guard: whether an image is seen as without one, and which children live."""

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from assay.platform.faults import Fault, FaultKind
from assay.platform.guard import Guard
from assay.platform.images import Budget, Decoded, Preprocess, decode

PREPROCESS = Preprocess(size=32, fit="pad", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
BUDGET = Budget()
CRASHED, HUNG, GREEDY = FaultKind.DECODER_CRASHED, FaultKind.TOO_SLOW, FaultKind.TOO_MUCH_MEMORY
MIB = 2**20


def picture(number: int = 0, size: tuple[int, int] = (40, 30), format: str = "PNG") -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (*size[::-1], 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format)
    return out.getvalue()


def same(seen: Decoded | Fault, data: bytes, budget: Budget = BUDGET) -> bool:
    """Whether an image was seen as `images.decode` sees it here."""
    expected = decode(data, PREPROCESS, budget)
    if isinstance(seen, Fault) or isinstance(expected, Fault):
        return seen == expected
    facts = [(one.views, one.format, one.width, one.height, one.frames) for one in (seen, expected)]
    return facts[0] == facts[1] and np.array_equal(seen.pixels, expected.pixels)


def pids(guard: Guard) -> list[int]:
    return [child._process.pid for child in guard._children]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until_gone(processes: list[int], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while any(map(is_alive, processes)):
        assert time.monotonic() < deadline, [pid for pid in processes if is_alive(pid)]
        time.sleep(0.02)
