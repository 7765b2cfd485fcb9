"""What is forgotten is gone from every byte of a store, does not come back, and nothing else is touched."""

import json
import threading
from pathlib import Path

import pytest

from assay.jobs.cli import main
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.datafile import write_observations
from assay.jobs.forget import ForgetSpec, forget
from assay.jobs.forgotten import erasures
from assay.jobs.generation import generations
from assay.jobs.manifest import read_shards
from assay.jobs.status import StatusSpec, status
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from assay.platform.errors import FencedError, SpecError
from assay.platform.storage import Storage
from tests.audited_corpus import Corpus, audited, needles, traces
from tests.conftest import S3Server, Silent, write_pictures
from tests.store_doubles import observed_rows, tree


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return audited(tmp_path)


def assert_forgotten(corpus: Corpus, *names: str, planned: int) -> None:
    """Nothing is left of some images; the store is sound; the rest is as in a store that never had them."""
    assert traces(corpus.store(), needles(corpus, *names)) == []
    proof = corpus.verify()
    assert (proof.planned, proof.ok, proof.sound, proof.orphans) == (planned, planned, True, 0)
    other = Corpus(corpus.storage, corpus.where + "-without")
    other.source = corpus.source
    other.audit(exclude=names)
    assert proof.digest == other.verify().digest
    again = corpus.plan()
    assert (again.new_images, again.generation, again.forgotten) == (0, None, len(names))


@pytest.fixture(params=["disk", "s3"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Corpus:
    """A place on disk, and one on a real S3 server."""
    if request.param == "disk":
        return Corpus(Storage(), str(tmp_path))
    s3: S3Server = request.getfixturevalue("s3")
    place = f"{request.getfixturevalue('s3_place')}/{request.node.callspec.id}"
    return Corpus(s3.storage, place)


@pytest.mark.parametrize(
    ("place", "gone"), [("a/0.jpg", ["a/0.jpg"]), ("a/", ["a/0.jpg", "a/1.jpg", "a/10.jpg", "a/2.jpg"])]
)
def test_nothing_is_left_in_any_byte(either: Corpus, place: str, gone: list[str]) -> None:
    corpus = either
    corpus.put("a/0.jpg", "a/1.jpg", "a/10.jpg", "a/2.jpg", "b/0.jpg", "b/1.jpg")
    store = corpus.audit()
    compact(CompactSpec(store=corpus.where, segment_shards=2, storage=corpus.storage.spec))  # a wide file
    corpus.put("b/2.jpg", "b/3.jpg")
    store = corpus.audit()
    old = Store.open(store.storage, store.uri)
    old.observations.log.checkpoint()  # one that history keeps
    [shard] = read_shards(store, generations(store)[0], {0})
    write_observations(store.storage, store.uri, 0, observed_rows(0, shard.refs))  # of a worker that was killed
    table = store.storage.read(f"{store.uri}/manifests/generation-000000/{generations(store)[0].parts[0].name}")
    assert table is not None
    store.storage.write(f"{store.uri}/manifests/generation-000000/part-00009-lost.parquet", table)  # of a planner
    before = traces(corpus.store(), needles(corpus, *gone))
    assert {line.partition("/")[0] for line in before} == {"manifests", "observations", "verdicts"}
    assert any("checkpoint" in line for line in before)
    assert any(".json: " in line for line in before)

    facts = corpus.forget(corpus.uri(place), reason="case 4711")
    count = len(gone)
    assert (facts.counts.images, facts.counts.planned, facts.counts.observations) == (count, count, count)
    assert facts.counts.verdicts == 2 * count
    assert_forgotten(corpus, *gone, planned=8 - count)
    [line] = erasures(corpus.store())
    assert (line.reason, line.counts, line.name) == ("case 4711", facts.counts, facts.erasure)
    told = status(StatusSpec(store=corpus.where, storage=corpus.storage.spec))
    assert (told.forgotten, told.erasing, told.planned) == (count, False, 8 - count)
    assert told.shards_done == told.shards


def test_another_version_under_the_same_uri_is_another_image(corpus: Corpus) -> None:
    corpus.forget(corpus.uri("a/2.jpg"))
    assert corpus.plan().new_images == 0
    corpus.put("a/2.jpg", content=b"another picture")
    corpus.audit()
    assert corpus.verify().planned == 10
    assert corpus.verify().sound
    corpus.forget(corpus.uri("a/2.jpg"))
    assert_forgotten(corpus, "a/2.jpg", planned=9)
    assert [line.counts.images for line in erasures(corpus.store())] == [1, 1]


@pytest.mark.parametrize("how", [{}, {"prefix": True}])
def test_what_nobody_knows_is_a_usage_error_and_changes_nothing(corpus: Corpus, how: dict[str, bool]) -> None:
    before = tree(Path(corpus.where))
    with pytest.raises(SpecError, match="nobody knows") as refused:
        corpus.forget(corpus.uri("a/2.jp"), **how) if not how else corpus.forget(corpus.uri("c"), **how)
    assert refused.value.fix
    assert tree(Path(corpus.where)) == before


def test_a_dry_run_counts_and_changes_nothing(corpus: Corpus) -> None:
    before = tree(Path(corpus.where))
    facts = corpus.forget(corpus.uri("a"), dry_run=True)
    assert (facts.erasure, facts.counts.images, facts.counts.verdicts, facts.counts.files) == (None, 7, 14, 9)
    assert tree(Path(corpus.where)) == before


def test_a_prefix_is_meant_only_when_said(s3: S3Server, s3_place: str) -> None:
    corpus = Corpus(s3.storage, f"{s3_place}/prefixes")
    corpus.put("up/1", "up/10", "up2/1", "up2/2")
    corpus.audit()
    with pytest.raises(SpecError, match="nobody knows") as refused:
        corpus.forget(f"{corpus.source}/up")
    assert "4 of uris that begin with it" in refused.value.why
    assert corpus.forget(f"{corpus.source}/up/1").counts.images == 1, "not up/10"
    assert corpus.forget(f"{corpus.source}/up/").counts.images == 1, "not up2/"
    assert corpus.forget(f"{corpus.source}/up", prefix=True).counts.images == 2
    assert corpus.verify().planned == 0
    assert corpus.verify().sound


def test_a_reason_must_not_name_it(corpus: Corpus) -> None:
    before = tree(Path(corpus.where))
    with pytest.raises(SpecError, match="reason"):
        corpus.forget(corpus.uri("a/2.jpg"), reason=f"asked to erase {corpus.uri('a/2.jpg')}")
    assert tree(Path(corpus.where)) == before


def test_another_driver_has_the_store(corpus: Corpus) -> None:
    with corpus.store().hold("a backfill"), pytest.raises(FencedError):
        corpus.forget(corpus.uri("a/2.jpg"))
    assert not corpus.store().is_half_erased()


def test_the_command(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["forget", corpus.uri("a/2.jpg"), "--store", corpus.where, "--json"]
    assert main([*typed, "--dry-run"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["images"] == 1
    assert main([*typed, "--reason", "case 1"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["kind"], facts["counts"]["verdicts"]) == ("uri", 2)
    assert main(typed) == 2
    assert main(["forget", "--store", corpus.where, "--json"]) == 0, "nothing to finish"
    assert json.loads(capsys.readouterr().out)["erasure"] is None
    audit = json.dumps([line.model_dump() for line in erasures(corpus.store())])
    assert "2.jpg" not in audit


def test_the_main_job_neither_fetches_nor_shows_what_was_forgotten(
    ray_session: str, s3: S3Server, tmp_path: Path, release_dir: Path
) -> None:
    from assay.jobs.backfill import BackfillSpec, backfill  # imports Ray, which the other tests never need

    source, store = s3.bucket("forget-source"), f"{s3.bucket('forget-store')}/audit"
    for path in write_pictures(tmp_path / "pictures", 10):
        s3.put(f"{source}/{path.name}", path.read_bytes())
    uri = f"{source}/picture-00003.jpg"
    places = {"source": source, "store": store, "release": str(release_dir), "storage": s3.spec()}
    spec = BackfillSpec.model_validate({**places, "shard": {"images": 4}})
    assert backfill(spec, Silent(), threading.Event(), "assay backfill …").ok == 10
    table = Store.open(s3.storage, store).observations.dataset().to_table(columns=["uri", "sha256", "embedding"])
    [row] = [row for row in table.to_pylist() if row["uri"] == uri]
    wanted = {"uri": uri.encode(), "sha256": row["sha256"], "embedding": row["embedding"]}
    assert traces(Store.open(s3.storage, store), wanted)
    forget(ForgetSpec.model_validate({"place": uri, "store": store, "storage": s3.spec()}))
    assert traces(Store.open(s3.storage, store), wanted) == []

    fetched = s3.gets("forget-source")
    again = backfill(spec, Silent(), threading.Event(), "assay backfill …")
    assert (again.planned, again.fetched, again.already_done) == (9, 0, 9)
    assert s3.gets("forget-source") == fetched == 10
    s3.put(f"{source}/new.jpg", (tmp_path / "pictures" / "picture-00000.jpg").read_bytes())
    grown = backfill(spec, Silent(), threading.Event(), "assay backfill …")
    assert (grown.planned, grown.fetched) == (10, 1)
    proof = verify(VerifySpec.model_validate({"store": store, "storage": s3.spec()}))
    assert (proof.planned, proof.sound) == (10, True)

    page = tmp_path / "report.html"
    settings = [f"--storage.{name.lower().replace('_', '-')}={value}" for name, value in s3.settings().items()]
    assert main(["report", store, "--out", str(page), *settings]) == 0
    told = json.loads(page.with_suffix(".json").read_text())
    assert (told["images"], told["planned"], told["unseen"]) == (10, 10, 0)
    assert "picture-00003" not in page.read_text() + page.with_suffix(".json").read_text()
