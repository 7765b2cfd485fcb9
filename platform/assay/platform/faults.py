"""Why one image has no verdict of its own: the typed faults, in one table.

Knows which faults exist, whether trying again can help, and what to tell people. Does not know how they are found
(`images.py` and `guard.py` for content, `fetch.py` for fetching; `STALE` is no image's own fault).
"""

from dataclasses import dataclass
from enum import StrEnum

OK = "ok"
"""The outcome of an image without a fault."""


class FaultKind(StrEnum):
    """The outcome of an image that could not be observed. The value is what stands in the `outcome` column."""

    EMPTY = "EMPTY"
    TRUNCATED = "TRUNCATED"
    CORRUPT = "CORRUPT"
    UNSUPPORTED_FORMAT = "UNSUPPORTED_FORMAT"
    TOO_LARGE = "TOO_LARGE"
    TOO_MANY_PIXELS = "TOO_MANY_PIXELS"
    TOO_SLOW = "TOO_SLOW"
    TOO_MUCH_MEMORY = "TOO_MUCH_MEMORY"
    DECODER_CRASHED = "DECODER_CRASHED"
    GONE = "GONE"
    CHANGED = "CHANGED"
    FORBIDDEN = "FORBIDDEN"
    UNREACHABLE = "UNREACHABLE"
    STALE = "STALE"


@dataclass(frozen=True, slots=True)
class FaultFacts:
    """What is known of a kind of fault: whether `--retry-faults` fetches it again, its cause, and the remedy."""

    transient: bool
    cause: str
    remedy: str


FAULTS: dict[FaultKind, FaultFacts] = {
    FaultKind.EMPTY: FaultFacts(False, "the object has no bytes", "upload it again, or leave it out with --exclude"),
    FaultKind.TRUNCATED: FaultFacts(False, "the file ends before the picture does", "upload it again"),
    FaultKind.CORRUPT: FaultFacts(
        False, "the decoder refused the content", "look at the detail; convert it or upload it again"
    ),
    FaultKind.UNSUPPORTED_FORMAT: FaultFacts(
        False,
        "not one of the image formats read",
        "leave it out with --exclude; HEIC needs the `heic` extra, tars and Parquet files of images need --packed",
    ),
    FaultKind.TOO_LARGE: FaultFacts(
        False, "more bytes than the budget", "raise --budget.max-bytes if the file is trusted"
    ),
    FaultKind.TOO_MANY_PIXELS: FaultFacts(
        False,
        "more pixels than the budget (a decompression bomb looks like this)",
        "raise --budget.max-pixels if the file is trusted",
    ),
    FaultKind.TOO_SLOW: FaultFacts(False, "decoding took longer than the budget", "raise --budget.max-seconds"),
    FaultKind.TOO_MUCH_MEMORY: FaultFacts(
        False, "decoding took more memory than the budget", "raise --budget.max-memory if the file is trusted"
    ),
    FaultKind.DECODER_CRASHED: FaultFacts(
        False, "the decoder broke down over this file", "look at the detail; report it, and keep the file to itself"
    ),
    FaultKind.GONE: FaultFacts(
        True, "deleted between listing and fetching", "run the same command again: a new listing leaves it out"
    ),
    FaultKind.CHANGED: FaultFacts(
        True, "overwritten between listing and fetching", "run the same command again: a new listing has the new etag"
    ),
    FaultKind.FORBIDDEN: FaultFacts(
        True, "the store refuses this one object", "grant read access, then --retry-faults"
    ),
    FaultKind.UNREACHABLE: FaultFacts(True, "the store kept failing for this object", "run again with --retry-faults"),
    FaultKind.STALE: FaultFacts(
        True,
        "observed by an older encoder only, to be encoded again (`assay migrate`)",
        "run again with --retry-faults",
    ),
}
"""Every kind of fault, with its facts. The README's table is tested against this one."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One image's fault: its kind and a short detail (never image content, never a secret)."""

    kind: FaultKind
    detail: str = ""
