"""What a file's bytes say before any decoder touches them: its format, declared size, and whether it ends early.

Knows magic bytes and container headers. Does not know Pillow, budgets or pixels. Bad content never raises here.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

ISO_BRANDS = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIF",
    b"heix": "HEIF",
    b"heim": "HEIF",
    b"heis": "HEIF",
    b"hevc": "HEIF",
    b"hevx": "HEIF",
    b"hevm": "HEIF",
    b"hevs": "HEIF",
}
NEUTRAL_BRANDS = (b"mif1", b"msf1")  # "an image": the compatible brands say which
BMP_HEADER_BYTES = (12, 40, 52, 56, 64, 108, 124)  # "BM" alone would claim any text that begins so
MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
FOREIGN = {
    b"%pdf": "PDF",
    b"<svg": "SVG",
    b"<?xml": "XML (perhaps SVG)",
    b"<!doctype": "HTML",
    b"<html": "HTML",
    b"%!ps": "PostScript",
    b"8bps": "Photoshop",
    b"pk\x03\x04": "ZIP",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cjxl": "JPEG XL",
    b"\0\0\0\x0cjp": "JPEG 2000",
    b"\0\0\x01\0": "ICO",
}
PNG_CHANNELS = {2: 3, 4: 2, 6: 4}
"""Samples per pixel of a PNG's colour types; one in the others."""
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
"""First row, first column, row step and column step of each pass of an interlaced PNG."""
INFLATED_AT_ONCE = 2**20
TIFF_PAGES_WALKED = 1000
"""A chain of directories may be a ring; the end of so many is proof enough."""


class GifOutline(NamedTuple):
    """What a walk over a GIF's blocks found: the area of all frames together, how many, whether it has an end."""

    width: int
    height: int
    num_frames: int
    is_whole: bool


def sniff(data: bytes) -> str | None:
    """Pillow's name of the one format these bytes may be, or None. The file's name is never asked."""
    for magic, name in MAGIC.items():
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in BMP_HEADER_BYTES:
        return "BMP"
    return _iso_format(data) if data[4:8] == b"ftyp" else None


def _iso_format(data: bytes) -> str | None:
    brand = data[8:12]
    if brand not in NEUTRAL_BRANDS:
        return ISO_BRANDS.get(brand)
    end = min(int.from_bytes(data[:4], "big"), 256)
    brands = {data[at : at + 4] for at in range(16, end, 4)}
    return "AVIF" if brands & {b"avif", b"avis"} else "HEIF"


def foreign_name(data: bytes) -> str:
    """What to call a file in no format that is read; never a part of its content."""
    head = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for magic, name in FOREIGN.items():
        if head.startswith(magic):
            return name
    return "ISO media" if data[4:8] == b"ftyp" else "no image format known"


def declared_size(format: str, data: bytes, tick: Callable[[], None]) -> tuple[int, int]:
    """Width and height that the header claims, or (0, 0) where the decoder tells before it allocates anything.

    WebP and GIF need it most: Pillow allocates a WebP's canvas while opening, and lets a later GIF frame grow it.
    """
    if format == "PNG" and len(data) >= 24 and data[12:16] == b"IHDR":
        width, height = struct.unpack_from(">II", data, 16)
        return width, height
    if format == "WEBP":
        return _webp_size(data)
    if format == "GIF":
        outline = gif_outline(data, tick)
        return outline.width, outline.height
    return 0, 0


def _webp_size(data: bytes) -> tuple[int, int]:
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 0, 0
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF


def gif_outline(data: bytes, tick: Callable[[], None]) -> GifOutline:
    """Walk a GIF's blocks. `tick` is called per frame and may raise: a small file can hold millions."""
    if len(data) < 13:
        return GifOutline(0, 0, 0, False)
    width, height = struct.unpack_from("<HH", data, 6)
    at, num_frames = 13 + _gif_palette_bytes(data[10]), 0
    while at < len(data) and data[at] != 0x3B:
        if data[at] == 0x21:
            at = _skip_gif_blocks(data, at + 2)
        elif data[at] != 0x2C:
            at += 1  # junk between blocks is skipped, as decoders do
        elif at + 10 > len(data):
            break
        else:
            x, y, w, h, flags = struct.unpack_from("<HHHHB", data, at + 1)
            width, height, num_frames = max(width, x + w), max(height, y + h), num_frames + 1
            tick()
            at = _skip_gif_blocks(data, at + 11 + _gif_palette_bytes(flags))
    return GifOutline(width, height, num_frames, data[at : at + 1] == b";")


def _gif_palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_gif_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += data[at] + 1
    return at + 1


def ends_early(format: str, data: bytes) -> bool:
    """Whether the file's own structure goes on after its last byte. Asked only of files that failed to decode."""
    checks = {
        "JPEG": _jpeg_ends_early,
        "TIFF": _tiff_ends_early,
        "AVIF": _boxes_end_early,
        "HEIF": _boxes_end_early,
    }
    try:
        if format in checks:
            return checks[format](data)
        if format == "PNG":
            return b"IEND\xaeB`\x82" not in data
        if format == "GIF":
            return not gif_outline(data, lambda: None).is_whole
        at, beyond = (4, 8) if format == "WEBP" else (2, 0)  # RIFF counts from byte 8, BMP from byte 0
        return int(struct.unpack_from("<I", data, at)[0]) + beyond > len(data)
    except struct.error:  # a fixed-size header does not fit
        return True


def lacks_passes(data: bytes, tick: Callable[[], None]) -> bool:
    """Whether an interlaced PNG's pixels stop before its last pass. `tick` is called per MiB and may raise.

    Pillow takes it for whole and leaves the missing pixels black: of the first pass, people see a coarse picture that
    fills the screen, and the encoder would see one dot in 64.
    """
    width, height, depth, colour = struct.unpack_from(">IIBB", data, 16)
    bits = depth * PNG_CHANNELS.get(colour, 1)
    wanted: int = sum(
        -(-(height - row) // down) * (1 + (-(-(width - column) // across) * bits + 7) // 8)
        for row, column, down, across in ADAM7
        if height > row and width > column
    )
    inflater, found = zlib.decompressobj(), 0
    for piece in _png_pixels(data):
        left = piece
        while left and found < wanted and not inflater.eof:
            tick()
            found += len(inflater.decompress(left, INFLATED_AT_ONCE))
            left = inflater.unconsumed_tail
    return found < wanted


def _png_pixels(data: bytes) -> Iterator[bytes]:
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IDAT":
            yield data[at + 8 : at + 8 + length]
        at += 12 + length


def _jpeg_ends_early(data: bytes) -> bool:
    at = 2
    while at + 4 <= len(data):
        marker = data[at + 1]
        if data[at] != 0xFF or marker in (0x00, 0xFF):
            at += 1
        elif marker == 0xDA:  # scan: entropy-coded data until the end marker
            return data.find(b"\xff\xd9", at) < 0
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return True


def _boxes_end_early(data: bytes) -> bool:
    at = 0
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size < 8:  # 0 means "to the end"; others are nonsense, so corrupt
            return False
        at += size
    return at > len(data)


def _tiff_ends_early(data: bytes) -> bool:
    order = "<" if data[:2] == b"II" else ">"
    if b"+" in data[:4]:  # BigTIFF: only its first directory is looked for
        return int(struct.unpack_from(order + "Q", data, 8)[0]) + 8 > len(data)
    (start,) = struct.unpack_from(order + "I", data, 4)
    for _ in range(TIFF_PAGES_WALKED):
        if not start:
            break
        if _tiff_pixels_end(data, order, start) > len(data):
            return True
        (num_tags,) = struct.unpack_from(order + "H", data, start)
        (start,) = struct.unpack_from(order + "I", data, start + 2 + 12 * num_tags)
    return False


def _tiff_pixels_end(data: bytes, order: str, start: int) -> int:
    """Where the last strip or tile of one directory ends."""
    (num_tags,) = struct.unpack_from(order + "H", data, start)
    last: dict[int, int] = {}  # last offset (273, 324) and byte count (279, 325) of strips and tiles
    for at in range(start + 2, start + 2 + 12 * num_tags, 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, at)
        if tag in (273, 279, 324, 325) and kind in (3, 4) and count:
            code, width = ("H", 2) if kind == 3 else ("I", 4)
            values = at + 8 if width * count <= 4 else struct.unpack_from(order + "I", data, at + 8)[0]
            (last[tag],) = struct.unpack_from(order + code, data, values + width * (count - 1))
    return max(last.get(273, 0) + last.get(279, 0), last.get(324, 0) + last.get(325, 0))
