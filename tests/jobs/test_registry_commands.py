"""`assay registry doctor` and `assay release copy` as people and scripts meet them: what is printed, and exit codes."""

import json
import re
from pathlib import Path

import pytest

from assay.jobs.registry_commands import copy, doctor
from assay.registry.copying import CopySpec
from assay.registry.examination import ExamineSpec
from assay.registry.place import RegistrySpec
from assay.registry.registry import Registry
from tests.small_registry import small_registry


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RegistrySpec:
    """Two releases, both of them champion once."""
    return small_registry(tmp_path_factory.mktemp("registry"), 2, promoted=2)


def test_doctor_tells_mends_and_ends_with_5_while_something_is_left(
    spec: RegistrySpec, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert doctor(ExamineSpec(registry=spec)) == 0
    assert "bad" not in capsys.readouterr().out
    Registry(spec).models.point("release", "champion", 1)
    assert doctor(ExamineSpec(registry=spec)) == 5
    told = capsys.readouterr().out
    assert re.search(r"^ *bad +alias champion", told, re.MULTILINE)
    assert "--mend" in told
    assert doctor(ExamineSpec(registry=spec, mend=True)) == 0
    assert re.search(r"^ *mended +alias champion", capsys.readouterr().out, re.MULTILINE)
    assert doctor(ExamineSpec(registry=spec), as_json=True) == 0
    captured = capsys.readouterr()
    assert {one["well"] for one in json.loads(captured.out)["findings"]} == {True}
    assert captured.err == ""


def test_copy_tells_what_is_next(
    spec: RegistrySpec, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    target = spec.model_copy(update={"name": "production", "cache": tmp_path / "cache"})
    asked = CopySpec(release="@champion", registry=spec, to=target)
    assert copy(asked) == 0
    told = capsys.readouterr().out
    assert "is models:/production-release/1 of sqlite:///" in told
    assert "assay release promote 1" in told
    assert copy(asked, as_json=True) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["uri"] == "models:/production-release/1"
    assert captured.err == ""
