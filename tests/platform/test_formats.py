"""What bytes say before a decoder touches them: other formats, early ends, and sizes that are bombs."""

import struct
import time
import tracemalloc
from collections.abc import Callable

import pytest
from PIL import Image

from assay.platform.faults import Fault, FaultKind
from assay.platform.images import Budget, decode
from tests.platform.sample_files import BLUE, BUDGET, EVERY_FILE, FILES, RED, SQUASH, fault, png, save


@pytest.mark.parametrize(
    "data",
    [
        b"plain text, nothing else",
        b"\xef\xbb\xbf <svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><svg/>",
        b"<!DOCTYPE html><html></html>",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"BM but only the beginning of a sentence",
        b"\0\0\0\x20ftypisom\0\0\0\0isomiso2avc1mp41",
        b"RIFF\x24\0\0\0WAVEfmt ",
        b"\0",
        bytes(range(255, 0, -1)),
    ],
)
def test_other_formats_are_unsupported(data: bytes) -> None:
    assert fault(data) is FaultKind.UNSUPPORTED_FORMAT


@pytest.mark.parametrize("format", ["PPM", "ICO", "TGA", "JPEG2000", "EPS", "PCX", "DDS", "ICNS"])
def test_formats_pillow_reads_and_we_do_not(format: str) -> None:
    assert fault(save(Image.new("RGB", (32, 32), RED), format)) is FaultKind.UNSUPPORTED_FORMAT


@EVERY_FILE
def test_cut_anywhere(name: str) -> None:
    """A cut file is a fault, or still all there; never an exception, and in its middle it is called truncated."""
    data = FILES[name]
    for percent in range(0, 100, 5):
        seen = decode(data[: len(data) * percent // 100], SQUASH, BUDGET)
        if isinstance(seen, Fault):
            early = {FaultKind.EMPTY, FaultKind.TRUNCATED, FaultKind.UNSUPPORTED_FORMAT}
            assert seen.kind in early or name == "BMP", (percent, seen)
        else:
            assert name in ("MPO", "GIF animated", "PNG animated") or percent > 90, percent
    if name not in ("MPO", "GIF animated", "PNG animated"):
        assert fault(data[: len(data) // 2]) is FaultKind.TRUNCATED


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "TIFF deflate", "AVIF"])
def test_rubbish_behind_the_magic_bytes_is_corrupt_or_truncated(name: str) -> None:
    rubbish = FILES[name][:40] + bytes(range(256)) * 4
    assert fault(rubbish) in (FaultKind.CORRUPT, FaultKind.TRUNCATED)


def test_broken_in_the_middle_is_corrupt() -> None:
    data = bytearray(FILES["PNG"])
    middle = len(data) // 2
    data[middle : middle + 64] = bytes(64)
    assert fault(bytes(data)) is FaultKind.CORRUPT


def gif_that_grows() -> bytes:
    """A small screen, and a second frame that claims 60000 x 60000."""
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 8, 8, 0) + b"\x02\x02\x44\x01\x00"
    huge = b"\x21\xf9\x04\x08\0\0\0\0\x2c" + struct.pack("<HHHHB", 0, 0, 60000, 60000, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 8, 8, 0x80, 0, 0) + bytes([*RED, *BLUE]) + frame + huge + b";"


def huge_tiff() -> bytes:
    data = bytearray(save(Image.new("L", (8, 8)), "TIFF", compression="tiff_adobe_deflate"))
    start = struct.unpack_from("<I", data, 4)[0] + 2
    for at in range(start, start + 36, 12):
        if struct.unpack_from("<H", data, at)[0] in (256, 257):
            struct.pack_into("<HHII", data, at, struct.unpack_from("<H", data, at)[0], 4, 1, 60000)
    return bytes(data)


def huge_jpeg() -> bytes:
    data = bytearray(FILES["JPEG"])
    at = data.index(b"\xff\xc0")
    struct.pack_into(">HH", data, at + 5, 60000, 60000)
    return bytes(data)


def huge_webp() -> bytes:
    data = bytearray(FILES["WEBP animated"])
    data[24:30] = (16382).to_bytes(3, "little") * 2
    return bytes(data)


def huge_bmp() -> bytes:
    data = bytearray(FILES["BMP"])
    struct.pack_into("<ii", data, 18, 60000, 60000)
    return bytes(data)


BOMBS: dict[str, Callable[[], bytes]] = {
    "PNG": lambda: png(8, 2, [b"\0" * 8], 60000)[:16] + struct.pack(">II", 60000, 60000) + png(8, 2, [b"\0"], 1)[24:],
    "PNG, honest checksum": lambda: (
        b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    ),
    "GIF that grows": gif_that_grows,
    "TIFF": huge_tiff,
    "JPEG": huge_jpeg,
    "WEBP": huge_webp,
    "BMP": huge_bmp,
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_bomb_is_refused_before_it_is_decoded(name: str) -> None:
    data = BOMBS[name]()
    decode(FILES["PNG"], SQUASH, BUDGET)  # Pillow's own set-up is not counted
    before, started = memory_peak_kib(), time.perf_counter()
    tracemalloc.start()
    assert fault(data) is FaultKind.TOO_MANY_PIXELS
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.perf_counter() - started < 1
    assert peak < 4 * 2**20
    assert memory_peak_kib() - before < 64 * 2**10  # Pillow allocates pixels outside Python's accounts


def memory_peak_kib() -> int:
    import resource  # not on every system the other tests run on

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def test_gif_of_endless_tiny_frames_meets_the_deadline() -> None:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    data = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame * 200_000 + b";"
    started = time.perf_counter()
    assert fault(data, Budget(max_seconds=0.3)) is FaultKind.TOO_SLOW
    assert time.perf_counter() - started < 1.5
