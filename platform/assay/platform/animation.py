"""An animation's frames, drawn one over another as browsers draw them.

Knows the blocks of GIF and the chunks of animated PNG, where each frame lies and what becomes of it. Does not know how
pixels are decoded: each frame is handed out as a still file of its own.

Pillow draws them otherwise: it clears a GIF's frames to a colour that the file names, not to nothing, so that a figure
in that colour is seen by people only; lets late frames widen the canvas until the others are specks; and draws an
animated PNG's half-clear frames at the square of their opacity.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from PIL import Image

from assay.platform.budget import Refused
from assay.platform.faults import FaultKind

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
SHARED_CHUNKS = (b"PLTE", b"tRNS", b"gAMA", b"sRGB", b"iCCP", b"sBIT")
"""What an animated PNG says once of all its frames' samples."""


class Afterwards(Enum):
    """What becomes of a frame's place before the next one is drawn."""

    LEFT = 0
    CLEARED = 1
    TAKEN_BACK = 2


@dataclass(frozen=True, slots=True)
class Sheet:
    """One frame: its still file, where it is drawn, for how long, and how. `over`: its clear pixels change nothing."""

    still: bytes
    place: tuple[int, int]
    size: tuple[int, int]
    duration_s: float = 0.0
    afterwards: Afterwards = Afterwards.LEFT
    over: bool = True


class Canvas:
    """What a player shows. It begins clear; what is drawn beyond its edge is not seen."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.picture = Image.new("RGBA", size)
        self._restore: tuple[Image.Image | None, tuple[int, int, int, int]] | None = None

    def draw(self, sheet: Sheet, frame: Image.Image) -> None:
        """Do what the frame before wanted done, then draw this one."""
        self._dispose()
        x, y = sheet.place
        box = (x, y, min(x + frame.width, self.picture.width), min(y + frame.height, self.picture.height))
        if x >= box[2] or y >= box[3]:
            return
        if sheet.afterwards is not Afterwards.LEFT:
            self._restore = (self.picture.crop(box) if sheet.afterwards is Afterwards.TAKEN_BACK else None, box)
        seen = frame.convert("RGBA").crop((0, 0, box[2] - x, box[3] - y))
        if sheet.over:
            self.picture.alpha_composite(seen, sheet.place)
        else:
            self.picture.paste(seen, sheet.place)

    def _dispose(self) -> None:
        if self._restore:
            before, box = self._restore
            self.picture.paste(before or (0, 0, 0, 0), box)
        self._restore = None


def canvas_size(format: str, data: bytes, declared: tuple[int, int]) -> tuple[int, int]:
    """Width and height of the canvas: `declared`, or of a GIF, its screen, which only the first frame can widen."""
    if format != "GIF":
        return declared
    width, height = struct.unpack_from("<HH", data, 6)
    first = next(gif_sheets(data, lambda: None), None)
    if first is None:
        return declared
    return max(width, first.place[0] + first.size[0]), max(height, first.place[1] + first.size[1])


def gif_sheets(data: bytes, tick: Callable[[], None]) -> Iterator[Sheet]:
    """A GIF's frames. `tick` is called per block and may raise."""
    start = 13 + _palette_bytes(data[10])
    head, control, at = data[:6], b"", start
    while at < len(data) and data[at] != 0x3B:
        tick()
        if data[at] == 0x21:
            end = _after_blocks(data, at + 2)
            control = data[at:end] if data[at + 1 : at + 2] == b"\xf9" else control
        elif data[at] != 0x2C:
            end = at + 1  # junk between blocks is skipped, as decoders do
        elif at + 10 > len(data):
            break
        else:
            x, y, width, height, flags = struct.unpack_from("<HHHHB", data, at + 1)
            end = _after_blocks(data, at + 11 + _palette_bytes(flags))
            screen = head + struct.pack("<HH", width, height) + data[10:start]
            place = data[at : at + 1] + struct.pack("<HHHHB", 0, 0, width, height, flags)
            still = screen + control + place + data[at + 10 : end] + b";"
            yield Sheet(still, (x, y), (width, height), *_controlled(control))
            control = b""
        at = end


def _controlled(control: bytes) -> tuple[float, Afterwards]:
    if len(control) < 7:
        return 0.0, Afterwards.LEFT
    flags, hundredths = struct.unpack_from("<BH", control, 3)
    ways = {2: Afterwards.CLEARED, 3: Afterwards.TAKEN_BACK, 4: Afterwards.TAKEN_BACK}  # 4: some encoders' slip for 3
    return hundredths / 100, ways.get(flags >> 2 & 7, Afterwards.LEFT)


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def png_sheets(data: bytes, tick: Callable[[], None]) -> Iterator[Sheet]:
    """An animated PNG's frames. The picture for viewers that do not animate comes first, as Pillow counts it too.

    Raises:
        Refused: a frame lies outside of the picture, or its description is damaged.
    """
    header, shared, control, pixels = b"", b"", b"", b""
    for kind, body, is_sound in _chunks(data, tick):
        if kind == b"IHDR":
            header = header or body
        elif kind in SHARED_CHUNKS and not pixels:
            shared += _chunk(kind, body)
        elif kind == b"IDAT":
            pixels += body
        elif kind == b"fdAT":
            pixels += body[4:]
        elif kind in (b"fcTL", b"IEND"):
            if pixels:
                yield _png_sheet(header, shared, control, pixels)
            if kind == b"fcTL" and not (is_sound and len(body) == 26):
                raise Refused(FaultKind.CORRUPT, "PNG: a frame's description")
            control, pixels = body, b""


def _chunks(data: bytes, tick: Callable[[], None]) -> Iterator[tuple[bytes, bytes, bool]]:
    """(kind, body, whether its checksum is right) of each chunk, to the last; a file that is cut off has no end."""
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        tick()
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        checksum = data[at + 8 + length : at + 12 + length]
        # The checksum of pixels is nobody's business here: their decoder has one of its own.
        is_sound = kind in (b"IDAT", b"fdAT") or checksum == struct.pack(">I", zlib.crc32(kind + body))
        yield kind, body, is_sound
        if kind == b"IEND":
            return
        at += 12 + length


def _png_sheet(header: bytes, shared: bytes, control: bytes, pixels: bytes) -> Sheet:
    width, height = struct.unpack_from(">II", header)
    if not control:
        still = _still_png(width, height, header, shared, pixels)
        return Sheet(still, (0, 0), (width, height), afterwards=Afterwards.CLEARED, over=False)
    wide, high, x, y, shown, per_second, dispose, blend = struct.unpack_from(">IIIIHHBB", control, 4)
    if x + wide > width or y + high > height or dispose > 2 or blend > 1:
        raise Refused(FaultKind.CORRUPT, "PNG: a frame outside of the picture")
    still = _still_png(wide, high, header, shared, pixels)
    return Sheet(still, (x, y), (wide, high), shown / (per_second or 100), Afterwards(dispose), blend == 1)


def _still_png(width: int, height: int, header: bytes, shared: bytes, pixels: bytes) -> bytes:
    own = _chunk(b"IHDR", struct.pack(">II", width, height) + header[8:13])
    return PNG_SIGNATURE + own + shared + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
