"""What decoding one image may cost, and how it ends when it costs more.

Knows limits, and a soft deadline that is checked between steps. Does not know formats or pixels. A decoder that
hangs inside one step is the killable child's business.
"""

import time

from pydantic import BaseModel, ConfigDict, Field

from assay.platform.faults import Fault, FaultKind
from assay.platform.views import MAX_VIEWS

PILLOW_MAX_PIXELS = 178_956_970
"""Where Pillow itself refuses: twice its MAX_IMAGE_PIXELS, which stays as it is. Our check comes first; Pillow's is
the second wall, for what a decoder would allocate beyond the size its header declared."""


BYTES_PER_PIXEL = 32
"""The most that decoding takes: 28 for a TIFF of 32-bit samples, 19 for a WebP, 13 for a PNG with alpha."""
SPARE_BYTES = 256 * 2**20
"""The file itself, up to its budget, and what does not grow with the picture."""


class Budget(BaseModel):
    """What one image may cost. More is a fault, never a crash."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_bytes: int = Field(default=64 * 2**20, gt=0, description="size of the stored file, bytes")
    max_pixels: int = Field(
        default=64_000_000,
        gt=0,
        le=PILLOW_MAX_PIXELS,
        description="width times height, from the header, of each frame and of all frames looked at together",
    )
    max_frames: int = Field(
        default=4,
        gt=0,
        le=MAX_VIEWS,
        description="frames or pages looked at: first, last and evenly between",
    )
    max_seconds: float = Field(
        default=20.0, ge=0, description="seconds until an image is decoded or named; two tries may take half each"
    )
    max_memory: int | None = Field(
        default=None,
        gt=0,
        description="memory decoding may take, bytes; unset: enough for max_pixels, 2.3 GB by default. With less, a "
        "large picture may be called corrupt: not every decoder tells why it stops",
    )

    @property
    def memory_bytes(self) -> int:
        """Memory that decoding may take, beyond the decoder itself."""
        return self.max_memory or BYTES_PER_PIXEL * self.max_pixels + SPARE_BYTES


class Refused(Exception):
    """Ends the decoding of one image: carries its fault to `images.decode`, which returns it."""

    def __init__(self, kind: FaultKind, detail: str = "") -> None:
        super().__init__(detail)
        self.fault = Fault(kind, detail)


class Meter:
    """What one image has used of its budget so far."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.pixels = 0
        self.deadline = time.monotonic() + budget.max_seconds

    def tick(self) -> None:
        """Refuse if the time is up."""
        if time.monotonic() > self.deadline:
            raise Refused(FaultKind.TOO_SLOW, f"over {self.budget.max_seconds:g} s")

    def check(self, width: int, height: int) -> None:
        """Refuse if one frame is too large, or the time is up."""
        self.tick()
        if width * height > self.budget.max_pixels:
            detail = f"{width} x {height}, budget {self.budget.max_pixels}"
            raise Refused(FaultKind.TOO_MANY_PIXELS, detail)

    def spend(self, width: int, height: int) -> None:
        """Count a frame that is looked at; refuse if all of them together are too large."""
        self.check(width, height)
        self.pixels += width * height
        if self.pixels > self.budget.max_pixels:
            detail = f"{self.pixels} in all frames looked at, budget {self.budget.max_pixels}"
            raise Refused(FaultKind.TOO_MANY_PIXELS, detail)
