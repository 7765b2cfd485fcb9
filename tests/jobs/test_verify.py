"""Verification finds what is planted: a lost row, a doubled one, one nobody planned, a contradicting verdict."""

import json
import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake

from assay.jobs.cli import main
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.verify import VerifySpec, verify
from assay.platform.errors import SpecError, StorageError


@pytest.fixture
def store(judged_store: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(judged_store, tmp_path / "store"))


def facts_of(store: Path, **more: object) -> dict[str, object]:
    return verify(VerifySpec.model_validate({"store": str(store), **more})).model_dump()


def test_a_whole_store_is_sound(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(store), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    counts = {name: facts[name] for name in ("planned", "ok", "faulted", "missing", "duplicated", "orphans")}
    assert counts == {"planned": 32, "ok": 30, "faulted": 2, "missing": 0, "duplicated": 0, "orphans": 0}
    assert len(facts["digest"]) == 64


@pytest.mark.parametrize("table", ["observations", "verdicts"])
def test_a_lost_row_is_missing(store: Path, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = facts_of(store)["digest"]
    DeltaTable(store / table).delete("uri like '%picture-00003%'")
    facts = facts_of(store)
    assert facts["missing"] == 1
    assert (facts["digest"] != before) == (table == "verdicts")
    assert main(["verify", str(store)]) == 5


@pytest.mark.parametrize("table", ["observations", "verdicts"])
def test_a_doubled_row_is_found(store: Path, table: str) -> None:
    rows = DeltaTable(store / table).to_pyarrow_table()
    twin = rows.filter(pc.match_substring(rows["uri"], "picture-00003"))
    write_deltalake(store / table, twin, mode="append")
    facts = facts_of(store)
    assert (facts["duplicated"], facts["missing"]) == (1, 0)


@pytest.mark.parametrize("shard", [0, 99])
def test_a_row_nobody_planned_is_found(store: Path, shard: int) -> None:
    rows = DeltaTable(store / "observations").to_pyarrow_table().slice(0, 1)
    stranger = rows.set_column(rows.schema.get_field_index("uri"), "uri", [["file:///stranger.jpg"]])
    stranger = stranger.set_column(stranger.schema.get_field_index("shard"), "shard", [[shard]])
    write_deltalake(store / "observations", stranger.cast(rows.schema), mode="append")
    assert facts_of(store)["unplanned"] == 1


def test_a_contradicting_verdict_is_found(store: Path) -> None:
    DeltaTable(store / "verdicts").update({"outcome": "'TRUNCATED'"}, predicate="uri like '%picture-00003%'")
    assert facts_of(store)["contradicting"] == 1


def test_an_orphan_is_counted_and_harms_nothing(store: Path) -> None:
    named = next((store / "verdicts" / "data").rglob("*.parquet"))
    shutil.copy(named, named.with_name("orphan.parquet"))
    facts = facts_of(store)
    assert (facts["orphans"], facts["missing"], facts["duplicated"]) == (1, 0, 0)


def test_the_digest_ignores_order_and_files_and_sees_decisions(store: Path) -> None:
    before = facts_of(store)["digest"]
    DeltaTable(store / "verdicts").optimize.compact()
    assert facts_of(store)["digest"] == before
    DeltaTable(store / "verdicts").update({"action": "'block'"}, predicate="uri like '%picture-00003%'")
    assert facts_of(store)["digest"] != before


def test_against_another_store_compares_scores(store: Path, judged_store: Path) -> None:
    assert facts_of(store, against=str(judged_store))["differing"] == 0
    table = DeltaTable(store / "verdicts")
    rows = table.to_pyarrow_table().to_pylist()
    for row in rows:
        if "picture-00003" in row["uri"]:
            row["scores"] = [(label, score + 2e-4) for label, score in row["scores"]]
    schema = table.to_pyarrow_table().schema
    write_deltalake(
        store / "verdicts", type(table.to_pyarrow_table()).from_pylist(rows, schema=schema), mode="overwrite"
    )
    assert facts_of(store, against=str(judged_store))["differing"] == 1


def test_a_store_without_runs_says_so(store: Path) -> None:
    shutil.rmtree(store / "runs")
    with pytest.raises(SpecError, match="nothing was judged"):
        facts_of(store)


def test_a_damaged_file_is_named_and_nothing_is_called_sound(store: Path) -> None:
    (store / "observations" / next(iter(DeltaTable(store / "observations").file_uris()))).unlink()
    facts = facts_of(store)
    [damaged] = facts["damaged"] if isinstance(facts["damaged"], tuple) else ()
    assert damaged.startswith("observations/data/")
    assert damaged.endswith(": gone")
    assert facts["missing"] == 8
    assert main(["verify", str(store)]) == 5


def test_compaction_leaves_the_digest_alone(store: Path, judged_store: Path) -> None:
    before = facts_of(store)
    compact(CompactSpec(store=str(store), segment_shards=4))
    after = facts_of(store, against=str(judged_store))
    assert after == before | {"differing": 0, "orphans": 8}


def test_a_damaged_other_store_is_no_measure(store: Path, judged_store: Path) -> None:
    named = next((store / "verdicts" / "data").rglob("*.parquet"))
    named.unlink()
    with pytest.raises(StorageError, match="assay repair"):
        facts_of(judged_store, against=str(store))
