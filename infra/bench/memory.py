"""The memory of a process and all its children, sampled while they run.

Knows Linux's /proc: shared pages are counted once (PSS), so the object store counts as what is used of it. Elsewhere
nothing is known, and it says so.
"""

import threading
from collections import defaultdict
from pathlib import Path
from typing import Self

PROC = Path("/proc")
EVERY_S = 1.0


def family(root: int) -> list[int]:
    """`root` and all below it."""
    children: dict[int, list[int]] = defaultdict(list)
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (parent := _parent(folder)) is not None:
            children[parent].append(int(folder.name))
    found = [root]
    for one in found:  # grows while it is walked
        found += children[one]
    return found


def _parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended by now
        return None


def family_bytes(root: int) -> int:
    """Memory of `root` and all below it."""
    return sum(_bytes(one) for one in family(root))


def _bytes(process: int) -> int:
    try:
        lines = (PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended by now
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


class PeakMemory:
    """The greatest memory that a process and its children had while the context was open. `peak` is 0 if unknown."""

    def __init__(self, root: int) -> None:
        self.peak = 0
        self._root, self._over = root, threading.Event()
        self._watching = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> Self:
        if PROC.is_dir():
            self._watching.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._watching.is_alive():
            self._watching.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, family_bytes(self._root))
            if self._over.wait(EVERY_S):
                return
