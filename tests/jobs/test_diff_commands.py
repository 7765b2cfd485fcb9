"""`assay diff` for people and for scripts: tables, one JSON object, and an exit code."""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import main
from tests.jobs.change_stores import judge_by
from tests.jobs.test_diff import IMAGES, Two


@pytest.fixture(scope="module")
def typed(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    two = Two(tmp_path_factory.mktemp("two"))
    judge_by(two.store, two.before, "plain")
    judge_by(two.store, two.before, "firm")
    judge_by(two.store, two.after, "plain")
    return ["diff", two.store.shown, "--from", two.before.id, "--to", str(two.after.directory)]


def test_people_read_what_moved(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*typed, "--images-per-day", "10000"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "scored anew: red_things" in out
    assert f"policy plain: {IMAGES} images on both sides" in out
    assert "reviews a day: " in out
    assert "red_things text" in out
    assert "blue_things" not in out
    assert "not compared: policy firm (only --from)" in out


def test_scripts_read_one_object(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*typed, "--json"]) == 0
    told = capsys.readouterr()
    facts = json.loads(told.out)
    (change,) = facts["policies"]
    assert change["moves"]["newly_flagged"] == sum(change["moves"]["counts"][0][1:]) > 0
    assert told.err == ""


def test_over_a_budget_is_exit_code_3_and_named(
    typed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "d.html"
    assert main([*typed, "--budget.newly-flagged", "0.01", "--html", str(page), "--no-trace"]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "over budget: policy plain, newly_flagged: " in out
    assert "1.00% allowed" in out
    assert "Over budget." in page.read_text()
    assert main([*typed, "--budget.newly-flagged", "0.9", "--json"]) == 0


def test_usage_is_exit_code_2(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*typed, "--policy", "firm"]) == 2
    assert main([*typed, "--budget.recall-drop", "0.1"]) == 2
    assert main(typed[:4]) == 2
    told = capsys.readouterr()
    assert "recall-drop needs --golden" in told.err
    assert told.out.count("{") == 0


def test_the_same_release_twice(typed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*typed[:4], "--to", typed[3]]) == 0
    out = capsys.readouterr().out
    assert "both sides are the same" in out
    assert "no decision of any label changed" in out
