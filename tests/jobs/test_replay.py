"""A verdict is made again from its stored row: the same to the last bit, with its whole path told; or what is not."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.jobs.cli import main
from assay.jobs.datafile import write_observations
from assay.jobs.judged import find_judged
from assay.jobs.replay import ReplayFacts, ReplaySpec, replay
from assay.jobs.replay_rows import rows_of_golden
from assay.jobs.store import Store
from assay.platform.errors import GoldenError, SpecError
from assay.platform.golden import GOLDEN, GoldenSet, Split
from assay.platform.rows import OBSERVATIONS
from assay.platform.storage import Storage
from infra.bench.audit_releases import audit_release, production
from infra.bench.stored_corpus import make_stored
from tests.golden_store import COPIES, PICTURES, judged
from tests.jobs.change_stores import judge_by, observed_store, release_of
from tests.jobs.colour_releases import LIBRARY, POLICY, colour_row, write_golden
from tests.serial_backfill import reaudit_alone
from tests.store_doubles import data_file

IMAGES = PICTURES + COPIES + 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, release_dir: Path) -> Path:
    folder = tmp_path_factory.mktemp("replayed")
    with pytest.MonkeyPatch.context() as patch:
        judged(folder, release_dir, patch)
    return folder


def replayed(store: Path, **how: object) -> ReplayFacts:
    return replay(ReplaySpec.model_validate({"store": str(store), **how}))


def verdict_rows(store: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = Store.open(Storage(), str(store)).verdicts.dataset().to_table().to_pylist()
    return rows


def test_the_whole_path_of_one_verdict(folder: Path) -> None:
    flagged = next(row for row in verdict_rows(folder / "store") if row["findings"])
    facts = replayed(folder / "store", uri=flagged["uri"])
    assert facts.is_exact
    assert (facts.uri, facts.action, facts.outcome, facts.views) == (
        flagged["uri"],
        flagged["action"],
        "ok",
        ("whole",),
    )
    [first, *_] = findings = flagged["findings"]
    paths = {path.label: path for path in facts.labels}
    assert paths.keys() == dict(flagged["scores"]).keys()
    path = paths[first["label"]]
    assert (path.concept, path.view, path.action) == (first["concept"], first["view"], first["action"])
    assert (path.prompts[0].text, path.counters[0].text) == (first["prompt"], first["counter"])
    assert path.score == pytest.approx(first["score"], abs=1e-7)
    assert path.margin == pytest.approx(20 * path.similarity - path.against)
    assert path.review_at is not None
    assert path.score >= path.review_at
    assert {path.label for path in facts.labels if path.action != "pass"} == {one["label"] for one in findings}


def test_raw_scores_are_the_formula_s(folder: Path) -> None:
    row = next(row for row in verdict_rows(folder / "store") if row["outcome"] == "ok")
    scores = dict(row["scores"])
    for path in replayed(folder / "store", uri=row["uri"]).labels:
        assert path.raw == pytest.approx(scores[path.label], abs=1e-5)  # the hash release has no calibration


def test_a_fault_has_a_verdict_too(folder: Path) -> None:
    fault = next(row for row in verdict_rows(folder / "store") if row["outcome"] != "ok")
    facts = replayed(folder / "store", uri=fault["uri"])
    assert facts.is_exact
    assert (facts.outcome, facts.action, facts.labels) == (fault["outcome"], fault["action"], ())


def test_every_verdict_of_a_store(folder: Path) -> None:
    facts = replayed(folder / "store")
    assert (facts.replayed, facts.exact, facts.differing) == (IMAGES, IMAGES, ())


def test_a_thousand_of_a_large_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = production(16)
    plain = audit_release(tmp_path / "plain", "plain", tree)
    release = audit_release(tmp_path / "release", "audit", tree, plain)
    make_stored(tmp_path / "store", 16_384, release)
    reaudit_alone({"store": str(tmp_path / "store"), "release": str(release.directory)}, monkeypatch)
    facts = replayed(tmp_path / "store", sample=1000, seed=3)
    assert (facts.replayed, facts.exact) == (1000, 1000)


def spoil(store: Path, uri: str) -> None:
    """One score of one verdict is another one."""
    for path in (store / "verdicts" / "data").rglob("*.parquet"):
        rows = pq.read_table(path).to_pylist()
        for row in rows:
            if row["uri"] == uri:
                row["scores"] = [(label, score + 1e-6) for label, score in row["scores"][:1]] + row["scores"][1:]
        pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)


def test_a_verdict_that_is_another_is_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(folder / "store", tmp_path / "store")
    row = next(row for row in verdict_rows(folder / "store") if row["outcome"] == "ok")
    spoil(tmp_path / "store", str(row["uri"]))
    facts = replayed(tmp_path / "store", uri=row["uri"])
    assert not facts.is_exact
    assert len(facts.differing) == 1
    assert facts.differing[0].startswith("score of ")
    assert replayed(tmp_path / "store").exact == IMAGES - 1
    assert main(["replay", str(tmp_path / "store"), str(row["uri"])]) == 5
    assert "the verdict is another" in capsys.readouterr().out


def test_as_a_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flagged = next(row for row in verdict_rows(folder / "store") if row["findings"])
    path = str(flagged["uri"]).removeprefix("file://")
    assert main(["replay", str(folder / "store"), path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["exact"] == 1
    assert main(["replay", str(folder / "store"), path]) == 0
    shown = capsys.readouterr().out
    assert "the verdict is the same to the last bit" in shown
    assert "uncalibrated" in shown


def golden_of(path: Path, rows: Iterable[dict[str, Any]], *, split: Split | None = None) -> Path:
    """A golden set of some verdicts' images; the store has one version of each, and every other one is not said."""
    images = [(str(row["uri"]), str(row["etag"]) if number % 2 else "") for number, row in enumerate(rows)]
    return write_golden(path, [colour_row(0, "red", uri=uri, etag=etag, split=split) for uri, etag in images])


def test_every_image_of_a_golden_set(folder: Path, tmp_path: Path) -> None:
    golden = golden_of(tmp_path / "golden.parquet", verdict_rows(folder / "store"))
    facts = replayed(folder / "store", golden=golden)
    assert (facts.replayed, facts.exact, facts.missing) == (IMAGES, IMAGES, 0)  # those that cannot be read, too
    assert facts.golden == GoldenSet.read(golden).digest
    shutil.copytree(folder / "store", tmp_path / "store")
    row = next(row for row in verdict_rows(folder / "store") if row["outcome"] == "ok")
    spoil(tmp_path / "store", str(row["uri"]))
    facts = replayed(tmp_path / "store", golden=golden)
    assert (facts.replayed, facts.exact) == (IMAGES, IMAGES - 1)
    assert facts.differing[0].startswith(f"{row['uri']}: score of ")
    assert main(["replay", str(tmp_path / "store"), "--golden", str(golden), "--json"]) == 5


def test_golden_rows_are_those_of_the_scorecard(folder: Path, tmp_path: Path) -> None:
    rows = verdict_rows(folder / "store")
    golden = golden_of(tmp_path / "golden.parquet", rows[:10], split="calibrate")
    with pytest.raises(GoldenError, match="no row is for 'test'"):
        replayed(folder / "store", golden=golden)
    assert replayed(folder / "store", golden=golden, split="all").replayed == 10
    both = [*GoldenSet.read(golden).table.to_pylist(), *golden_rows(tmp_path, rows[10:15])]
    pq.write_table(pa.Table.from_pylist(both, GOLDEN), golden)
    facts = replayed(folder / "store", golden=golden)
    assert (facts.replayed, facts.golden) == (5, GoldenSet.read(golden).only("test").digest)


def golden_rows(folder: Path, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = GoldenSet.read(golden_of(folder / "t.parquet", rows, split="test")).table.to_pylist()
    return found


def test_of_several_versions_the_one_observed_last(tmp_path: Path) -> None:
    release = release_of(tmp_path / "release", LIBRARY.replace("RED", "red").replace("BLUE", "blue"), POLICY)
    store = observed_store(tmp_path / "store", release, 20)
    newer = observed_store(tmp_path / "newer", release, 5).observations.dataset().to_table()
    columns = {"shard": pa.repeat(2, 5), "etag": pa.array([f"newer-{number}" for number in range(5)])}
    for name, values in columns.items():
        at = newer.schema.get_field_index(name)
        newer = newer.set_column(at, newer.schema.field(at), values.cast(newer.schema.field(at).type))
    written = write_observations(store.storage, store.uri, 2, newer.cast(OBSERVATIONS))
    store.observations.commit([data_file(written, 5, [2])])
    judge_by(store, release)
    golden = write_golden(tmp_path / "golden.parquet", [colour_row(number, "red") for number in range(22)])
    chosen = find_judged(store, release.id)
    missing, pairs = rows_of_golden(store, chosen, GoldenSet.read(golden))
    [(seen, then)] = pairs
    assert missing == 2
    assert seen["etag"].to_pylist() == then["etag"].to_pylist()
    assert seen["etag"].to_pylist() == [f"newer-{n}" for n in range(5)] + [f"e{n}" for n in range(5, 20)]
    facts = replayed(tmp_path / "store", golden=golden, release=release.id)
    assert (facts.replayed, facts.exact, facts.missing) == (20, 20, 2)


def test_golden_sets_that_do_not_serve(folder: Path, tmp_path: Path) -> None:
    strangers = write_golden(tmp_path / "strangers.parquet", [colour_row(number, "red") for number in range(3)])
    with pytest.raises(GoldenError, match="nothing to replay"):
        replayed(folder / "store", golden=strangers)
    with pytest.raises(SpecError, match="one image or a golden set"):
        replayed(folder / "store", golden=strangers, uri=verdict_rows(folder / "store")[0]["uri"])


def test_images_and_judges_that_are_not_there(folder: Path) -> None:
    with pytest.raises(SpecError, match="knows no such image"):
        replayed(folder / "store", uri="file:///nowhere.jpg")
    row = verdict_rows(folder / "store")[0]
    with pytest.raises(SpecError, match="knows no such image"):
        replayed(folder / "store", uri=row["uri"], etag="another")
    with pytest.raises(SpecError, match="under policy 'lenient'"):
        replayed(folder / "store", uri=row["uri"], policy="lenient")
