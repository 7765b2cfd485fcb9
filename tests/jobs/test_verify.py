"""Verification finds what is planted: a lost row, a doubled one, one nobody planned, a contradicting verdict."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.cli import main
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.manifest import Generation
from assay.jobs.verify import SCORE_TOLERANCE, SCORED_STRIDE, VerifySpec, _decided, _differing, _Evidence, verify
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


# Comparing two stores, in memory


@dataclass
class Told:
    """What verification reads of a store: generations, and decisions by shard."""

    known: list[Generation]
    rows: dict[int, list[dict[str, object]]]
    damaged: tuple[str, ...] = ()
    asked: list[range] = field(default_factory=list)

    def decisions(self, shards: range, *, scores: bool) -> list[dict[str, object]]:
        assert scores
        self.asked.append(shards)
        found = [row for shard in shards for row in self.rows.get(shard, [])]
        return found[::-1]  # a table has no order


def told_of(decided: dict[str, tuple[str, float]], generation_of: list[int], cut: int, root: str) -> Told:
    """Decisions by name as a store has them: spread over generations, cut into shards."""
    known: list[Generation] = []
    rows: dict[int, list[dict[str, object]]] = {}
    first = 0
    for number in sorted(set(generation_of) or {0}):
        mine = sorted(name for name, of in zip(decided, generation_of, strict=False) if of == number)
        shards = -(-len(mine) // cut)
        for at, name in enumerate(mine):
            action, score = decided[name]
            row: dict[str, object] = {
                "uri": f"{root}/{name}",
                "etag": "e",
                "outcome": "ok",
                "action": action,
                "scores": [("x", score)],
            }
            rows.setdefault(first + at // cut, []).append(row)
        listed = {"listed": len(mine), "images": len(mine), "bytes": 0, "parts": [], "source": root, "root": root}
        span = {"number": len(known), "created": "", "first_shard": first, "shards": shards}
        known.append(Generation.model_validate(listed | span))
        first += shards
    return Told(known, rows)


DECIDED = st.dictionaries(
    st.text("ab/é\U0001f600", min_size=1, max_size=4),
    st.tuples(st.sampled_from(["pass", "block"]), st.sampled_from([0.0, 0.00005, 0.5])),
    max_size=12,
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(DECIDED, DECIDED, st.lists(st.integers(0, 2), min_size=24, max_size=24), st.integers(1, 3), st.integers(1, 4))
def test_two_stores_are_compared_as_if_they_were_in_memory(
    one: dict[str, tuple[str, float]],
    other: dict[str, tuple[str, float]],
    spread: list[int],
    cut: int,
    other_cut: int,
) -> None:
    other = other | dict(list(one.items())[::2])
    mine = told_of(one, spread[: len(one)], cut, "s3://a")
    theirs = told_of(other, spread[::-1][: len(other)], other_cut, "file:///b")
    wanted = sum(
        name not in one
        or name not in other
        or one[name][0] != other[name][0]
        or abs(one[name][1] - other[name][1]) > SCORE_TOLERANCE
        for name in one.keys() | other.keys()
    )
    assert _differing(cast("_Evidence", mine), cast("_Evidence", theirs)) == wanted


def test_comparing_holds_a_few_shards_at_a_time() -> None:
    decided = {f"{number:05d}": ("pass", 0.5) for number in range(1000)}
    told = told_of(decided, [0] * 500 + [1] * 500, 2, "s3://a")
    rows = _decided(cast("_Evidence", told))
    next(rows)
    assert told.asked == [range(SCORED_STRIDE), range(250, 250 + SCORED_STRIDE)], "one piece of each generation"
    assert sum(1 for _ in rows) == 999
    assert max(map(len, told.asked)) == SCORED_STRIDE


def test_a_damaged_other_store_is_no_measure(store: Path, judged_store: Path) -> None:
    named = next((store / "verdicts" / "data").rglob("*.parquet"))
    named.unlink()
    with pytest.raises(StorageError, match="assay repair"):
        facts_of(judged_store, against=str(store))
