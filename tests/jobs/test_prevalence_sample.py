"""Drawing a sample for prevalence: who is drawn, what is written, what is remembered, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from assay.jobs.compact import CompactSpec, compact
from assay.jobs.golden_exchange import ExportSpec, ImportSpec, export_reviews, import_reviews
from assay.jobs.golden_sample import SampleSpec, build_sample
from assay.jobs.prevalence_draw import Draw
from assay.jobs.prevalence_sample import CODE_SCORES, PrevalenceSampleFacts, PrevalenceSampleSpec, sample_prevalence
from assay.jobs.score_bands import codes_of
from assay.platform.errors import CommitError, GoldenError, SpecError
from assay.platform.golden import GoldenSet
from assay.platform.stratification import Part
from tests.prevalence_store import LABELS, PER_SHARD, JudgedStore, judged_by, tavern
from tests.store_doubles import tree


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> JudgedStore:
    folder = tmp_path_factory.mktemp("judged")
    return judged_by(tavern(folder / "parts"), folder / "store")


def drawn(store: Path, out: Path, **how: object) -> tuple[PrevalenceSampleFacts, GoldenSet]:
    settings = {"store": str(store), "out": out, "images": 400, "labels": LABELS, **how}
    return sample_prevalence(PrevalenceSampleSpec.model_validate(settings)), GoldenSet.read(out)


def test_images_wait_to_be_labelled_and_no_score_is_written(judged: JudgedStore, tmp_path: Path) -> None:
    facts, golden = drawn(judged.place, tmp_path / "golden.parquet")
    assert (len(golden), facts.images, facts.population) == (400, 400, 2 * (PER_SHARD - 10))
    assert golden.labels == tuple(sorted(LABELS))
    for row in golden.table.to_pylist():
        said = {name for name, value in row.items() if value not in (None, "", [])}
        assert said == {"uri", "etag", "time", "weight", "split", "slices"}
        assert dict(row["slices"]) == {"draw": facts.draw}
    assert {*golden.splits} == {"test"}
    assert golden.weights.sum() == pytest.approx(facts.population, rel=0.15)


def test_strata_are_remembered_and_no_image_is(judged: JudgedStore, tmp_path: Path) -> None:
    facts, golden = drawn(judged.place, tmp_path / "golden.parquet")
    draw = Draw.read(judged.store, facts.draw)
    assert (draw.shards, draw.release, draw.policy) == (((0, 1),), judged.release.id, "tavern")
    for label in LABELS:
        assert sum(one.images for one in draw.labels[label].strata) == facts.population
        assert {one.part for one in draw.labels[label].strata} == {*Part}
        assert facts.labels[label].expected <= 400.001
        assert min(one.rate for one in draw.labels[label].strata) > 0
    assert draw.labels["weapons"].is_calibrated
    assert not draw.labels["gambling"].is_calibrated
    kept = (judged.place / "draws" / f"{facts.draw}.json").read_text()
    assert not any(uri in kept for uri in golden.uris)


def test_one_label_gets_all_images(judged: JudgedStore, tmp_path: Path) -> None:
    facts, _ = drawn(judged.place, tmp_path / "golden.parquet", labels=("weapons",))
    assert facts.labels["weapons"].expected == pytest.approx(400, rel=0.1)
    assert [*facts.labels] == ["weapons"]


def test_the_same_seed_draws_the_same_and_more_of_the_same(judged: JudgedStore, tmp_path: Path) -> None:
    def images(name: str, of: Path = judged.place, **how: object) -> set[str]:
        return set(drawn(of, tmp_path / f"{name}.parquet", **how)[1].uris)

    compacted = Path(shutil.copytree(judged.place, tmp_path / "compacted"))
    compact(CompactSpec(store=str(compacted), segment_shards=2), print)
    few = images("few")
    assert few == images("again", compacted)
    assert len(few - images("more", images=800)) < 8
    assert len(few & images("other", seed=1)) < 200


def test_other_images_than_golden_build_draws(judged: JudgedStore, tmp_path: Path) -> None:
    build_sample(SampleSpec(store=str(judged.place), out=tmp_path / "built.parquet", images=400, labels=("weapons",)))
    built = set(GoldenSet.read(tmp_path / "built.parquet").uris)
    assert len(built & set(drawn(judged.place, tmp_path / "golden.parquet")[1].uris)) < 120


def test_what_was_said_before_is_kept(judged: JudgedStore, tmp_path: Path) -> None:
    first, filled = tmp_path / "first.parquet", tmp_path / "filled.parquet"
    drawn(judged.place, first)
    judged.fill_in(first, filled)
    facts, golden = drawn(judged.place, tmp_path / "more.parquet", images=800, answered=filled)
    assert 390 <= facts.answered <= 400
    truth = golden.truth(LABELS)
    assert int((truth[:, 0] >= 0).sum()) == facts.answered
    known = {uri: row for uri, row in zip(golden.uris, truth.tolist(), strict=True) if row[0] >= 0}
    assert all(row == [int(has) for has in judged.truth[uri]] for uri, row in known.items())
    assert {*golden.slices()["draw"].tolist()} == {facts.draw}


def test_the_draw_survives_csv_and_json_lines(judged: JudgedStore, tmp_path: Path) -> None:
    golden = drawn(judged.place, tmp_path / "golden.parquet")[1]
    for end in ("csv", "jsonl"):
        export_reviews(ExportSpec(golden=tmp_path / "golden.parquet", out=tmp_path / f"golden.{end}"))
        import_reviews(ImportSpec(file=tmp_path / f"golden.{end}", out=tmp_path / f"{end}.parquet"))
        assert GoldenSet.read(tmp_path / f"{end}.parquet").digest == golden.digest


def test_all_of_a_small_store(judged: JudgedStore, tmp_path: Path) -> None:
    facts, golden = drawn(judged.place, tmp_path / "golden.parquet", images=100_000)
    assert len(golden) == facts.population
    assert {*golden.weights.tolist()} == {1.0}
    assert facts.labels["weapons"].expected == facts.population


@pytest.mark.parametrize(
    ("how", "what"),
    [
        ({"labels": ("weapns",)}, "unknown label"),
        ({"policy": "strict"}, "has judged nothing here under policy 'strict'"),
        ({"release": "starter"}, "has judged nothing here"),
        ({"answered": "nowhere.parquet"}, "this golden set cannot be read"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    judged: JudgedStore, tmp_path: Path, how: dict[str, object], what: str
) -> None:
    before = tree(judged.place)
    with pytest.raises(SpecError) as caught:
        drawn(judged.place, tmp_path / "golden.parquet", **how)
    assert what in caught.value.what
    assert not list(tmp_path.iterdir())
    assert tree(judged.place) == before


def test_peoples_work_is_not_written_over(judged: JudgedStore, tmp_path: Path) -> None:
    (tmp_path / "golden.parquet").write_text("people's work")
    with pytest.raises(GoldenError, match="there is a file here"):
        drawn(judged.place, tmp_path / "golden.parquet")
    assert len(drawn(judged.place, tmp_path / "golden.parquet", replace=True)[1]) == 400


def test_forget_finds_the_sample(judged: JudgedStore, tmp_path: Path) -> None:
    drawn(judged.place, tmp_path / "golden.parquet")
    traces = [json.loads(path.read_text())["files"] for path in (judged.place / "reports").iterdir()]
    assert any(str(tmp_path / "golden.parquet") in files for files in traces)


def test_while_something_is_erased_nothing_is_drawn(judged: JudgedStore, tmp_path: Path) -> None:
    store = Path(shutil.copytree(judged.place, tmp_path / "store"))
    (store / "forgotten").mkdir(exist_ok=True)
    (store / "forgotten" / "intent.json").write_text("{}")
    with pytest.raises(CommitError, match="being made to forget"):
        drawn(store, tmp_path / "golden.parquet")


def test_only_faults(tmp_path: Path, judged: JudgedStore) -> None:
    empty = judged_by(judged.release, tmp_path / "store", shards=0)
    with pytest.raises(SpecError, match="has judged nothing here"):
        drawn(empty.place, tmp_path / "golden.parquet")


def test_a_codes_score_is_within_it() -> None:
    scores = np.array([1e-6, 0.001, 0.3, 0.999], np.float32)
    assert CODE_SCORES[codes_of(scores)] == pytest.approx(scores, rel=0.004)
    assert CODE_SCORES.max() == 1
