"""Drawing a golden set from a real store: who is drawn, what is written of them, and what is not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from assay.jobs.cli import main
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.forget import ForgetSpec, forget
from assay.jobs.golden_embeddings import embed_golden
from assay.jobs.golden_sample import SampleFacts, SampleSpec, build_sample
from assay.jobs.store import Store
from assay.platform.encoder import EncoderSpec
from assay.platform.errors import CommitError, GoldenError, SpecError, StorageError
from assay.platform.golden import GoldenSet
from assay.platform.release import Release, ReleaseSpec, build_release, bundled_release
from assay.platform.storage import Storage
from tests.conftest import S3Server, write_pictures
from tests.golden_store import COPIES, PICTURES, judged
from tests.serial_backfill import run_alone
from tests.store_doubles import tree

READABLE = PICTURES + COPIES


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose label `weapons` is marked `no_evidence`."""
    folder, starter = tmp_path_factory.mktemp("marked"), bundled_release()
    text = (starter / "library.yaml").read_text()
    (folder / "library.yaml").write_text(text.replace(" weapons:\n", " weapons:\n        no_evidence: true\n"))
    policies = tuple(starter / "policies" / f"{name}.yaml" for name in ("strict", "lenient"))
    parts = {"library": folder / "library.yaml", "policies": policies}
    spec = ReleaseSpec.model_validate({"name": "marked", "encoder": EncoderSpec(model="hash"), **parts})
    build_release(folder / "release", spec)
    return folder / "release"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, marked: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return judged(tmp_path_factory.mktemp("sampled"), marked, patch)


def built(store: Path | str, out: Path, **how: object) -> tuple[SampleFacts, GoldenSet]:
    settings = {"store": str(store), "out": out, "images": 30, "duplicate_cosine": 0.9999, **how}
    facts = build_sample(SampleSpec.model_validate(settings))
    return facts, GoldenSet.read(out)


def seen(store: Path) -> dict[str, str]:
    """Readable images of the store, with their etags."""
    rows = Store.open(Storage(), str(store)).observations.dataset().to_table(filter=ds.field("outcome") == "ok")
    return dict(zip(rows["uri"].to_pylist(), rows["etag"].to_pylist(), strict=True))


def test_the_command_prints_what_it_drew(
    store: Path, marked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "golden.parquet"
    typed = ["golden", "build", str(store), "--release", Release.load(marked).id, "--images", "30", str(out), "--json"]
    assert main(typed) == 0
    facts = json.loads(capsys.readouterr().out)
    golden = GoldenSet.read(out)
    assert (facts["images"], facts["population"], facts["digest"]) == (30, READABLE, golden.digest)
    assert facts["weights"] == pytest.approx(golden.weights.sum())
    assert sum(facts["splits"].values()) == 30
    assert facts["policy"] == "strict"


def test_drawn_images_wait_to_be_labelled_and_nothing_else_is_written(
    store: Path, marked: Path, tmp_path: Path
) -> None:
    facts, golden = built(store, tmp_path / "golden.parquet")
    known = seen(store)
    assert {uri: known[uri] for uri in golden.uris} == dict(zip(golden.uris, golden.etags, strict=True))
    library = Release.load(marked).library()
    assert golden.labels == tuple(sorted(library.labels))
    assert library.labels["weapons"].no_evidence
    for row in golden.table.to_pylist():
        said = {name for name, value in row.items() if value not in (None, "", [])}
        assert said == {"uri", "etag", "time", "weight", "split"}
    assert [path.name for path in tmp_path.iterdir()] == ["golden.parquet"]
    assert facts.labels == len(library.labels)


def test_near_duplicates_are_on_one_side(store: Path, tmp_path: Path) -> None:
    facts, golden = built(store, tmp_path / "golden.parquet", images=READABLE, duplicate_cosine=0.99)
    side = {Path(uri).name: split for uri, split in zip(golden.uris, golden.splits, strict=True)}
    copies = [name for name in side if name.startswith("copy-")]
    assert len(copies) == COPIES
    assert all(side[name] == side[name.removeprefix("copy-")] for name in copies)
    assert facts.near_duplicates >= 2 * COPIES
    assert set(facts.splits) == {"calibrate", "test"}
    assert abs(facts.splits["test"] - READABLE / 2) <= 5


def test_a_sample_of_all_stands_for_itself(store: Path, tmp_path: Path) -> None:
    facts, golden = built(store, tmp_path / "golden.parquet", images=1000)
    assert (facts.images, facts.weights, facts.greatest_weight) == (READABLE, READABLE, 1)
    assert set(golden.uris) == set(seen(store))


def test_a_seed_draws_the_same_whatever_the_files(store: Path, tmp_path: Path) -> None:
    def drawn(name: str, of: Path = store, **how: object) -> list[tuple[object, ...]]:
        golden = built(of, tmp_path / name, **how)[1]
        return list(zip(golden.uris, golden.weights, golden.splits, strict=True))

    compacted = Path(shutil.copytree(store, tmp_path / "compacted"))
    assert compact(CompactSpec(store=str(compacted), segment_shards=2), print).written
    assert drawn("a.parquet") == drawn("b.parquet", compacted)
    assert drawn("c.parquet", seed=1) != drawn("d.parquet")


def test_labels_asked_for_guide_the_draw(store: Path, tmp_path: Path) -> None:
    weapons = built(store, tmp_path / "w.parquet", labels=("weapons",), images=10)[1]
    assert weapons.labels == ("weapons",)
    rows = Store.open(Storage(), str(store)).verdicts.dataset().to_table(filter=ds.field("outcome") == "ok")
    score = {
        uri: dict(scores)["weapons"]
        for uri, scores in zip(rows["uri"].to_pylist(), rows["scores"].to_pylist(), strict=True)
    }
    drawn = [
        score[uri]
        for seed in range(8)
        for uri in built(store, tmp_path / f"{seed}.parquet", labels=("weapons",), images=10, seed=seed)[1].uris
    ]
    assert np.mean(drawn) > 1.05 * np.mean([*score.values()])


def test_a_release_is_named_by_id_or_directory(store: Path, tmp_path: Path, marked: Path) -> None:
    release = Release.load(marked).id
    for number, named in enumerate([release, str(marked)]):
        assert built(store, tmp_path / f"{number}.parquet", release=named)[0].release == release


@pytest.mark.parametrize(
    ("how", "what", "why"),
    [
        ({"labels": ("weapns",)}, "unknown label", "did you mean 'weapons'?"),
        ({"policy": "strickt"}, "has judged nothing here under policy 'strickt'; did you mean 'strict'?", "strict"),
        ({"release": "starter"}, "has judged nothing here", "it judged under none"),
        ({"release": "nowhere"}, "no release 'nowhere'", "looked for release.json"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    store: Path, tmp_path: Path, how: dict[str, object], what: str, why: str
) -> None:
    with pytest.raises(SpecError) as caught:
        built(store, tmp_path / "golden.parquet", **how)
    assert what in caught.value.what
    assert why in caught.value.why
    assert not list(tmp_path.iterdir())


def test_people_s_work_is_not_written_over(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "golden.parquet"
    out.write_text("people's work")
    with pytest.raises(GoldenError, match="there is a file here"):
        built(store, out)
    assert out.read_text() == "people's work"
    assert built(store, out, replace=True)[0].images == 30


def test_what_is_forgotten_is_found_in_a_sample(
    tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = judged(tmp_path, release_dir, monkeypatch)
    out, filled = tmp_path / "golden.parquet", tmp_path / "filled.parquet"
    golden = built(store, out)[1]
    built(store, filled, replace=True)
    pq.write_table(golden.table, filled, compression="gzip")  # as if people had worked on it
    facts = forget(ForgetSpec(place=golden.uris[0], store=str(store)))
    assert not out.exists()
    assert [Path(one).name for one in facts.reports_out_of_reach] == ["filled.parquet"]
    assert golden.uris[0] not in built(store, out, images=1000)[1].uris


def test_nothing_to_draw_from(tmp_path: Path, release_dir: Path) -> None:
    with pytest.raises(SpecError, match="no store here"):
        built(tmp_path / "nowhere", tmp_path / "golden.parquet")
    Store.attach(Storage(), str(tmp_path / "empty")).establish()
    before = tree(tmp_path)
    with pytest.raises(SpecError, match="nothing was judged yet"):
        built(tmp_path / "empty", tmp_path / "golden.parquet")
    assert tree(tmp_path) == before


def test_a_damaged_file_is_told_by_name(store: Path, tmp_path: Path) -> None:
    hurt = Path(shutil.copytree(store, tmp_path / "hurt"))
    file = next((hurt / "verdicts" / "data").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(StorageError, match="a committed file cannot be read") as caught:
        built(hurt, tmp_path / "golden.parquet")
    assert caught.value.where.endswith(file.name)
    assert "assay repair" in caught.value.fix
    assert not (tmp_path / "golden.parquet").exists()


def test_in_a_bucket(
    marked: Path, s3: S3Server, s3_place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "bucket", 9)
    settings = {"source": str(tmp_path / "bucket"), "store": f"{s3_place}/store", "release": str(marked)}
    run_alone({**settings, "storage": s3.spec(), "shard": {"images": 4}}, monkeypatch)
    facts, golden = built(f"{s3_place}/store", tmp_path / "golden.parquet", storage=s3.spec(), images=5)
    assert (facts.images, facts.population, len(golden)) == (5, 9, 5)
    found = embed_golden(golden, Release.load(marked), s3.storage, f"{s3_place}/store")
    assert found.missing == ()


def test_while_something_is_erased_nothing_is_drawn(
    tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = judged(tmp_path, release_dir, monkeypatch)
    (store / "forgotten").mkdir()
    (store / "forgotten" / "intent.json").write_text("{}")
    with pytest.raises(CommitError, match="being made to forget"):
        built(store, tmp_path / "golden.parquet")
    assert not (tmp_path / "golden.parquet").exists()
