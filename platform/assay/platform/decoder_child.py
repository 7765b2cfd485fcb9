"""One decoder process seen from outside: asked over pipes, within a deadline, and killed when it does not answer.

Knows processes, pipes and deadlines, and how a process ended. Does not know what decoding is, nor that images are tried
twice (`guard.py`). A child is trusted with nothing: it gets no secret, and what it says is read as data within bounds.
"""

import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from assay.platform.decoder_process import HEADER, MAX_ANSWER_BYTES, READY, REQUEST, SETTINGS, Answer, Settings
from assay.platform.faults import FAULTS, Fault, FaultKind
from assay.platform.images import Decoded
from assay.platform.views import MAX_VIEWS

START_S = 60.0
"""A Python on a busy machine or a slow disk takes seconds to start; here it takes 0.2."""
DYING_S = 1.0
"""Between closing its pipes and being dead."""
MAX_LAST_WORDS = 65_536  # bytes: what a pipe holds
PIPE_BYTES = 2**20
KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "LANG")
"""All a child has of our environment: it needs to find Python and its libraries."""


@dataclass(frozen=True, slots=True)
class Strike:
    """A try that ended without an answer: the fault it would be, and how it ended."""

    kind: FaultKind
    how: str

    def after(self, first: "Strike") -> Fault:
        """The fault of an image whose first try was no better."""
        how = f"{self.how}, twice" if self.how == first.how else f"{first.how}, then {self.how}"
        return Fault(self.kind, how)


class DecoderChild:
    """One decoder process and its pipes. One thread at a time."""

    def __init__(self, command: Sequence[str], settings: Settings) -> None:
        self._settings = settings
        self._process = subprocess.Popen(  # noqa: S603  # our own module, or the caller's own command
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(),
        )
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._requests, self._answers = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._errors = self._process.stderr
        self._writable, self._readable = select.poll(), select.poll()
        self._writable.register(self._requests, select.POLLOUT)
        self._readable.register(self._answers, select.POLLIN)
        for pipe in (self._requests, self._answers):
            os.set_blocking(pipe, False)
            if sys.platform == "linux":
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def greet(self) -> str:
        """Wait until it is ready; the answer is empty, or why it is not."""
        settings, deadline = self._settings.model_dump_json().encode(), time.monotonic() + START_S
        try:
            self._send(SETTINGS.pack(len(settings)) + settings, deadline)
            if self._receive(len(READY), deadline) == READY:
                self._errors.close()
                return ""
            why = "it spoke out of form"
        except TimeoutError:
            why = f"not ready in {START_S:g} s"
        except (BrokenPipeError, EOFError):
            why = self._death().how
        self._process.kill()
        return f"{why}: {self._last_words()}"

    def is_idle(self) -> bool:
        """Whether it lives and has nothing to say."""
        return not self._readable.poll(0)

    def decode(self, data: bytes, seconds: float) -> Decoded | Fault | Strike:
        """Ask it once, for so long. After a strike it must be ended."""
        deadline = time.monotonic() + seconds
        try:
            self._send(REQUEST.pack(len(data)) + data, deadline)
            seen = self._answer(deadline)
        except TimeoutError:
            return Strike(FaultKind.TOO_SLOW, f"no answer in {seconds:.3g} s")
        except (BrokenPipeError, EOFError):
            return self._death()
        except ValueError:  # pydantic's, or our own below
            return Strike(FaultKind.DECODER_CRASHED, "answer out of form")
        if isinstance(seen, Fault) and seen.kind is FaultKind.TOO_MUCH_MEMORY:
            return Strike(seen.kind, seen.detail)  # perhaps the images before have left too little
        return seen

    def end(self) -> None:
        """Kill it and leave nothing behind. Again is harmless."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                pipe.close()

    def _answer(self, deadline: float) -> Decoded | Fault:
        length, num_views = HEADER.unpack(self._receive(HEADER.size, deadline))
        if length > MAX_ANSWER_BYTES or num_views > MAX_VIEWS:
            raise ValueError("longer than any answer")
        answer = Answer.model_validate_json(self._receive(length, deadline))
        if not _is_plausible(answer, num_views):
            raise ValueError("contradicts itself")
        edge = self._settings.preprocess.size
        pixels = np.empty((num_views, edge, edge, 3), np.uint8)
        self._receive_into(pixels.reshape(-1).data, deadline)
        return answer.seen(pixels)

    def _death(self) -> Strike:
        """How it ended, that closed its pipes."""
        try:
            code = self._process.wait(DYING_S)
        except subprocess.TimeoutExpired:
            return Strike(FaultKind.DECODER_CRASHED, "stopped listening")
        if code == -signal.SIGKILL:  # not by us: the kernel does it, for memory
            return Strike(FaultKind.TOO_MUCH_MEMORY, "killed by the system")
        names = {number.value: number.name for number in signal.Signals}
        how = f"died of {names.get(-code, -code)}" if code < 0 else f"exited with {code}"
        return Strike(FaultKind.DECODER_CRASHED, how)

    def _last_words(self) -> str:
        """The last line a dead child wrote to stderr."""
        lines = self._errors.read(MAX_LAST_WORDS).decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "no words")

    def _send(self, data: bytes, deadline: float) -> None:
        # Tried before it is waited for: mostly there is room, and each call lets go of the interpreter.
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._requests, left) :]
            except BlockingIOError:
                _wait(self._writable, deadline)

    def _receive(self, length: int, deadline: float) -> bytearray:
        data = bytearray(length)
        self._receive_into(memoryview(data), deadline)
        return data

    def _receive_into(self, left: memoryview, deadline: float) -> None:
        while left:
            try:
                count = os.readv(self._answers, [left])
            except BlockingIOError:
                _wait(self._readable, deadline)
                continue
            if not count:
                raise EOFError
            left = left[count:]


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    # One thread: on a node of 64 cores OpenBLAS would take gigabytes of address space for its own.
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return kept | threads | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def _wait(poller: select.poll, deadline: float) -> None:
    left_s = deadline - time.monotonic()
    if left_s <= 0 or not poller.poll(left_s * 1000):
        raise TimeoutError


def _is_plausible(answer: Answer, num_views: int) -> bool:
    """Whether the parts of an answer fit each other, and say what a decoder can know."""
    if answer.fault is not None:
        return num_views == 0 and not FAULTS[answer.fault].transient  # those are of fetching
    whole = answer.format and answer.width and answer.height and answer.frames
    return bool(whole) and num_views == len(answer.views) > 0
