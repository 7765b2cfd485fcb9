"""How the process ends: with its own code, and if without a word, with its witness's."""

import subprocess
import sys

import pytest

WITNESSED = """
import atexit, os, signal, sys, tempfile
from assay.jobs.ending import end, end_at_once, hold_up, witnessed
atexit.register(lambda: print("in order"))
with tempfile.TemporaryFile() as kept, witnessed(kept.fileno(), 2):
    os.write(kept.fileno(), b"E the reason" + bytes([10]))
    {within}
{after}
"""


def ended(within: str = "pass", after: str = "pass") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a process that did so."""
    typed = [sys.executable, "-c", WITNESSED.format(within=within, after=after)]
    done = subprocess.run(typed, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("within", "code"),
    [("os._exit(1)", 1), ("os.kill(os.getpid(), signal.SIGKILL)", -9), ("os.abort()", -6)],
)
def test_an_end_without_a_word_has_a_witness(within: str, code: int) -> None:
    found, out, told = ended(within)
    assert (found, out) == (code, "")
    assert "assay ended without a word" in told
    assert told.endswith("E the reason\n")


@pytest.mark.parametrize(
    ("within", "after", "code"),
    [("pass", "end(3)", 3), ("end(3)", "pass", 3), ("pass", "pass", 0)],
)
def test_an_orderly_end_has_none(within: str, after: str, code: int) -> None:
    assert ended(within, after) == (code, "in order\n", "")


def test_an_end_at_once_has_none() -> None:
    assert ended("end_at_once(4)") == (4, "", "")


def test_what_would_spoil_an_orderly_end_does_not() -> None:
    spoiler = "atexit.register(os._exit, 1); print('said')"
    assert ended(spoiler, "end(4)")[0] == 1, "what native code does to a process"
    assert ended(spoiler, "hold_up(); end(4)") == (4, "said\n", "")


def test_a_long_log_is_told_from_its_end() -> None:
    _, _, told = ended("os.write(kept.fileno(), b'x' * 100_000); os._exit(1)")
    assert "E the reason" not in told
    assert 65_000 < told.count("x") < 66_000


def test_a_witness_that_was_killed_is_not_missed() -> None:
    kill = "import assay.jobs.ending as e; e._here.witness.kill(); e._here.witness.wait()"
    assert ended(kill, "end(3)") == (3, "in order\n", "")


def test_ctrl_c_does_not_reach_the_witness() -> None:
    own = "import assay.jobs.ending as e; print(os.getpgid(e._here.witness.pid) == os.getpgrp())"
    assert ended(own)[1] == "False\nin order\n"
