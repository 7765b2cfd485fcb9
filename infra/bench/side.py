"""A side in a process of its own: libraries, threads and memory of one never touch another's.

Knows how the process is started and asked for laps. `side_process.py` is the process. Does not know what it does.
"""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.platform.spec import Spec
from infra.bench.race import Lap, SideError

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 1800.0
"""Seconds of silence after which a side is given up: a lap of the longest part takes some ten minutes."""


class Task(Spec):
    """The work of every side alike."""

    pictures: str
    """Folder of the images."""
    images: int
    release: str
    """Folder of the release whose encoder is used."""
    batch: int
    threads: int
    """Of decoding, and of the encoder's arithmetic."""
    scratch: str
    """A folder to write results to."""
    device: str = "cpu"
    """Of the encoder: cpu or cuda."""
    from_first_result: bool = False
    """Whether sides that load the encoder amid their work start the clock at the first result: loading is start-up.
    What is decoded ahead by then is a few batches, nothing beside a real encoder; with the null one, which loads at
    once, it would be a gift, so the clock starts with the first fetch."""

    def paths(self) -> list[Path]:
        """The images, in order of name."""
        return sorted(Path(self.pictures).rglob("*.jpg"))[: self.images]


class ChildSide:
    """A side named `module:Class`, made from a task in a child process, and kept from lap to lap."""

    def __init__(self, name: str, task: Task, log: Path) -> None:
        self._log = log
        began = time.monotonic()
        with log.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "infra.bench.side_process", name, task.model_dump_json()],
                cwd=ROOT,
                env={**os.environ, **_quiet(task.threads)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        try:
            self._answer()
        except SideError:
            self.close()
            raise
        self.startup_s = time.monotonic() - began

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def lap(self) -> Lap:
        """Order one lap.

        Raises:
            SideError: the process failed; with its own words.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("lap\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise SideError(f"its process ended: {self._last_words()}") from error
        told = self._answer()
        return Lap(**{**told, "startup_s": told["startup_s"] or self.startup_s})

    def close(self) -> None:
        """End the process: its orders end."""
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _answer(self) -> Mapping[str, Any]:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], LIMIT_S)[0]:  # an answer is one line, never half of one
            self._process.kill()
            raise SideError(f"stands still: no word for {LIMIT_S:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            raise SideError(f"its process ended: {self._last_words()}")
        told: dict[str, Any] = json.loads(line)
        if "failed" in told:
            raise SideError(str(told["failed"]))
        return told

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "it said nothing"


def _quiet(threads: int) -> dict[str, str]:
    """The same threads for all, and no word to anybody's analytics."""
    return {"OMP_NUM_THREADS": str(threads), "DO_NOT_TRACK": "1", "RAY_USAGE_STATS_ENABLED": "0"}
