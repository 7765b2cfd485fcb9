"""The process's end, by whatever hand: its exit code is its own, and if it ends without a word, its witness has one.

Ray's C++ core ends a process by `_Exit(1)` when it finds no other way, and the kernel by a signal: no handler of Python
runs then, and what native code said would be lost with the file it was kept in. Knows processes and descriptors; does
not know Ray, nor what is said.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

KEPT_BYTES = 1 << 16
"""What a witness tells at most, of the end of what was kept."""
_WITNESS = f"""
import os, sys
if not sys.stdin.buffer.read():
    size = os.fstat(KEPT).st_size
    kept = os.pread(KEPT, {KEPT_BYTES}, max(0, size - {KEPT_BYTES}))
    told = b"assay ended without a word: it was killed, or native code gave up. What is committed stays; run the same "
    sys.stderr.buffer.write(told + b"command again. Native code last said:\\n" + (kept or b"(nothing)\\n"))
"""


@dataclass
class _Here:
    """This process."""

    witness: "subprocess.Popen[bytes] | None" = None
    is_held_up: bool = False


_here = _Here()


@contextmanager
def witnessed(kept: int, terminal: int) -> Iterator[None]:
    """Within, should the process end without a word, a witness tells at `terminal` what is in the file `kept`.

    Both are descriptors.
    """
    typed = [sys.executable, "-I", "-S", "-c", _WITNESS.replace("KEPT", str(kept))]
    # In a session of its own, where no Ctrl-C comes; it waits for this process to let go of its standard input.
    with subprocess.Popen(  # noqa: S603  # our own words
        typed,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        pass_fds=(kept,),
        start_new_session=True,
    ) as witness:
        before, _here.witness = _here.witness, witness
        try:
            yield
        finally:
            _dismiss()
            _here.witness = before


def hold_up() -> None:
    """From now on something in this process would spoil an orderly end of it: a pipeline that will not end."""
    _here.is_held_up = True


def end(code: int) -> NoReturn:
    """End the process, all having been said."""
    if not _here.is_held_up:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    end_at_once(code)


def end_at_once(code: int) -> NoReturn:
    """End the process with nothing more said nor done."""
    _dismiss()
    os._exit(code)


def _dismiss() -> None:
    """Tell the witness that the process has had its word."""
    told = None if _here.witness is None else _here.witness.stdin
    if told is None or told.closed:
        return
    try:
        told.write(b".")
        told.close()
    except BrokenPipeError:  # somebody ended it before
        return
