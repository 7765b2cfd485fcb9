"""From answers to figures over a real store: the truth is in the intervals, whatever happened since the draw."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from assay.jobs.golden_sample import SampleSpec, build_sample
from assay.jobs.prevalence import EstimateSpec, PrevalenceFacts, estimate_prevalence
from assay.jobs.prevalence_draw import Draw
from assay.jobs.prevalence_sample import PrevalenceSampleSpec, sample_prevalence
from assay.platform.errors import CommitError, GoldenError, SpecError, StoreVersionError
from assay.platform.golden import GoldenSet
from assay.platform.golden_file import bytes_of, read_reviews
from assay.platform.golden_rows import GoldenRow, Reviews, Truth
from tests.prevalence_store import LABELS, PER_SHARD, JudgedStore, judged_by, tavern

READABLE = 2 * (PER_SHARD - 10)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> JudgedStore:
    folder = tmp_path_factory.mktemp("judged")
    found = judged_by(tavern(folder / "parts"), folder / "store")
    draw(found, folder / "golden.parquet")
    found.fill_in(folder / "golden.parquet", folder / "filled.parquet")
    return found


@pytest.fixture
def filled(judged: JudgedStore) -> Path:
    return judged.place.parent / "filled.parquet"


def draw(judged: JudgedStore, out: Path, **how: object) -> str:
    settings = {"store": str(judged.place), "out": out, "images": 600, "labels": LABELS, **how}
    return sample_prevalence(PrevalenceSampleSpec.model_validate(settings)).draw


def told(judged: JudgedStore, golden: Path, **how: object) -> PrevalenceFacts:
    settings = {"store": str(judged.place), "golden": golden, "halving": False, **how}
    return estimate_prevalence(EstimateSpec.model_validate(settings))


def copied(judged: JudgedStore, folder: Path) -> JudgedStore:
    """The store, free to be changed."""
    place = Path(shutil.copytree(judged.place, folder / "store"))
    return JudgedStore(place, judged.release, judged.seed, dict(judged.truth), judged.shards)


def changed(golden: Path, out: Path, change: object, keep: float = 1.0) -> Path:
    """A golden set with each row changed by a function, of the first part of its rows."""
    reviews = read_reviews(golden)
    assert callable(change)
    rows = [change(row) for row in reviews.rows[: round(keep * len(reviews.rows))]]
    out.write_bytes(bytes_of(GoldenSet.of(Reviews(tuple(rows), reviews.asked)).table))
    return out


def actions(judged: JudgedStore) -> dict[str, str]:
    rows = judged.store.verdicts.dataset().to_table(columns=["uri", "outcome", "action"])
    columns = (rows[name].to_pylist() for name in ("uri", "outcome", "action"))
    return {uri: action for uri, outcome, action in zip(*columns, strict=True) if outcome == "ok"}


def test_the_truth_is_in_the_intervals(judged: JudgedStore, filled: Path) -> None:
    facts, action = told(judged, filled), actions(judged)
    assert (facts.population, facts.drawn_from, facts.later, facts.gone, facts.asked) == (READABLE, READABLE, 0, 0, 600)
    for place, label in enumerate(LABELS):
        found = facts.labels[label]
        violating = [uri for uri in action if judged.truth[uri][place]]
        left = sum(action[uri] == "pass" for uri in violating)
        assert found.left.low <= left <= found.left.high
        assert found.total.low <= len(violating) <= found.total.high
        assert found.left_unassisted.low <= left <= found.left_unassisted.high
        assert found.recall is not None
        assert found.recall.low <= 1 - left / len(violating) <= found.recall.high
        assert found.images == READABLE
        assert found.passed == sum(one == "pass" for one in action.values())
        assert found.unanswered == found.unsure == 0
        assert found.answers <= 600
    assert any("only the order of scores was used: gambling" in note for note in facts.notes)


def test_many_draws_hold_the_truth(judged: JudgedStore, tmp_path: Path) -> None:
    """Through the store, for two labels at once: what `tests/platform/test_prevalence.py` shows for one without it."""
    held, draws, action = np.zeros(2), 12, actions(judged)
    left = [sum(one == "pass" and judged.truth[uri][place] for uri, one in action.items()) for place in (0, 1)]
    for seed in range(draws):
        draw(judged, tmp_path / "golden.parquet", seed=seed, replace=True, trace=False)
        judged.fill_in(tmp_path / "golden.parquet", tmp_path / "filled.parquet")
        facts = told(judged, tmp_path / "filled.parquet", measure={"draws": 500})
        found = [facts.labels[label].left for label in LABELS]
        held += [one.low <= truth <= one.high for one, truth in zip(found, left, strict=True)]
    assert held.min() >= 0.8 * draws
    assert held.sum() >= 0.9 * 2 * draws


def test_all_answered_is_exact(judged: JudgedStore, tmp_path: Path) -> None:
    draw(judged, tmp_path / "golden.parquet", images=100_000)
    judged.fill_in(tmp_path / "golden.parquet", tmp_path / "filled.parquet")
    found = told(judged, tmp_path / "filled.parquet", halving=True).labels["weapons"]
    truth = sum(judged.truth[uri][0] for uri in actions(judged))
    assert (found.total.low, found.total.high, found.more_answers_to_halve) == (truth, truth, None)


def test_a_label_not_drawn_for_is_refused_or_left_aside(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    draw(judged, tmp_path / "golden.parquet", labels=("weapons",))
    judged.fill_in(tmp_path / "golden.parquet", tmp_path / "both.parquet")
    facts = told(judged, tmp_path / "both.parquet")
    assert [*facts.labels] == ["weapons"]
    assert any("not drawn for" in note and "gambling" in note for note in facts.notes)
    with pytest.raises(SpecError, match="label 'gambling' was not drawn for"):
        told(judged, tmp_path / "both.parquet", labels=("gambling",))
    with pytest.raises(SpecError, match="did you mean 'weapons'"):
        told(judged, filled, labels=("weapon",))


def test_a_label_nobody_answered(judged: JudgedStore, tmp_path: Path) -> None:
    golden = judged.place.parent / "golden.parquet"
    with pytest.raises(GoldenError, match="nobody has answered yet"):
        told(judged, golden)
    judged.fill_in(golden, tmp_path / "one.parquet", labels=("weapons",))
    facts = told(judged, tmp_path / "one.parquet")
    assert [*facts.labels] == ["weapons"]
    assert "drawn for and not told of: gambling" in facts.notes


def test_unsure_and_missing_answers_are_told(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    def doubt(row: GoldenRow) -> GoldenRow:
        number = int(row.uri.rpartition("/")[2])
        words = {**row.labels, "weapons": Truth.UNSURE} if number % 5 == 0 else row.labels
        return row.model_copy(update={"labels": {} if number % 5 == 1 else words})

    facts = told(judged, changed(filled, tmp_path / "some.parquet", doubt, keep=0.9))
    found = facts.labels["weapons"]
    assert 60 < found.unsure < 150
    assert 40 < found.unanswered < 150
    assert found.left_if_unsure_violate is not None
    assert found.left_if_unsure_violate.low > found.left.estimate
    assert any("60 of the 600 images drawn are not in the golden set" in note for note in facts.notes)
    assert any("unanswered" in note and "weapons" in note for note in facts.notes)


def test_reviewers_who_differ_are_unsure(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    reviews = read_reviews(filled)
    other = [
        row.model_copy(update={"reviewer": "ben", "labels": {**row.labels, "weapons": Truth.PRESENT}})
        for row in reviews.rows
        if row.labels["weapons"] is Truth.ABSENT
    ][:50]
    path = tmp_path / "two.parquet"
    path.write_bytes(bytes_of(GoldenSet.of(Reviews((*reviews.rows, *other), reviews.asked)).table))
    found, before = (told(judged, one).labels["weapons"] for one in (path, filled))
    assert 0 < found.unsure <= 50
    assert found.answers == before.answers - found.unsure


def test_the_same_answer_twice_is_refused(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    table = GoldenSet.read(filled).table
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), tmp_path / "twice.parquet")
    with pytest.raises(GoldenError, match="does not hold together"):
        told(judged, tmp_path / "twice.parquet")


def test_a_store_that_grew_is_told_and_nothing_else_changes(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    grown = copied(judged, tmp_path)
    grown.add_shard()
    before, facts = told(judged, filled), told(grown, filled)
    assert facts.labels == before.labels
    assert (facts.later, facts.population) == (PER_SHARD - 10, READABLE)
    assert any("judged since the draw" in note for note in facts.notes)


def test_another_release_changes_nothing(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    again = copied(judged, tmp_path)
    again.add_shard(release="another-release")
    again.store.write_run("run-2", {"run": "run-2", "release": "another-release", "policy": "tavern"})
    facts = told(again, filled)
    assert (facts.release, facts.later) == (judged.release.id, 0)
    assert facts.labels == told(judged, filled).labels


def test_what_was_forgotten_is_neither_counted_nor_answered(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    """A whole shard is gone: half of the images, and about half of the answers."""
    half = copied(judged, tmp_path)
    files = [file for file in half.store.verdicts.files() if file.first_shard == 1]
    store = half.store
    store.verdicts.commit([], files)
    facts, action = told(half, filled), actions(half)
    assert facts.population == len(action) == READABLE / 2
    assert 200 < facts.gone < 400
    assert any("have no verdict any more" in note for note in facts.notes)
    found = facts.labels["weapons"]
    left = sum(one == "pass" and judged.truth[uri][0] for uri, one in action.items())
    assert found.images == facts.population
    assert found.left.low <= left <= found.left.high
    assert found.unanswered == 0


def test_nothing_is_left_of_the_draws_images(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    empty = copied(judged, tmp_path)
    empty.store.verdicts.commit([], empty.store.verdicts.files())
    with pytest.raises(SpecError, match="has judged nothing here"):
        told(empty, filled)


def test_a_sample_of_another_store_is_refused(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    other = judged_by(judged.release, tmp_path / "other", shards=1, seed=1)
    with pytest.raises(GoldenError, match="this store has no draw") as caught:
        told(other, filled)
    assert "another store" in caught.value.why


def test_a_golden_set_of_no_draw_is_refused(judged: JudgedStore, tmp_path: Path) -> None:
    build_sample(SampleSpec(store=str(judged.place), out=tmp_path / "built.parquet", images=50, labels=("weapons",)))
    with pytest.raises(GoldenError, match="was not drawn for prevalence"):
        told(judged, tmp_path / "built.parquet")


def test_of_two_draws_one_must_be_named(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    second = draw(judged, tmp_path / "second.parquet", images=100, seed=5)
    judged.fill_in(tmp_path / "second.parquet", tmp_path / "filled.parquet")
    first = read_reviews(filled)
    mine = {row.image for row in first.rows}
    rows = (*first.rows, *(row for row in read_reviews(tmp_path / "filled.parquet").rows if row.image not in mine))
    path = tmp_path / "both.parquet"
    path.write_bytes(bytes_of(GoldenSet.of(Reviews(rows, first.asked)).table))
    with pytest.raises(GoldenError, match="of several draws"):
        told(judged, path)
    with pytest.raises(GoldenError, match="of several draws"):
        told(judged, path, draw="nowhere")
    assert told(judged, path, draw=second).draw == second


def test_a_damaged_record_is_told(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    hurt = copied(judged, tmp_path)
    (name,) = {*GoldenSet.read(filled).slices()["draw"].tolist()}
    (hurt.place / "draws" / f"{name}.json").write_text("{")
    with pytest.raises(StoreVersionError, match="a draw cannot be read"):
        told(hurt, filled)


def test_while_something_is_erased_nothing_is_told(judged: JudgedStore, tmp_path: Path, filled: Path) -> None:
    busy = copied(judged, tmp_path)
    (busy.place / "forgotten").mkdir(exist_ok=True)
    (busy.place / "forgotten" / "intent.json").write_text("{}")
    with pytest.raises(CommitError, match="being made to forget"):
        told(busy, filled)


def test_the_record_reads_back(judged: JudgedStore, filled: Path) -> None:
    (name,) = {*GoldenSet.read(filled).slices()["draw"].tolist()}
    record = Draw.read(judged.store, name)
    assert Draw.model_validate_json(record.model_dump_json()) == record
