"""What a decoder has and may: no secret, no file, little memory; bombs are refused within it."""

import io
import os
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from assay.platform.faults import Fault, FaultKind
from assay.platform.guard import Guard
from assay.platform.images import Budget, Decoded
from tests.platform.guard_watch import BUDGET, GREEDY, MIB, PREPROCESS, picture, pids, same


@pytest.fixture
def tries(tmp_path: Path) -> Path:
    folder = tmp_path / "tries"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(PREPROCESS, BUDGET, decoders=2) as guard:
        yield guard


def test_a_child_has_no_secret_and_no_file_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "ASSAY_STORAGE_SECRET_KEY", "RAY_AUTH_TOKEN", "SOMEBODY_S_PASSWORD"):
        monkeypatch.setenv(name, "canary-7d1f")
    with (tmp_path / "canary").open("w") as ours, Guard(PREPROCESS, BUDGET, 1) as guard:
        os.set_inheritable(ours.fileno(), True)
        guard.decode(picture())
        [pid] = pids(guard)
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"canary-7d1f" not in environment
        named = {variable.partition(b"=")[0].decode() for variable in environment.split(b"\0") if variable}
        assert named <= {
            *("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_CTYPE"),  # LC_CTYPE is Python's own doing
            *("PYTHONPATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"),
        }
        open_files = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
        assert all(name.startswith("pipe:") or name == os.devnull for name in open_files), open_files
        assert len(open_files) == 4  # stdin, answers, and stdout and stderr that lead nowhere


def test_a_child_is_small_and_single_threaded(guard: Guard) -> None:
    guard.decode(picture())
    status = Path(f"/proc/{pids(guard)[0]}/status").read_text()
    facts = dict(line.split(":", 1) for line in status.splitlines())
    assert int(facts["Threads"]) == 1
    assert int(facts["VmHWM"].split()[0]) < 120 * 1024  # KiB; torch alone would be four times that


def test_a_child_loads_nothing_heavy() -> None:
    asked = (
        "import sys, assay.platform.decoder_process\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'ray', 'pyarrow', 's3fs', 'botocore'}))"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"


def test_the_limits_a_child_lives_under(guard: Guard) -> None:
    guard.decode(picture())
    limits = {
        line[:26].strip(): line[26:].split() for line in Path(f"/proc/{pids(guard)[0]}/limits").read_text().splitlines()
    }
    assert limits["Max core file size"][:2] == ["0", "0"]
    assert limits["Max file size"][:2] == ["0", "0"]
    space = int(limits["Max address space"][0])
    assert BUDGET.memory_bytes < space < BUDGET.memory_bytes + 512 * MIB
    assert Path(f"/proc/{pids(guard)[0]}/oom_score_adj").read_text().strip() == "1000"


# Memory ---------------------------------------------------------------------------------------------------------------


def peak_mib(guard: Guard) -> float:
    status = Path(f"/proc/{pids(guard)[0]}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) / 1024


def large(format: str, side: int = 4000, mode: str = "RGB") -> bytes:
    out = io.BytesIO()
    Image.new(mode, (side, side), "red" if mode == "RGB" else 0).save(out, format)
    return out.getvalue()


def test_a_large_image_in_little_memory_is_named() -> None:
    """16 million pixels, 64 MB as Pillow holds them, under a limit of 48."""
    data = large("PNG")
    with Guard(PREPROCESS, Budget(max_memory=48 * MIB), 1) as guard:
        fault = guard.decode(data)
        assert fault == Fault(GREEDY, "PNG: MemoryError, twice")
        assert same(guard.decode(picture()), picture())
    with Guard(PREPROCESS, BUDGET, 1) as guard:
        assert isinstance(guard.decode(data), Decoded)


def test_a_file_too_large_for_the_memory_is_read_past(tries: Path) -> None:
    with Guard(PREPROCESS, Budget(max_memory=8 * MIB), 1) as guard:
        assert guard.decode(bytes(32 * MIB)) == Fault(GREEDY, "MemoryError, twice")
        assert guard.decode(b"x") == Fault(FaultKind.UNSUPPORTED_FORMAT, "no image format known")


def png_bomb(side: int) -> bytes:
    """A PNG of `side` x `side` black pixels in a few kilobytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def gif_bomb() -> bytes:
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65000, 65000, 0) + b"\x02\x02\x44\x01\x00"
    return b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6) + frame + b";"


def webp_bomb() -> bytes:
    canvas = bytes(4) + (16383).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", 10) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


BOMBS = {"png": png_bomb(32_000), "gif": gif_bomb(), "webp": webp_bomb(), "bmp": large("BMP", 8100, "1")}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_before_their_pixels_are_allocated(name: str) -> None:
    bomb = BOMBS[name]
    with Guard(PREPROCESS, BUDGET, 1) as guard:
        guard.decode(picture())
        before = peak_mib(guard)
        fault = guard.decode(bomb)
        assert isinstance(fault, Fault)
        assert fault.kind is FaultKind.TOO_MANY_PIXELS
        assert peak_mib(guard) - before < 3 * len(bomb) / MIB + 8  # Pillow's pixels alone would be 60 to 4,000
