"""Promoting and rolling back: what moves, what is written, what is refused, and that nothing else happens."""

from pathlib import Path

import pytest

from assay.platform.errors import RegistryError, SpecError
from assay.platform.release import Release, bundled_release
from assay.registry.place import RegistrySpec
from assay.registry.promotion import MoveFacts, PromoteSpec, RollbackSpec, promote, rollback
from assay.registry.registering import RegisterSpec, register
from assay.registry.registry import Registry

UNMEASURED = ("scorecard=none in tests", "golden=likewise")
ALL = (*UNMEASURED, "calibration=a test double", "diff=likewise")


@pytest.fixture
def two(local: RegistrySpec, release_dir: Path) -> RegistrySpec:
    """A registry with a calibrated release, version 1, and an uncalibrated one, version 2."""
    for directory in (bundled_release(), release_dir):
        register(Release.load(directory), RegisterSpec(registry=local))
    return local


def go(spec: RegistrySpec, release: str, *waive: str, **more: object) -> MoveFacts:
    return promote(PromoteSpec.model_validate({"release": release, "waive": waive, "registry": spec, **more}))


def test_what_the_gate_refuses_changes_nothing(two: RegistrySpec) -> None:
    refused = go(two, "1")
    assert not refused.moved
    assert [check.name for check in refused.refused] == ["scorecard", "golden"]
    assert refused.entry is None
    registry = Registry(two)
    assert registry.log.last() is None
    assert registry.models.pointed("release") == {}


def test_a_waiver_is_for_its_check_and_is_logged(two: RegistrySpec) -> None:
    assert [check.name for check in go(two, "1", UNMEASURED[0]).refused] == ["golden"]
    moved = go(two, "1", *ALL, reason="to begin with", by="ana")
    assert moved.moved
    entry = Registry(two).log.last()
    assert entry is not None
    assert (entry.by, entry.reason, entry.before) == ("ana", "to begin with", None)
    waived = {check.name: check.waived for check in entry.waived}
    assert waived == {"scorecard": "none in tests", "golden": "likewise"}, "what passes is not waived"
    registry = Registry(two)
    assert registry.models.pointed("release") == {"champion": 1}
    [run] = registry.runs.runs({"assay.kind": "promote"})
    assert run.id == entry.run
    assert run.tags["assay.check.golden"].startswith("waived")


@pytest.mark.parametrize("waive", ["golden", "golden=", "golden= ", "goldn=x", "=x", ""])
def test_a_waiver_needs_a_check_and_a_reason(two: RegistrySpec, waive: str) -> None:
    with pytest.raises(SpecError, match="cannot waive"):
        go(two, "1", waive)


def test_promoting_the_champion_again_writes_nothing(two: RegistrySpec) -> None:
    go(two, "1", *ALL)
    again = go(two, "1", *ALL)
    assert (again.moved, again.entry) == (True, 1)
    assert Registry(two).log.numbers() == [1]


def test_a_dry_run_asks_the_gate_only(two: RegistrySpec) -> None:
    asked = go(two, "1", *ALL, dry_run=True)
    assert not asked.moved
    assert not asked.refused
    assert len(asked.checks) == 5
    assert Registry(two).log.last() is None


def test_rollbacks_walk_back_and_promotions_walk_on(two: RegistrySpec) -> None:
    assert [go(two, one, *ALL).entry for one in ("1", "2", "1")] == [1, 2, 3]
    back = rollback(RollbackSpec(registry=two, reason="worse"))
    assert (back.after.version, back.entry) == (2, 4)
    assert rollback(RollbackSpec(registry=two)).after.version == 1
    with pytest.raises(SpecError, match="no earlier champion"):
        rollback(RollbackSpec(registry=two))
    registry = Registry(two)
    assert registry.models.pointed("release") == {"champion": 1}
    assert [one.action for one in registry.log.entries()] == ["promote"] * 3 + ["rollback"] * 2


def test_back_to_one_by_its_number(two: RegistrySpec) -> None:
    for one in ("1", "2"):
        go(two, one, *ALL)
    assert rollback(RollbackSpec(registry=two, to="1")).after.version == 1
    with pytest.raises(SpecError, match="no earlier champion"):
        rollback(RollbackSpec(registry=two, to="2"))
    with pytest.raises(SpecError, match="no registered release '7'"):
        go(two, "7")


def test_the_challenger_is_not_asked_and_stops_being_one_as_champion(two: RegistrySpec) -> None:
    go(two, "1", *ALL)
    challenging = go(two, "2", alias="challenger")
    assert challenging.moved
    assert challenging.checks == ()
    assert Registry(two).models.pointed("release") == {"champion": 1, "challenger": 2}
    go(two, "@challenger", *ALL)
    assert Registry(two).models.pointed("release") == {"champion": 2}


def test_what_was_deleted_is_not_gone_back_to(two: RegistrySpec) -> None:
    for one in ("1", "2"):
        go(two, one, *ALL)
    registry = Registry(two)
    registry.models._client.mlflow.delete_model_version("assay-release", "1")
    with pytest.raises(RegistryError, match="cannot go back to version 1") as told:
        rollback(RollbackSpec(registry=two))
    assert "deleted" in told.value.why
    assert registry.models.pointed("release") == {"champion": 2}


def test_people_see_who_is_champion_and_why(two: RegistrySpec) -> None:
    for one in ("1", "2"):
        go(two, one, *ALL, reason="<b>better | faster</b>")
    rollback(RollbackSpec(registry=two, reason="worse"))
    registry = Registry(two)
    told = registry.models._client.mlflow.get_registered_model("assay-release").description
    assert "Champion: version 1 (starter-" in told
    assert "No more: version 2 (hash-" in told
    assert "It passed the gate with entry 1" in told
    assert "**waived**: none in tests" in told
    assert "&lt;b&gt;better / faster" in told
    assert "<b>" not in told
    assert registry.log.uri in told
