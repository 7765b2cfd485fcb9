"""What became of an image that tests fetched."""

from assay.platform.faults import Fault, FaultKind

BUDGET = 1000


def kind_of(found: bytes | Fault) -> FaultKind:
    assert isinstance(found, Fault), found
    return found.kind
