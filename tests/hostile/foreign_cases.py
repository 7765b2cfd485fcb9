"""Files that are no image we read, or only the first bytes of one.

Knows the magic bytes of many formats. Does not know which of them anybody else reads.
"""

import io
import struct
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec

from PIL import Image

from assay.platform.faults import FaultKind
from tests.hostile import icc
from tests.hostile.case import Case, refused
from tests.hostile.pictures import gradient

MAGIC = {
    "jpeg": b"\xff\xd8\xff",
    "png": b"\x89PNG\r\n\x1a\n",
    "gif": b"GIF89a",
    "tiff": b"II*\0",
    "tiff big-endian": b"MM\0*",
    "tiff of 64 bits": b"II+\0",
    "webp": b"RIFF\x04\0\0\0WEBP",
    "bmp": b"BM" + bytes(12) + b"\x28\0\0\0",
    "avif": b"\0\0\0\x14ftypavif\0\0\0\0mif1",
}
"""The least that makes a reader believe."""
FOREIGN = {
    "one zero": b"\0",
    "one letter": b"B",
    "text": b"Nothing to see here, please move along.\n",
    "text that begins as a bitmap": b"BM is the beginning of this sentence, and this its end.",
    "html": b"<!DOCTYPE html><html><body><img src=x onerror=alert(1)></body></html>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "svg after a byte order mark": b"\xef\xbb\xbf\n <svg xmlns='http://www.w3.org/2000/svg'/>",
    "xml that expands a billion times": b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY b '&a;&a;'>]><x>&b;</x>",
    "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj\n%%EOF",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "eps for dos": b"\xc5\xd0\xd3\xc6" + struct.pack("<III", 30, 9, 0) + bytes(14) + b"%!PS\n",
    "elf": b"\x7fELF\x02\x01\x01" + bytes(64),
    "windows program": b"MZ" + bytes(62) + b"PE\0\0",
    "shell script": b"#!/bin/sh\nrm -rf /\n",
    "python pickle": b"\x80\x04\x95" + bytes(8) + b"cposix\nsystem\n",
    "gzip": b"\x1f\x8b\x08" + bytes(20),
    "tar": b"file".ljust(257, b"\0") + b"ustar\0",
    "mp4": b"\0\0\0\x20ftypisom\0\0\0\0isomiso2avc1mp41",
    "quicktime": b"\0\0\0\x14ftypqt  \0\0\0\0qt  ",
    "matroska": b"\x1a\x45\xdf\xa3" + bytes(40),
    "wave sound": b"RIFF\x24\0\0\0WAVEfmt " + bytes(20),
    "jpeg xl": b"\xff\x0a" + bytes(40),
    "jpeg xl in a box": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(40),
    "jpeg 2000 codestream": b"\xff\x4f\xff\x51" + struct.pack(">HHII", 41, 0, 60_000, 60_000) + bytes(40),
    "jpeg 2000 bomb in a box": b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 " + bytes(40),
    "jpeg ls": b"\xff\xd8"[:1] + b"\xd7" + bytes(40),
    "icon": b"\0\0\x01\0\x01\0\x10\x10\0\0\x01\0\x20\0" + bytes(40),
    "cursor": b"\0\0\x02\0\x01\0\x10\x10\0\0\x01\0\x20\0" + bytes(40),
    "photoshop": b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, 60_000, 60_000, 8, 3),
    "fits": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =  8".ljust(80),
    "openexr": b"\x76\x2f\x31\x01" + bytes(40),
    "radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9 +X 9\n",
    "targa": bytes([0, 0, 2]) + bytes(9) + struct.pack("<HH", 8, 8) + b"\x18\0" + bytes(192),
    "xpm": b"/* XPM */\nstatic char *x[] = {};",
    "mng": b"\x8aMNG\r\n\x1a\n" + bytes(40),
    "jng": b"\x8bJNG\r\n\x1a\n" + bytes(40),
    "windows metafile": b"\xd7\xcd\xc6\x9a" + bytes(40),
    "djvu": b"AT&TFORM" + bytes(40),
    "sqlite": b"SQLite format 3\0" + bytes(84),
    "parquet": b"PAR1" + bytes(40) + b"PAR1",
    "a profile": icc.matrix_profile(icc.SRGB),
    "png after a space": b" \x89PNG\r\n\x1a\n" + bytes(40),
    "png whose line ends were changed": b"\x89PNG\n\x1a\n" + bytes(40),
    "gif 88a": b"GIF88a" + bytes(40),
}
"""What people keep beside their pictures, and what attackers name `.jpg`."""


def foreign_cases() -> Iterator[Case]:
    """Everything that is no image of ours."""
    yield refused("nothing", b"", FaultKind.EMPTY)
    for name, data in FOREIGN.items():
        yield refused(f"foreign {name}", data, FaultKind.UNSUPPORTED_FORMAT)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    readable = find_spec("pillow_heif") is not None  # the extra `heic`
    yield refused("heic of zeros", heic, FaultKind.CORRUPT if readable else FaultKind.UNSUPPORTED_FORMAT)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("picture.jpg", "hello")
    yield refused("foreign zip", archive.getvalue(), FaultKind.UNSUPPORTED_FORMAT)
    for format in ("PPM", "ICO", "TGA", "PCX", "DDS", "ICNS", "JPEG2000", "SGI"):
        file = io.BytesIO()
        Image.fromarray(gradient()).save(file, format)
        yield refused(f"foreign {format.lower()}, whole", file.getvalue(), FaultKind.UNSUPPORTED_FORMAT)
    for name, magic in MAGIC.items():
        yield refused(f"magic bytes of {name} alone", magic, _alone(name))


def _alone(name: str) -> FaultKind:
    """A bitmap's header says how long it is, WebP's that it ends here; of the others the rest is missing."""
    return FaultKind.CORRUPT if name in ("webp", "avif") else FaultKind.TRUNCATED
