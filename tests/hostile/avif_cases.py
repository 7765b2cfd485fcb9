"""Handmade AVIF files: turned, see-through, animated; and boxes that lie.

Knows ISO boxes; the pictures within are Pillow's work. Does not know how they are read.
"""

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from assay.platform.faults import FaultKind
from tests.hostile import exif, icc
from tests.hostile.case import Case, Samples, moving, refused, still
from tests.hostile.pictures import flat, soft_gradient, stored_for, veil

PLAIN = soft_gradient()


def avif(samples: Samples, **options: object) -> bytes:
    """As good as it gets, unless told otherwise."""
    file = io.BytesIO()
    settings = {"quality": 100, "subsampling": "4:4:4", "speed": 8, "max_threads": 1, **options}
    Image.fromarray(np.ascontiguousarray(samples, np.uint8)).save(file, "AVIF", **settings)
    return file.getvalue()


FILE = avif(PLAIN)


def avif_cases() -> Iterator[Case]:
    """Every handmade AVIF."""
    yield from _valid()
    yield from _broken()


def _valid() -> Iterator[Case]:
    yield still("avif", FILE, PLAIN, lossy=True)
    large = soft_gradient(160, 120)
    yield still("avif 4:2:0, larger", avif(large, subsampling="4:2:0", quality=90), large, lossy=True)
    seen = np.dstack([PLAIN, veil()[:, :, 3]])
    yield still("avif with alpha", avif(seen), seen, lossy=True)
    for width, height in ((1, 1), (7, 3), (31, 37)):
        picture = soft_gradient(width, height)
        yield still(f"avif {width}x{height}", avif(picture), picture, lossy=True)
    upright = soft_gradient(40, 24)
    for orientation in range(1, 9):
        data = avif(stored_for(upright, orientation), exif=b"Exif\0\0" + exif.turned(orientation))
        yield still(f"avif exif {orientation}", data, upright, lossy=True)
    profiled = avif(PLAIN, icc_profile=icc.matrix_profile(icc.EXCHANGED))
    yield still("avif profile red and green exchanged", profiled, icc.through_matrix(PLAIN, icc.EXCHANGED), lossy=True)
    frames = [Image.fromarray(flat((level, 90, 200 - level))) for level in (40, 100, 160)]
    file = io.BytesIO()
    frames[0].save(file, "AVIF", save_all=True, append_images=frames[1:], duration=100, quality=100, speed=8)
    yield moving("avif three frames", file.getvalue(), [np.asarray(frame) for frame in frames], lossy=True)


def _patched(name: bytes, at: int, value: bytes) -> bytes:
    """Bytes replaced at a distance from the first place where a box's name stands."""
    place = FILE.index(name) + at
    return FILE[:place] + value + FILE[place + len(value) :]


def _broken() -> Iterator[Case]:
    corrupt, cut = FaultKind.CORRUPT, FaultKind.TRUNCATED
    brand = FILE[: struct.unpack_from(">I", FILE)[0]]
    yield refused("avif brand alone", brand, corrupt)
    yield refused("avif brand, then rubbish", brand + bytes(range(256)), cut)
    yield refused("avif brand, then a box of size 0", brand + struct.pack(">I4s", 0, b"meta") + bytes(64), corrupt)
    yield refused("avif brand, then a box of size 1", brand + struct.pack(">I4sQ", 1, b"meta", 2**63) + bytes(64), cut)
    yield refused("avif brand, then boxes of size 7", brand + struct.pack(">I4s", 7, b"free") * 9, corrupt)
    yield refused("avif brand, then a box beyond the end", brand + struct.pack(">I4s", 2**31, b"meta") + bytes(9), cut)
    # The decoder's own limit is 32768 each way; ours would come next.
    yield refused("avif claims 60000x60000", _patched(b"ispe", 8, struct.pack(">II", 60_000, 60_000)), corrupt)
    larger = _patched(b"ispe", 8, struct.pack(">II", 9_000, 9_000))
    yield refused("avif claims 9000x9000", larger, FaultKind.TOO_MANY_PIXELS)
    yield refused("avif claims 0x0", _patched(b"ispe", 8, bytes(8)), corrupt)
    # Browsers decode with the same library: it stretches the picture to what was claimed.
    twice = _patched(b"ispe", 8, struct.pack(">II", 64, 64))
    yield still("avif claims twice its size", twice, soft_gradient(64, 64), lossy=True)
    yield refused("avif no pixels where told", _patched(b"mdat", 4, b"\xff" * 60), corrupt)
    yield refused("avif box meta looping in itself", _patched(b"meta", -4, struct.pack(">I", 2)), corrupt)
    yield refused("avif no item location", _patched(b"iloc", 0, b"free"), corrupt)
    yield refused("avif primary item nobody knows", _patched(b"pitm", 8, b"\x99\x99"), corrupt)
    yield refused("avif no properties", _patched(b"iprp", 0, b"free"), corrupt)
