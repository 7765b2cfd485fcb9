"""What is known of one stored object without reading it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One stored object: its name below the place that was listed, its size, and when it was written (seconds since
    the epoch, by the clock of the store)."""

    name: str
    size: int
    modified: float
