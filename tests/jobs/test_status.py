"""How far a store is, as the command tells it."""

import json
from pathlib import Path

import pytest

from assay.jobs.cli import main


def test_status_counts_what_is_done(judged_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(judged_store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["planned"], facts["observed"], facts["shards"], facts["shards_done"]) == (32, 32, 4, 4)
    assert (facts["state"], facts["policy"]) == ("done", "strict")
    assert list(facts["judged"].values()) == [32]


def test_status_of_nothing_is_a_usage_error(tmp_path: Path) -> None:
    assert main(["status", str(tmp_path)]) == 2
