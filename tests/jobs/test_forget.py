"""What is forgotten is gone from every byte of a store, does not come back, and nothing else is touched."""

import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from assay.jobs import erasure
from assay.jobs import verify as verify_job
from assay.jobs.backlog import find_backlog
from assay.jobs.cli import main
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.datafile import write_observations, write_verdicts
from assay.jobs.erasure import STEPS, finish_erasure
from assay.jobs.forget import ForgetFacts, ForgetSpec, forget
from assay.jobs.forgotten import DIGEST_BYTES, Forgotten, Key, erasures
from assay.jobs.generation import emptied_shards, generations
from assay.jobs.history import cut_history
from assay.jobs.ledger import Ledger
from assay.jobs.manifest import Shard, ShardSpec, read_shards
from assay.jobs.plan import PlanFacts, PlanSpec, plan
from assay.jobs.report import ReportData
from assay.jobs.report_trace import Trace, leave_trace
from assay.jobs.source import SourceSpec, read_source
from assay.jobs.status import StatusSpec, status
from assay.jobs.store import Store
from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from assay.platform.errors import CommitError, FencedError, SpecError, StorageError
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.uris import parse_uri
from tests.conftest import S3Server, Silent, write_pictures
from tests.store_doubles import PARTITION, data_file, judged_rows, observed_rows, tree

OTHER = {"release": "release-2", "policy": "lenient"}
DIM = 32


def embedding_of(uri: str) -> bytes:
    """64 bytes that no other image has."""
    return hashlib.sha256(b"1" + uri.encode()).digest() + hashlib.sha256(b"2" + uri.encode()).digest()


def sha256_of(uri: str) -> bytes:
    return hashlib.sha256(b"3" + uri.encode()).digest()


def observe_and_judge(store: Store, shard: Shard) -> None:
    """Rows with contents of their own, as a release would leave them, under two releases."""
    uris = [ref.uri for ref in shard.refs]
    rows = observed_rows(shard.number, shard.refs)
    for name, values in (("sha256", map(sha256_of, uris)), ("embedding", map(embedding_of, uris))):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(place), pa.array([*values], pa.binary()))
    seen = write_observations(store.storage, store.uri, shard.number, rows)
    store.observations.commit([data_file(seen, len(uris), [shard.number])])
    for partition in (PARTITION, OTHER):
        judged = write_verdicts(store.storage, store.uri, shard.number, judged_rows(shard.number, shard.refs))
        store.verdicts.commit([data_file(judged, len(uris), [shard.number], partition)])


class Corpus:
    """A source of real objects, and the store of an audit of it."""

    def __init__(self, storage: Storage, place: str) -> None:
        self.storage, self.source, self.where = storage, f"{place}/source", f"{place}/store"

    def put(self, *names: str, content: bytes = b"a picture") -> None:
        for name in names:
            self.storage.write(f"{self.source}/{name}", content)

    def uri(self, name: str) -> str:
        return parse_uri(f"{self.source}/{name}").uri

    def plan(self, **how: object) -> PlanFacts:
        spec = PlanSpec.model_validate({"shard": ShardSpec(images=3), **how})
        return plan(Store.attach(self.storage, self.where), self.source, spec)

    def store(self) -> Store:
        """The store as another process finds it."""
        return Store.open(self.storage, self.where)

    def audit(self, **how: object) -> Store:
        """Plan, and observe and judge what is not done: as one driver does, under a lease."""
        self.plan(**how)
        store = self.store()
        with store.hold("a test"):
            done = {
                shard for file in store.observations.files() for shard in range(file.first_shard, file.last_shard + 1)
            }
            for generation in generations(store):
                for shard in read_shards(store, generation, set(range(10_000)) - done):
                    observe_and_judge(store, shard)
        command = f"assay backfill {self.source} --store {self.where}"
        known = sum(generation.images for generation in generations(store))
        store.write_run(
            "run-1", {"run": "run-1", "source": self.source, "command": command, "planned": known, **PARTITION}
        )
        return store

    def forget(self, place: str, **how: object) -> ForgetFacts:
        asked = {"place": place, "store": self.where, "storage": self.storage.spec, **how}
        return forget(ForgetSpec.model_validate(asked))

    def verify(self) -> VerifyFacts:
        return verify(VerifySpec(store=self.where, storage=self.storage.spec))


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Ten images on disk: six, audited; then four more, of which one under an odd name."""
    corpus = Corpus(Storage(), str(tmp_path))
    corpus.put(*(f"a/{number}.jpg" for number in range(6)))
    corpus.audit()
    corpus.put("a/6.jpg", "b/0.jpg", "b/1.jpg", "b/odd näme.jpg")
    corpus.audit()
    return corpus


def needles(corpus: Corpus, *names: str) -> dict[str, bytes]:
    """All that must not be found of some images, by what it is."""
    found: dict[str, bytes] = {}
    for name in names:
        uri = corpus.uri(name)
        spelled = {"uri": uri, "path": parse_uri(uri).key, "quoted": quote(uri), "json": json.dumps(uri)[1:-1]}
        found |= {f"{name} {how}": text.encode() for how, text in spelled.items()}
        found |= {f"{name} sha256": sha256_of(uri), f"{name} embedding": embedding_of(uri)}
        found |= {f"{name} sha256 hex": sha256_of(uri).hex().encode()}
    return found


def traces(store: Store, wanted: dict[str, bytes]) -> list[str]:
    """Where any of it is in a store: every file byte by byte, and every Parquet file read back."""
    found = []
    for file in store.storage.list(store.uri):
        content = store.storage.read(f"{store.uri}/{file.name}")
        assert content is not None
        rows = repr(pq.read_table(pa.BufferReader(content)).to_pylist()) if file.name.endswith(".parquet") else ""
        for what, needle in wanted.items():
            if needle in content or repr(needle)[2:-1] in rows or needle.decode("utf-8", "replace") in rows:
                found.append(f"{file.name}: {what}")
    return found


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


SKIPPED = {
    "_redact_verdicts": "verdicts/",
    "_redact_observations": "observations/",
    "_redact_manifests": "manifests/",
    "_remove_leftovers": "data/",
    "_cut_histories": "_delta_log/",
}


@pytest.mark.parametrize("step", SKIPPED)
def test_the_search_finds_what_a_step_would_have_left(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    left = tuple(one for one in STEPS if one.__name__ != step)
    assert len(left) == len(STEPS) - 1
    monkeypatch.setattr(erasure, "STEPS", left)
    corpus.forget(corpus.uri("a/2.jpg"))
    found = traces(corpus.store(), needles(corpus, "a/2.jpg"))
    assert any(SKIPPED[step] in line for line in found)


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Ends the process before or after its k-th change of the store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.at, self.late, self.counting = 0, -1, False, threading.Lock()
        for owner, name in ((Storage, "write"), (Storage, "remove"), (Ledger, "commit")):
            monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name)))

    def _guarded(self, change: Callable[..., object]) -> Callable[..., object]:
        def guarded(*given: object, **named: object) -> object:
            if threading.current_thread().name == "lease" or (len(given) > 1 and "/lease/" in str(given[1])):
                return change(*given, **named)
            with self.counting:  # files are rewritten in threads
                self.count += 1
                is_now = self.count == self.at
            if is_now and not self.late:
                raise Killed
            done = change(*given, **named)
            if is_now:
                raise Killed
            return done

        return guarded


def killed_at_every_change(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, late: bool
) -> Iterator[int]:
    """Yields after each kill, the corpus as it was before put back each time."""
    kept = tmp_path / "kept"
    shutil.copytree(corpus.where, kept)
    killer = Killer(monkeypatch)
    corpus.forget(corpus.uri("a/2.jpg"))
    changes = killer.count
    assert changes > 20
    for moment in range(1, changes + 1):
        shutil.rmtree(corpus.where)
        shutil.copytree(kept, corpus.where)
        killer.count, killer.at, killer.late = 0, moment, late
        with pytest.raises(Killed):
            corpus.forget(corpus.uri("a/2.jpg"))
        killer.at = -1
        yield moment


@pytest.mark.parametrize("late", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_an_erasure_killed_at_any_change_is_finished_by_the_next_command(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, late: bool
) -> None:
    """Killed before each change or, nightly, after it: when it is stored, but was never acknowledged."""
    proof = Corpus(corpus.storage, str(tmp_path / "reference"))
    proof.source = corpus.source
    proof.audit(exclude=("a/2.jpg",))
    wanted, digest = needles(corpus, "a/2.jpg"), proof.verify().digest
    open_ends = 0
    for moment in killed_at_every_change(corpus, monkeypatch, tmp_path, late=late):
        if corpus.store().is_half_erased():
            open_ends += 1
            with pytest.raises(CommitError, match="made to forget"):
                corpus.verify()
            with pytest.raises(CommitError, match="made to forget"):
                corpus.plan()
            with pytest.raises(CommitError, match="made to forget"), corpus.store().hold("a backfill"):
                pass
            if moment % 3:
                assert corpus.forget(corpus.uri("a/2.jpg")).counts.images == 1, "the same command goes on"
            else:
                assert finish_erasure(corpus.store()) is not None
        elif corpus.verify().planned == 10:
            corpus.forget(corpus.uri("a/2.jpg"))  # nothing had been begun
        assert traces(corpus.store(), wanted) == [], moment
        found = corpus.verify()
        assert (found.planned, found.sound, found.digest, found.orphans) == (9, True, digest, 0), moment
        assert len(erasures(corpus.store())) == 1
    assert corpus.plan().forgotten == 1
    assert open_ends > 20


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


def test_shards_left_without_images_are_not_open_for_ever(corpus: Corpus) -> None:
    corpus.put("c/0.jpg", "c/1.jpg")
    corpus.plan()  # never observed
    corpus.forget(f"{corpus.uri('c')}/")
    corpus.forget(corpus.uri("a"))
    store = corpus.store()
    assert emptied_shards(generations(store)) == frozenset({0, 1, 4})
    assert [one.first_shard for one in generations(store) if one.shards] == [0, 2, 4]
    for partition in (PARTITION, {"release": "release-3", "policy": "strict"}):
        left = plan_backlog(store, partition)
        assert left <= {2, 3}, "emptied shards are neither observed nor judged"
    corpus.put("d/0.jpg")
    assert corpus.audit().observations.files()[-1].first_shard >= 0
    assert max(file.last_shard for file in corpus.store().observations.files()) == 5, "numbers go on"
    assert corpus.verify().sound


def plan_backlog(store: Store, partition: dict[str, str]) -> frozenset[int]:
    left = find_backlog(store, generations(store), partition, retry_faults=True)
    return left.observe | left.judge | left.retry.keys()


def test_a_planner_under_way_loses_its_place(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(storage: Storage, source: str, spec: SourceSpec) -> Iterator[ImageRef]:
        listing = list(read_source(storage, source, spec))
        corpus.forget(corpus.uri("a/2.jpg"))
        yield from listing

    corpus.put("new/0.jpg")
    monkeypatch.setattr("assay.jobs.plan.read_source", slowly)
    with pytest.raises(CommitError, match="at the same time"):
        corpus.plan()
    monkeypatch.undo()
    assert traces(corpus.store(), needles(corpus, "new/0.jpg", "a/2.jpg")) == []
    facts = corpus.plan()
    assert (facts.new_images, facts.forgotten) == (1, 1)


def test_a_driver_from_before_can_neither_commit_nor_read_on(corpus: Corpus) -> None:
    paused, reader = corpus.store(), corpus.store()
    with paused.hold("a driver that is paused now"):
        known = paused.observations.files()
        version = reader.observations.version
    corpus.forget(corpus.uri("a/2.jpg"))
    with pytest.raises(FencedError):
        paused.observations.commit([], [known[0]])
    assert corpus.verify().sound
    where = f"{corpus.where}/observations"
    for old in (0, 3, version):
        with pytest.raises(DeltaError):
            DeltaTable(where, version=old)
    reader.observations.log.advance()
    assert {file.path for file in reader.observations.files()} == {
        file.path for file in corpus.store().observations.files()
    }


def test_a_transaction_that_was_emptied_is_still_known_by_its_id(corpus: Corpus) -> None:
    log = corpus.store().observations.log
    before = [log.note_of(version) for version in range(log.version() + 1)]
    for _ in range(2):
        corpus.forget(corpus.uri("a/2.jpg"))
        corpus.put("a/2.jpg", content=str(_).encode())
        corpus.audit()
    after = [log.note_of(version) for version in range(log.version() + 1)]
    ids = [(note or {}).get("assay.commit") for note in before]
    assert any(ids)
    assert [(note or {}).get("assay.commit") for note in after] == ids
    fresh = corpus.store().observations.log
    assert fresh.number("assay") >= sum(one is not None for one in ids)
    assert fresh.number("assay.epoch") == 6


def test_history_is_not_cut_by_who_lost_the_table(corpus: Corpus) -> None:
    before = tree(Path(corpus.where, "observations", "_delta_log"))

    def lost() -> None:
        raise FencedError("another driver has this store")

    with pytest.raises(FencedError):
        cut_history(corpus.store().observations.log, lost)
    after = tree(Path(corpus.where, "observations", "_delta_log"))
    assert {name: after[name] for name in before} == before


def report_of(store: Store, out: Path, uri: str) -> None:
    """A report that names one uri, as `assay report` leaves it."""
    no_run: dict[str, object] = {"run": {}}
    counts = {"images": 1, "ok": 0, "planned": 1, "unseen": 0, "undecided": 0, "actions": {}, "fault_actions": {}}
    facts: dict[str, object] = {"release": "r", "policy": "p", "faults": {}, "labels": {}}
    facts |= {"seconds": None, "images_per_second": None}
    examples = {"fault_examples": {"EMPTY": [{"uri": uri}]}}
    data = ReportData.model_validate({**counts, **facts, **examples, **no_run})
    files = {out: f"<html>{uri}".encode(), out.with_suffix(".json"): data.model_dump_json().encode()}
    leave_trace(store, data, files)
    for path, content in files.items():
        path.write_bytes(content)


def test_reports_that_name_it_are_removed_or_listed(corpus: Corpus, tmp_path: Path) -> None:
    mine, others, changed, moved = (tmp_path / f"{name}.html" for name in ("mine", "others", "changed", "moved"))
    for path in (mine, changed, moved):
        report_of(corpus.store(), path, corpus.uri("a/2.jpg"))
    report_of(corpus.store(), others, corpus.uri("a/1.jpg"))
    changed.write_text("a page of my own")
    moved.rename(tmp_path / "elsewhere.html")
    facts = corpus.forget(corpus.uri("a/2.jpg"))
    assert not mine.exists()
    assert not mine.with_suffix(".json").exists()
    assert others.exists()
    assert changed.read_text() == "a page of my own"
    assert facts.reports_removed == 4
    assert [name.rpartition("/")[2] for name in sorted(facts.reports_out_of_reach)] == ["changed.html", "moved.html"]
    assert traces(corpus.store(), needles(corpus, "a/2.jpg")) == []


def test_run_records_and_leases_do_not_keep_the_name(s3: S3Server, s3_place: str) -> None:
    corpus = Corpus(s3.storage, f"{s3_place}/records")
    corpus.put("only.jpg", "two.jpg")
    whole, corpus.source = corpus.source, f"{corpus.source}/only.jpg"
    corpus.plan()
    corpus.source = whole
    store = corpus.audit()
    uri = corpus.uri("only.jpg")
    command = f"assay backfill {uri} --store {corpus.where} --cluster.address=auto"
    store.write_run("run-2", {"run": "run-2", "source": uri, "command": command, "planned": 2, **PARTITION})
    with store.hold(command):
        pass
    corpus.forget(uri)
    assert traces(corpus.store(), {"uri": uri.encode()}) == []
    record = corpus.store().run("run-2")
    assert record is not None
    assert record["source"] == "(forgotten)"
    assert record["command"] == f"assay backfill '(forgotten)' --store {corpus.where} --cluster.address=auto"
    assert corpus.verify().sound


def test_a_reason_must_not_name_it(corpus: Corpus) -> None:
    before = tree(Path(corpus.where))
    with pytest.raises(SpecError, match="reason"):
        corpus.forget(corpus.uri("a/2.jpg"), reason=f"asked to erase {corpus.uri('a/2.jpg')}")
    assert tree(Path(corpus.where)) == before


def test_a_file_that_cannot_be_read_is_told_before_anything_is_erased(corpus: Corpus) -> None:
    [broken] = [file for file in corpus.store().observations.files() if file.first_shard == 0]
    Path(corpus.where, "observations", broken.path).unlink()
    with pytest.raises(StorageError):
        corpus.forget(corpus.uri("a/2.jpg"))
    assert not corpus.store().is_half_erased()


def test_another_driver_has_the_store(corpus: Corpus) -> None:
    with corpus.store().hold("a backfill"), pytest.raises(FencedError):
        corpus.forget(corpus.uri("a/2.jpg"))
    assert not corpus.store().is_half_erased()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_erasure_while_rows_are_compared_is_told(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    real = verify_job._planned_twice

    def meanwhile(*given: object) -> int:
        found = int(real(*given)) if when == "after" else 0  # type: ignore[arg-type]  # passed through
        corpus.forget(corpus.uri("a/2.jpg"))
        return found if when == "after" else int(real(*given))  # type: ignore[arg-type]  # fails: parts are gone

    monkeypatch.setattr(verify_job, "_planned_twice", meanwhile)
    with pytest.raises(CommitError, match="erased while the rows were read"):
        corpus.verify()


def test_a_store_that_forgot_nothing_asks_nothing(corpus: Corpus) -> None:
    assert Forgotten.of(corpus.store()) is None


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


def test_a_backfill_finishes_an_erasure_that_was_cut_off(
    ray_session: str, judged_store: Path, tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.jobs.backfill import BackfillSpec, backfill  # imports Ray, which the other tests never need

    store = shutil.copytree(judged_store, tmp_path / "store")
    source = judged_store.parent / "bucket"
    gone = source / "picture-00003.jpg"

    def killed(_work: object) -> None:
        raise Killed

    monkeypatch.setattr(erasure, "STEPS", (*STEPS[:4], killed))
    with pytest.raises(Killed):
        forget(ForgetSpec(place=str(gone), store=str(store)))
    monkeypatch.undo()
    spec = BackfillSpec.model_validate({"source": str(source), "store": str(store), "release": str(release_dir)})
    facts = backfill(spec, Silent(), threading.Event(), "assay backfill …")
    assert (facts.planned, facts.fetched) == (31, 0)
    assert not Store.open(Storage(), str(store)).is_half_erased()
    assert verify(VerifySpec(store=str(store))).sound
    found = subprocess.run(["grep", "-rl", "picture-00003", str(store)], capture_output=True, text=True, check=False)
    assert found.stdout == ""


def test_an_erasure_is_an_error_of_the_job_until_it_is_done(corpus: Corpus) -> None:
    corpus.store().storage.write(corpus.store().path("forgotten", "intent.json"), b"{}")
    with pytest.raises(CommitError) as refused:
        corpus.verify()
    assert refused.value.exit_code == 5
    assert f"assay forget --store {corpus.where}" in refused.value.fix
    with pytest.raises(StorageError, match="intent cannot be read"):
        finish_erasure(corpus.store())


def test_a_trace_keeps_no_uri(corpus: Corpus, tmp_path: Path) -> None:
    report_of(corpus.store(), tmp_path / "r.html", corpus.uri("a/1.jpg"))
    [name] = Path(corpus.where, "reports").iterdir()
    trace = Trace.model_validate_json(name.read_text())
    assert set(trace.files) == {str(tmp_path / "r.html"), str(tmp_path / "r.json")}
    assert "a/1.jpg" not in name.read_text()


def test_digests_are_compared_whole() -> None:
    """Sorted search over fixed-width digests finds those that end in zero bytes, too."""

    class Last(Key):
        def digest(self, *parts: str) -> bytes:
            return parts[0].encode().ljust(DIGEST_BYTES, b"\0")

    kept = np.unique(np.array([b"a".ljust(DIGEST_BYTES, b"\0"), b"c".ljust(DIGEST_BYTES, b"\0")], f"S{DIGEST_BYTES}"))
    forgotten = Forgotten(Last(b""), kept)
    assert forgotten.are_in([ImageRef(name, "", 0) for name in "abcd"]) == [True, False, True, False]
