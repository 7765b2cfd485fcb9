"""The guard, with real children that really break: what each breakage costs, and whom."""

import io
import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.platform.faults import FAULTS, Fault, FaultKind
from assay.platform.guard import Guard
from assay.platform.images import Budget, Decoded, decode
from tests.platform.guard_watch import (
    BUDGET,
    CRASHED,
    GREEDY,
    HUNG,
    MIB,
    PREPROCESS,
    picture,
    pids,
    same,
    wait_until_gone,
)
from tests.platform.planted_decoder import PLANTED, order


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
