"""The guard, with real children that really break: what each breakage costs, and whom."""

import io
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.platform.decoder_child import Strike
from assay.platform.errors import AssayError
from assay.platform.faults import FAULTS, Fault, FaultKind
from assay.platform.guard import Guard
from assay.platform.images import Budget, Decoded, Preprocess, decode
from tests.platform.planted_decoder import PLANTED, order

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


@pytest.fixture
def tries(tmp_path: Path) -> Path:
    folder = tmp_path / "tries"
    folder.mkdir()
    return folder


@pytest.fixture
def once(tmp_path: Path) -> Path:
    folder = tmp_path / "once"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(PREPROCESS, BUDGET, decoders=2) as guard:
        yield guard


# What passes through --------------------------------------------------------------------------------------------------


def animated() -> bytes:
    frames = [Image.new("RGBA", (50, 20), (shade, 0, 0, 128)) for shade in (0, 90, 180)]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=40)
    return out.getvalue()


WHOLE = picture(format="JPEG")
FILES = {
    "jpeg": WHOLE,
    "png": picture(),
    "animated": animated(),
    "empty": b"",
    "cut": WHOLE[: len(WHOLE) // 2],
    "foreign": b"%PDF-1.7",
    "too large": bytes(BUDGET.max_bytes + 1),
}


@pytest.mark.parametrize("name", FILES)
def test_an_image_is_seen_as_without_a_guard(guard: Guard, name: str) -> None:
    assert same(guard.decode(FILES[name]), FILES[name])


@pytest.mark.parametrize("fit", ["pad", "crop", "squash"])
def test_the_encoder_s_wishes_are_followed(fit: str) -> None:
    wishes = PREPROCESS.model_copy(update={"fit": fit, "size": 20, "fill": 7})
    data = picture(size=(300, 60))
    with Guard(wishes, BUDGET, 1) as guard:
        seen = guard.decode(data)
    expected = decode(data, wishes, BUDGET)
    assert isinstance(seen, Decoded)
    assert isinstance(expected, Decoded)
    assert np.array_equal(seen.pixels, expected.pixels)
    assert seen.views == expected.views


def test_a_budget_is_kept_by_the_child() -> None:
    tight = Budget(max_pixels=100, max_frames=1)
    with Guard(PREPROCESS, tight, 1) as guard:
        assert same(guard.decode(picture()), picture(), tight)
        assert guard.decode(picture()) == Fault(FaultKind.TOO_MANY_PIXELS, "40 x 30, budget 100")


def test_a_deadline_of_nothing_is_told_by_the_child() -> None:
    with Guard(PREPROCESS, Budget(max_seconds=0), 1) as guard:
        assert guard.decode(picture()) == Fault(HUNG, "over 0 s")


def test_many_threads_share_few_children() -> None:
    files = [picture(number, (20 + number % 50, 30)) for number in range(300)]
    with Guard(PREPROCESS, BUDGET, decoders=2) as guard:
        with ThreadPoolExecutor(16) as pool:
            seen = list(pool.map(guard.decode, files))
        assert all(same(one, data) for one, data in zip(seen, files, strict=True))
        assert len(pids(guard)) == 2


def test_children_are_started_when_they_are_needed() -> None:
    with Guard(PREPROCESS, BUDGET, decoders=8) as guard:
        assert pids(guard) == []
        guard.decode(picture())
        [first] = pids(guard)
        guard.decode(picture())
        assert pids(guard) == [first]


# Two strikes ----------------------------------------------------------------------------------------------------------

QUICK = Budget(max_seconds=4)
"""A hanging image is killed after 1.92 s, twice."""
CRASHES = {
    "segfault": Fault(CRASHED, "died of SIGSEGV, twice"),
    "abort": Fault(CRASHED, "died of SIGABRT, twice"),
    "leave": Fault(CRASHED, "exited with 7, twice"),
    "is_killed": Fault(GREEDY, "killed by the system, twice"),
    "gorge": Fault(GREEDY, "MemoryError, twice"),
    "nibble": Fault(GREEDY, "MemoryError, twice"),
    "babble": Fault(CRASHED, "answer out of form, twice"),
    "shout": Fault(CRASHED, "answer out of form, twice"),
    "promise_much": Fault(CRASHED, "answer out of form, twice"),
    "invent_a_fault": Fault(CRASHED, "answer out of form, twice"),
    "lie": Fault(CRASHED, "answer out of form, twice"),
    "nest": Fault(CRASHED, "answer out of form, twice"),
    "break_off": Fault(CRASHED, "exited with 0, twice"),
    "shut_up": Fault(CRASHED, "stopped listening, twice"),
}
HANGS = ("sleep", "spin", "burn", "stop")


def one_of_twenty(guard: Guard, poison: bytes) -> Fault:
    """Decode 20 images, of which the eighth is poison: what became of it, once the others are seen to be whole."""
    files = [picture(number) for number in range(19)]
    files.insert(7, poison)
    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(guard.decode, files))
    fault = seen.pop(7)
    files.pop(7)
    assert all(same(one, data) for one, data in zip(seen, files, strict=True))
    assert isinstance(fault, Fault)
    return fault


@pytest.mark.parametrize("deed", CRASHES)
def test_a_broken_decoder_costs_one_image(deed: str, tries: Path) -> None:
    with Guard(PREPROCESS, Budget(max_memory=256 * MIB), 2, PLANTED) as guard:
        assert one_of_twenty(guard, order(deed, tries)) == CRASHES[deed]
        assert len(list(tries.iterdir())) == 2
        assert same(guard.decode(picture()), picture())
        assert len(pids(guard)) <= 2


@pytest.mark.parametrize("deed", HANGS)
def test_a_hanging_decoder_costs_one_image_and_is_named_in_time(deed: str, tries: Path) -> None:
    with Guard(PREPROCESS, QUICK, 2, PLANTED) as guard:
        assert one_of_twenty(guard, order(deed, tries)) == Fault(HUNG, "no answer in 1.92 s, twice")
        assert len(list(tries.iterdir())) == 2
        assert same(guard.decode(picture()), picture(), QUICK)


def test_a_try_and_its_second_leave_time_within_the_deadline() -> None:
    """By arithmetic, as a slow machine would fail a stopwatch: two tries, and the start of a decoder between."""
    guard = Guard(PREPROCESS, BUDGET, 1)
    soft = guard._settings.budget.max_seconds
    assert 0 < soft < guard._try_s
    assert BUDGET.max_seconds - 2 * guard._try_s >= 0.5


@pytest.mark.parametrize("deed", ["segfault", "is_killed", "stop", "babble", "gorge"])
def test_the_second_try_may_go_well(deed: str, once: Path) -> None:
    """A child may have been killed by somebody else, or been spoilt by an earlier image."""
    data = picture()
    with Guard(PREPROCESS, QUICK, 1, PLANTED) as guard:
        assert same(guard.decode(order(deed, once, data)), data, QUICK)
        assert len(list(once.iterdir())) == 2


def test_what_the_decoder_says_itself_is_final(tries: Path) -> None:
    with Guard(PREPROCESS, BUDGET, 1, PLANTED) as guard:
        guard.decode(picture())
        before = pids(guard)
        fault = guard.decode(order("stumble", tries))
        assert isinstance(fault, Fault)
        assert fault.kind is CRASHED
        assert re.fullmatch(r"ZeroDivisionError in planted_decoder\.py:\d+", fault.detail)  # never the message
        assert len(list(tries.iterdir())) == 1
        assert pids(guard) == before


def test_the_two_strikes_are_both_told() -> None:
    """A hang and then a crash: the second names the fault."""
    assert Strike(CRASHED, "died of SIGSEGV").after(Strike(HUNG, "no answer in 9.6 s")) == Fault(
        CRASHED, "no answer in 9.6 s, then died of SIGSEGV"
    )


def test_a_child_that_says_too_much_is_not_asked_again(tries: Path, once: Path) -> None:
    data = picture()
    with Guard(PREPROCESS, BUDGET, 1, PLANTED) as guard:
        assert same(guard.decode(order("chatter", tries, data)), data)
        assert same(guard.decode(data), data)
        [chatterbox] = guard._children
        assert chatterbox._readable.poll(30_000), "it has said more"
        assert same(guard.decode(order("segfault", once, data)), data)  # which has both of its tries still
        assert chatterbox not in guard._children
        assert len(list(tries.iterdir())) == 1


def test_a_child_killed_while_idle_is_no_strike(once: Path) -> None:
    """The next image has both of its tries still."""
    data = picture()
    with Guard(PREPROCESS, BUDGET, 1, PLANTED) as guard:
        guard.decode(data)
        [idle] = pids(guard)
        os.kill(idle, signal.SIGKILL)
        wait_until_gone([idle])
        assert same(guard.decode(order("segfault", once, data)), data)


def test_healthy_images_pass_while_another_hangs(tries: Path) -> None:
    """The poison has one decoder, for as long as it may; the other goes on."""
    with Guard(PREPROCESS, Budget(max_seconds=120), 2, PLANTED) as guard, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(guard.decode, order("sleep", tries))
        while not list(tries.iterdir()):
            time.sleep(0.01)
        assert all(same(guard.decode(picture(number)), picture(number)) for number in range(20))
        assert not hanging.done()
        [sleeper] = [child for child in guard._children if guard._free.queue[0].child is not child]
        sleeper._process.kill()  # its first strike: it need not take two minutes
        while len(list(tries.iterdir())) < 2:
            time.sleep(0.01)
        [sleeper] = [child for child in guard._children if guard._free.queue[0].child is not child]
        sleeper._process.kill()
        assert hanging.result() == Fault(GREEDY, "killed by the system, twice")


def test_faults_of_the_guard_are_lasting() -> None:
    assert not any(FAULTS[kind].transient for kind in (CRASHED, HUNG, GREEDY))


# Starting and ending --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ((sys.executable, "-c", "import no_such_module"), "exited with 1: ModuleNotFoundError: No module named"),
        ((sys.executable, "-c", "import os; os.abort()"), "died of SIGABRT"),
        ((sys.executable, "-c", "print('hello, world')"), "it spoke out of form"),
        (("/no/such/program",), "No such file"),
    ],
)
def test_a_decoder_that_does_not_start_ends_the_job_and_says_why(command: tuple[str, ...], why: str) -> None:
    with Guard(PREPROCESS, BUDGET, 2, command) as guard:
        for _ in range(3):  # and no place is lost by it
            with pytest.raises(AssayError) as caught:
                guard.decode(picture())
            assert caught.value.what == "the image decoder does not start"
            assert caught.value.why.startswith(why) or why in caught.value.why
            assert caught.value.where == " ".join(command)
            assert caught.value.fix
        assert pids(guard) == []


def test_a_decoder_that_never_gets_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.platform.decoder_child.START_S", 0.2)
    with (
        Guard(PREPROCESS, BUDGET, 1, (sys.executable, "-c", "import time; time.sleep(600)")) as guard,
        pytest.raises(AssayError, match="does not start") as caught,
    ):
        guard.decode(picture())
    assert "not ready in 0.2 s" in caught.value.why


def test_closing_ends_the_children_and_the_guard() -> None:
    guard = Guard(PREPROCESS, BUDGET, 2)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(guard.decode, [picture(number) for number in range(20)]))
    children = pids(guard)
    assert children
    guard.close()
    wait_until_gone(children)
    with pytest.raises(ValueError, match="closed"):
        guard.decode(picture())
    guard.close()  # again


def test_a_guard_that_is_let_go_leaves_no_children() -> None:
    guard = Guard(PREPROCESS, BUDGET, 1)
    guard.decode(picture())
    children = pids(guard)
    del guard
    wait_until_gone(children)


def test_children_outlive_the_thread_that_asked_first(guard: Guard) -> None:
    """Linux ends a child with the thread that started it: it must not be one that comes and goes."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(guard.decode, picture()).result()
    children = pids(guard)
    time.sleep(0.2)
    assert all(map(is_alive, children))


PARENT = """
import sys, threading
from pathlib import Path
from assay.platform.guard import Guard
from tests.platform.test_guard import BUDGET, PREPROCESS, pids, picture
from tests.platform.planted_decoder import PLANTED, order

tries = Path(sys.argv[1])
guard = Guard(PREPROCESS, BUDGET, 2, PLANTED)
guard.decode(picture())
threading.Thread(target=guard.decode, args=(order("spin", tries),), daemon=True).start()
while not list(tries.iterdir()):
    pass
guard.decode(picture())
print(*pids(guard), flush=True)
threading.Event().wait()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a child that hangs outlives a parent that was killed")
@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_its_parent(tries: Path, ended_by: signal.Signals) -> None:
    """One of them idle, and one hanging in C, deaf to the end of its stdin."""
    root = Path(__file__).parents[2]
    started = [sys.executable, "-c", PARENT, str(tries)]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=root) as parent:
        assert parent.stdout
        children = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        assert all(map(is_alive, children))
        parent.send_signal(ended_by)
    wait_until_gone(children)


# What a child has and may ---------------------------------------------------------------------------------------------


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


def test_the_parent_does_not_grow_with_hostile_images(tries: Path) -> None:
    hostile = [order(deed, tries) for deed in ("shout", "promise_much", "lie", "babble", "gorge")]
    with Guard(PREPROCESS, BUDGET, 2, PLANTED) as guard, ThreadPoolExecutor(4) as pool:
        list(pool.map(guard.decode, [picture()] * 8))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        list(pool.map(guard.decode, hostile))
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB
    assert len(list(tries.iterdir())) == 2 * len(hostile)


def test_no_descriptor_is_left_behind(tries: Path) -> None:
    def num_open() -> int:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())

    with Guard(PREPROCESS, BUDGET, 1, PLANTED) as guard:
        guard.decode(picture())
        before, threads = num_open(), threading.active_count()
        for _ in range(5):
            guard.decode(order("segfault", tries))
        guard.decode(picture())
        assert num_open() == before
        assert threading.active_count() == threads
