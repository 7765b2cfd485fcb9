"""Handmade and mutated files through the real guard: each ends as it must, and nothing else is harmed."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assay.platform.faults import OK, Fault, FaultKind
from assay.platform.guard import Guard
from assay.platform.images import Budget, Decoded, Preprocess
from tests.hostile.case import SIZE, TOLERANCE, Case, Samples, cubic, misfit, over, squash, still
from tests.hostile.icc import is_srgb_itself
from tests.hostile.jpeg import jpeg, resized
from tests.hostile.mutants import mutants, seeds
from tests.hostile.pictures import flat, gradient, stored_for, veil
from tests.hostile.table import handmade

ROOT = Path(__file__).parent.parent.parent
PREPROCESS = Preprocess(size=SIZE, fit="squash", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
BUDGET = Budget()
PARENT_GROWTH_MIB = 200
CASES = handmade()
SHORT, LONG = 500, 5000


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    """One guard for the whole table: what a case does to its decoder, the next ones would notice."""
    with Guard(PREPROCESS, BUDGET, decoders=1) as one:
        yield one


def wrong(case: Case, seen: Decoded | Fault) -> str:
    """How an outcome differs from the one written down; empty if it does not."""
    if isinstance(seen, Fault):
        return "" if seen.kind == case.outcome else f"{seen}, wanted {case.outcome}"
    if case.outcome != OK:
        return f"was read, wanted {case.outcome}"
    kinds = [view.kind for view in seen.views]
    return misfit(case, seen.pixels, kinds, (seen.width, seen.height), seen.frames)


@pytest.mark.parametrize("name", list(CASES))
def test_a_handmade_file_ends_as_written_down(guard: Guard, name: str) -> None:
    assert wrong(CASES[name], guard.decode(CASES[name].data)) == ""


def test_the_table_is_as_large_as_promised() -> None:
    sound = [case for case in CASES.values() if case.outcome == OK]
    assert len(CASES) >= 250
    assert len(sound) >= 60
    assert all(case.looks for case in sound)
    refusals = {case.outcome for case in CASES.values()} - {OK}
    content = {"EMPTY", "TRUNCATED", "CORRUPT", "UNSUPPORTED_FORMAT", "TOO_MANY_PIXELS"}
    assert refusals == content


# The judge is judged --------------------------------------------------------------------------------------------------


def test_a_wrong_picture_is_noticed() -> None:
    """What the table must be able to catch: a turn, a background, an exchanged channel, a few levels of grey."""
    picture = gradient()
    case = still("x", b"", picture)
    lossy = still("x", b"", picture, lossy=True)
    slips: list[Samples] = [picture[:, ::-1], np.rot90(picture), picture[:, :, ::-1], flat((0, 0, 0))]
    for slip in (*slips, np.clip(picture, 3, 255)):
        assert misfit(case, slip[None].astype(np.uint8), ["whole"], (SIZE, SIZE), 1)
    for slip in (*slips, picture * 0.95 + 12):
        assert misfit(lossy, slip[None].astype(np.uint8), ["whole"], (SIZE, SIZE), 1)
    assert misfit(case, picture[None], ["whole"], (SIZE, SIZE), 1) == ""
    assert misfit(case, picture[None], ["whole"], (SIZE, SIZE), 2)
    assert misfit(case, picture[None], ["frame"], (SIZE, SIZE), 1)
    assert misfit(case, picture[None], ["whole"], (SIZE, 9), 1)
    only_white = over(veil().astype(np.float64), 255).astype(np.uint8)
    assert misfit(still("x", b"", veil()), only_white[None], ["whole"], (SIZE, SIZE), 1)


def test_the_references_own_arithmetic() -> None:
    assert is_srgb_itself()
    assert np.abs(squash(gradient().astype(np.float64)) - gradient()).max() < 1e-9
    for length in (1, 3, SIZE, 211, 10_000):
        assert np.allclose(cubic(length).sum(axis=1), 1)
    for orientation, corner in {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0)}.items():
        # Row 0 and column 0 of what is stored, by the standard: top left, top right, bottom right, bottom left.
        assert (stored_for(gradient(), orientation)[0, 0] == gradient()[corner]).all()
    assert TOLERANCE == 2.0


def test_a_decoder_that_would_work_for_minutes_is_stopped() -> None:
    """A real one: 20,000 scans, each of 40 bytes and each once over all the blocks of a large picture."""
    small = jpeg(gradient(), progressive=True)
    first = small.index(b"\xff\xda")
    scan = small[first : small.index(b"\xff\xc4", first)][:40]
    data = resized(small[:first] + scan * 20_000 + small[first:], 4000, 4000)
    with Guard(PREPROCESS, Budget(max_seconds=2.0), decoders=1) as guard:
        seen = guard.decode(data)
        assert isinstance(seen, Fault)
        assert seen.kind is FaultKind.TOO_SLOW
        assert wrong(CASES["png rgb alpha"], guard.decode(CASES["png rgb alpha"].data)) == ""


# Mutants --------------------------------------------------------------------------------------------------------------

RUN_MUTANTS = """
import json, sys
from tests.platform.test_hostile_images import survive
print(json.dumps(survive(int(sys.argv[1]), int(sys.argv[2]))))
"""


def survive(count: int, seed: int) -> dict[str, object]:
    """Decode mutants in this process's own guard: the outcomes, and how far this process grew, MiB."""
    outcomes: Counter[str] = Counter()
    good = CASES["png rgb alpha"]
    with Guard(PREPROCESS, BUDGET, decoders=1) as guard:
        guard.decode(good.data)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew: that of building the files is past
        before = memory_mib("VmRSS")
        for name, data in mutants(count, seed):
            seen = guard.decode(data)
            assert isinstance(seen, Decoded | Fault), name
            outcomes[OK if isinstance(seen, Decoded) else str(seen.kind)] += 1
            strange = isinstance(seen, Fault) and seen.kind in STRANGE
            if strange:
                print(f"{name}: {seen}", file=sys.stderr)  # the seed is worth keeping
        grown = memory_mib("VmHWM") - before
        assert wrong(good, guard.decode(good.data)) == "", "the guard goes on"
    return {"outcomes": dict(outcomes), "grown_mib": grown}


STRANGE = (FaultKind.DECODER_CRASHED, FaultKind.TOO_MUCH_MEMORY, FaultKind.TOO_SLOW)


def memory_mib(field: str) -> float:
    """A line of /proc/self/status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def test_mutants_are_many_kinds_and_repeatable() -> None:
    assert len(seeds()) >= 12
    first, again = dict(mutants(200, seed=1)), dict(mutants(200, seed=1))
    assert first == again
    assert first != dict(mutants(200, seed=2))
    untouched = sum(data in seeds().values() for data in first.values())
    assert untouched <= 4, "a mutant that is its seed shows nothing"


@pytest.mark.parametrize(
    ("count", "seed"), [(SHORT, 3), pytest.param(LONG, 4, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])]
)
def test_mutants_harm_nobody(count: int, seed: int) -> None:
    """In a process of its own, so that its memory is that of the guard's parent and of nothing else."""
    command = [sys.executable, "-c", RUN_MUTANTS, str(count), str(seed)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-4000:]
    told = json.loads(run.stdout.splitlines()[-1])
    print(f"{count} mutants of seed {seed}: {told}\n{run.stderr}")
    assert sum(told["outcomes"].values()) == count
    assert told["grown_mib"] <= PARENT_GROWTH_MIB
    assert told["outcomes"].get(OK, 0) > count / 50, "some survive their mutation, else nothing was tried"
    assert len(told["outcomes"]) >= 4
