"""The decoder as a process of its own: images come in on stdin, pixels or faults go out on stdout.

Knows the limits it lives under and the messages it speaks. Does not know who asks, nor why an image is decoded.
`decoder_child.py` starts it, trusts none of its answers and kills it: after a crafted image this process may be
anybody's. Hence plain bytes and JSON, never pickle. Numbers are big-endian:

    settings  uint32 n, n bytes of JSON `Settings`            once, to the decoder; it answers READY
    request   uint64 n, n bytes of the stored file            to the decoder
    answer    HEADER: uint32 n, uint8 views; n bytes of JSON `Answer`; views * size * size * 3 bytes of pixels
"""

import ctypes
import os
import resource
import signal
import struct
import sys
import traceback
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field

from assay.platform.faults import Fault, FaultKind
from assay.platform.images import Budget, Decoded, Preprocess, decode
from assay.platform.views import MAX_VIEWS, Pixels, View

SETTINGS = struct.Struct(">I")
REQUEST = struct.Struct(">Q")
HEADER = struct.Struct(">IB")
READY = b"ready\n"
MAX_ANSWER_BYTES = 8192
"""Of an answer's JSON. The longest honest one, of eight views and their boxes, has 1,200."""
MAX_DETAIL = 200  # characters
CHUNK_BYTES = 65_536
PIXEL = bytes.fromhex("4749463839610100010080000000000000000021f90401000000002c00000000010001000002024401003b")
"""The least GIF."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h
INT32_MAX = 2**31 - 1

Fraction = Annotated[float, Field(ge=0, le=1)]
Seen = tuple[Literal["whole", "tile", "frame", "on_black"], Fraction, Fraction, Fraction, Fraction, float | None]


class Settings(BaseModel):
    """What a decoder is told once. `budget.max_seconds` is of one try."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preprocess: Preprocess
    budget: Budget


class Answer(BaseModel):
    """What a decoder says of one image, besides pixels. Bounds are of what honest decoders say."""

    # A broken file's times may be infinite; JSON without constants would make them null.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    fault: FaultKind | None = None
    detail: str = Field(default="", max_length=MAX_DETAIL)
    format: str = Field(default="", pattern=r"^[A-Z0-9]{0,8}$")
    width: int = Field(default=0, ge=0, le=INT32_MAX)
    height: int = Field(default=0, ge=0, le=INT32_MAX)
    frames: int = Field(default=0, ge=0, le=INT32_MAX)
    views: tuple[Seen, ...] = Field(default=(), max_length=MAX_VIEWS)

    @classmethod
    def of(cls, seen: Decoded | Fault) -> "Answer":
        """The answer that tells `seen`."""
        if isinstance(seen, Fault):
            return cls(fault=seen.kind, detail=seen.detail[:MAX_DETAIL])
        views = tuple((view.kind, *view.box, view.time_s) for view in seen.views)
        shape = {"width": seen.width, "height": seen.height, "frames": seen.frames}
        return cls.model_validate({"format": seen.format, "views": views, **shape})

    def seen(self, pixels: Pixels) -> Decoded | Fault:
        """What the answer tells, with the pixels that came after it."""
        if self.fault is not None:
            return Fault(self.fault, self.detail)
        views = tuple(View(kind, (x0, y0, x1, y1), time_s) for kind, x0, y0, x1, y1, time_s in self.views)
        return Decoded(pixels, views, self.format, self.width, self.height, self.frames)


def main() -> None:
    """Serve one guard until it closes stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever asks; we end with our stdin
    _die_with_parent()
    requests = sys.stdin.buffer
    (length,) = SETTINGS.unpack(requests.read(SETTINGS.size))
    settings = Settings.model_validate_json(requests.read(length))
    _warm_up(settings.preprocess)
    _limit(settings.budget.memory_bytes)
    answers = _claim_stdout()  # what went wrong up to here can still be read from stderr
    answers.write(READY)
    while header := requests.read(REQUEST.size):
        (length,) = REQUEST.unpack(header)
        _answer(_look(requests, length, settings), answers)


def _warm_up(preprocess: Preprocess) -> None:
    """Load all that is loaded with the first image: under the limits, an import that fails would be its fault."""
    seen = decode(PIXEL, preprocess, Budget())
    if isinstance(seen, Fault):
        raise TypeError(f"one black pixel cannot be decoded: {seen}")


def _die_with_parent() -> None:
    """Even if it is killed while we hang; otherwise the end of stdin tells us."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _claim_stdout() -> BinaryIO:
    """Stdout for answers only: whatever a C library prints (libtiff does) goes nowhere from here on."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    return answers


def _limit(memory_bytes: int) -> None:
    """No core dumps, no files, and so much memory beyond what is in use now."""
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_FSIZE):
        resource.setrlimit(limit, (0, 0))
    if sys.platform == "linux":  # macOS knows the limit but does not keep it
        in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (in_use + memory_bytes,) * 2)
        # Where the whole machine runs out, the kernel takes this process before the one that asked.
        Path("/proc/self/oom_score_adj").write_text("1000")


def _look(requests: BinaryIO, length: int, settings: Settings) -> Decoded | Fault:
    try:
        return decode(_receive(requests, length), settings.preprocess, settings.budget)
    except MemoryError:
        return Fault(FaultKind.TOO_MUCH_MEMORY, "MemoryError")
    except Exception as error:  # noqa: BLE001  # here a row becomes a fault: our own mistake costs one image, and is named
        *_, last = traceback.extract_tb(error.__traceback__)
        where = f"{Path(last.filename).name}:{last.lineno}"
        return Fault(FaultKind.DECODER_CRASHED, f"{type(error).__name__} in {where}")  # its message may quote content


def _receive(requests: BinaryIO, length: int) -> bytes:
    """One stored file. One that is too large to hold is read to its end all the same: the next one follows it."""
    try:
        return requests.read(length)
    except MemoryError:
        while length > 0:
            length -= len(requests.read(min(length, CHUNK_BYTES))) or length
        raise


def _answer(seen: Decoded | Fault, answers: BinaryIO) -> None:
    told = Answer.of(seen).model_dump_json().encode()
    pixels = seen.pixels.reshape(-1).data if isinstance(seen, Decoded) else memoryview(b"")
    views = len(seen.pixels) if isinstance(seen, Decoded) else 0
    for part in (HEADER.pack(len(told), views) + told, pixels):
        sent = 0
        while sent < len(part):
            sent += answers.write(part[sent:]) or 0


if __name__ == "__main__":
    main()
