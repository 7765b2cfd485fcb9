import re

from assay.platform.faults import FAULTS, OK, Fault, FaultKind


def test_every_kind_has_its_facts() -> None:
    assert set(FAULTS) == set(FaultKind)
    assert all(facts.cause and facts.remedy for facts in FAULTS.values())


def test_kinds_are_what_stands_in_the_column() -> None:
    assert all(re.fullmatch(r"[A-Z][A-Z_]*", kind.value) and kind.value == kind.name for kind in FaultKind)
    assert OK not in {kind.value for kind in FaultKind}


def test_content_does_not_mend_itself_but_a_store_may() -> None:
    transient = {kind for kind, facts in FAULTS.items() if facts.transient}
    of_the_store = {FaultKind.GONE, FaultKind.CHANGED, FaultKind.FORBIDDEN, FaultKind.UNREACHABLE}
    assert transient == of_the_store | {FaultKind.STALE}


def test_a_remedy_that_is_a_retry_belongs_to_a_transient_fault() -> None:
    assert all(facts.transient for facts in FAULTS.values() if "--retry-faults" in facts.remedy)


def test_a_fault_without_detail() -> None:
    assert Fault(FaultKind.GONE) == Fault(FaultKind.GONE, "")
