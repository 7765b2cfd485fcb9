"""Sides for testing how sides are run in processes of their own."""

import sys

from infra.bench.race import Lap
from infra.bench.side import Task


class Steady:
    """Does its work in no time; prints, as libraries do."""

    def __init__(self, task: Task) -> None:
        self._images = task.images
        print("loading")

    def lap(self) -> Lap:
        print("working")
        return Lap(self._images, self._images, 0.5, facts={"threads": 1})

    def close(self) -> None: ...


class Unloadable(Steady):
    """Needs what is not installed."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        raise ModuleNotFoundError("No module named 'something'")


class Dying(Steady):
    """Its process ends amid the work."""

    def lap(self) -> Lap:
        sys.stderr.write("out of luck\n")
        sys.stderr.flush()
        sys.exit(3)
