"""The main job, end to end, in the session's Ray: every image once, resumed, grown, retried, re-judged, stopped."""

import shutil
import threading
from pathlib import Path

import duckdb
import polars as pl
import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable

from assay.jobs.backfill import BackfillSpec, backfill
from assay.jobs.backlog import Backlog
from assay.jobs.plan import PlanFacts
from assay.jobs.pools import Cluster, Pool, Pools, decoders_of
from assay.jobs.run import BackfillFacts
from assay.jobs.verify import VerifySpec, verify
from assay.jobs.work import Receipt
from assay.platform.errors import AssayError, BucketError, Interrupted, ManifestError, SpecError
from assay.platform.release import Release
from assay.platform.release_build import hash_release
from tests.conftest import S3Server, write_pictures

pytestmark = pytest.mark.usefixtures("ray_session")


class Witness:
    """A watcher that remembers, and may ask for a stop after the first commit."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.stop = threading.Event()
        self.stop_after = stop_after
        self.receipts: list[Receipt] = []
        self.commits: list[int] = []

    def listed(self, images: int, size: int) -> None: ...

    def planned(self, facts: PlanFacts | None, backlog: Backlog, release: Release) -> None: ...

    def started(self, cluster: Cluster, pools: Pools) -> None:
        self.cluster, self.pools = cluster, pools

    def noticed(self, what: str) -> None: ...

    def received(self, receipt: Receipt) -> None:
        self.receipts.append(receipt)

    def committed(self, receipts: list[Receipt]) -> None:
        self.commits.append(len(receipts))
        if self.stop_after is not None and sum(self.commits) >= self.stop_after:
            self.stop.set()


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    """Forty pictures, one text file, one empty file, one cut short."""
    folder = tmp_path / "bucket"
    paths = write_pictures(folder / "a b", 20) + write_pictures(folder / "c", 20, start=20)
    (folder / "c" / "notes.txt").write_text("no picture")
    (folder / "c" / "empty.jpg").write_bytes(b"")
    (folder / "c" / "cut.jpg").write_bytes(paths[0].read_bytes()[:400])
    return folder


def spec_for(bucket: Path | str, store: Path | str, release: Path, **more: object) -> BackfillSpec:
    settings = {"source": str(bucket), "store": str(store), "release": str(release)}
    return BackfillSpec.model_validate({**settings, "shard": {"images": 8}, **more})


def run(spec: BackfillSpec, witness: Witness | None = None) -> BackfillFacts:
    witness = witness or Witness()
    return backfill(spec, witness, witness.stop, "assay backfill …")


def test_every_image_ends_as_one_verdict_and_the_rerun_fetches_only_what_changed(
    tmp_path: Path, bucket: Path, release_dir: Path
) -> None:
    store = tmp_path / "store"
    spec = spec_for(bucket, store, release_dir)
    witness = Witness()
    first = run(spec, witness)
    assert (first.planned, first.ok, first.faulted, first.already_done) == (43, 40, 3, 0)
    assert first.faults == {"EMPTY": 1, "TRUNCATED": 1, "UNSUPPORTED_FORMAT": 1}
    assert first.fetched == 43
    assert first.first_commit_s is not None
    assert len(witness.receipts) == 6
    assert witness.commits[0] < 6, "the first commit is made while shards are still under way"
    proof = verify(VerifySpec(store=str(store)))
    assert (proof.planned, proof.ok, proof.faulted, proof.missing, proof.duplicated) == (43, 40, 3, 0, 0)
    assert proof.sound

    again = run(spec)
    assert (again.fetched, again.ok, again.already_done) == (0, 0, 43)

    write_pictures(bucket / "new", 3, start=100)
    changed = bucket / "c" / "notes.txt"
    shutil.copy(bucket / "a b" / "picture-00000.jpg", changed)
    grown = run(spec)
    assert (grown.fetched, grown.ok, grown.faulted, grown.already_done, grown.planned) == (4, 4, 0, 43, 47)
    assert verify(VerifySpec(store=str(store))).sound


def test_another_policy_is_judged_from_what_is_stored(tmp_path: Path, bucket: Path, release_dir: Path) -> None:
    store = tmp_path / "store"
    run(spec_for(bucket, store, release_dir))
    lenient = run(spec_for(bucket, store, release_dir, policy="lenient"))
    assert (lenient.fetched, lenient.judged) == (0, 43)
    for policy in ("strict", "lenient"):
        assert verify(VerifySpec(store=str(store), policy=policy)).sound
    verdicts = DeltaTable(store / "verdicts").to_pyarrow_dataset()
    counted = duckdb.sql("select policy, count(*) from verdicts group by policy order by policy")
    assert counted is not None
    assert counted.fetchall() == [("lenient", 43), ("strict", 43)]
    assert verdicts.count_rows() == 86
    outcomes = pl.scan_delta(str(store / "observations")).group_by("outcome").len().sort("outcome").collect()
    assert dict(outcomes.iter_rows()) == {"EMPTY": 1, "TRUNCATED": 1, "UNSUPPORTED_FORMAT": 1, "ok": 40}


def test_transient_faults_are_replaced_when_retried(tmp_path: Path, bucket: Path, release_dir: Path) -> None:
    names = sorted(path for path in bucket.rglob("*") if path.is_file())
    listing = tmp_path / "uris.txt"
    missing = bucket / "c" / "late.jpg"
    listing.write_text("\n".join(str(path) for path in [*names, missing]))
    spec = spec_for(listing, tmp_path / "store", release_dir)
    first = run(spec)
    assert first.faults["GONE"] == 1
    shutil.copy(names[0], missing)
    # The list had no etag for the missing file, so its row stands for whatever comes to lie there; the new listing has.
    retried = run(spec_for(listing, tmp_path / "store", release_dir, retry_faults=True))
    assert (retried.retried, retried.ok, retried.planned) == (1, 1, 45)
    assert verify(VerifySpec(store=str(tmp_path / "store"))).sound
    for table, column in (("observations", "outcome"), ("verdicts", "outcome")):
        rows = DeltaTable(tmp_path / "store" / table).to_pyarrow_dataset()
        assert rows.count_rows(filter=pc.field(column) == "GONE") == 0
        assert rows.count_rows(filter=pc.field(column) == "EMPTY") == 1, "filters see rows without statistics"


def test_a_stopped_run_resumes_to_the_same_digest(tmp_path: Path, bucket: Path, release_dir: Path) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    run(spec_for(bucket, whole, release_dir))
    witness = Witness(stop_after=1)
    with pytest.raises(Interrupted) as stopped:
        run(spec_for(bucket, halved, release_dir), witness)
    assert stopped.value.exit_code == 4
    resumed = run(spec_for(bucket, halved, release_dir))
    assert resumed.already_done > 0
    assert resumed.fetched == 43 - resumed.already_done
    proof = verify(VerifySpec(store=str(halved), against=str(whole)))
    assert proof.sound
    assert proof.differing == 0
    assert proof.digest == verify(VerifySpec(store=str(whole))).digest


def test_actors_are_placed_on_fractions_of_gpus(tmp_path: Path, bucket: Path, release_dir: Path) -> None:
    pools = {"judge": {"gpus": 0.5, "min": 2, "max": 2, "cpus": 0.25}, "look": {"cpus": 0.5, "min": 1, "max": 2}}
    witness = Witness()
    run(spec_for(bucket, tmp_path / "store", release_dir, cluster=pools), witness)
    assert witness.pools.judge.gpus == 0.5
    assert {receipt.worker["gpus"] for receipt in witness.receipts} <= {"0", "1"}, "every shard was judged on a GPU"


def test_pools_that_cannot_start_are_refused_at_once(tmp_path: Path, bucket: Path, release_dir: Path) -> None:
    greedy = {"judge": {"cpus": 2, "gpus": 0}, "look": {"cpus": 1}}
    with pytest.raises(SpecError, match="too few CPUs"):
        run(spec_for(bucket, tmp_path / "store", release_dir, cluster=greedy))


def test_the_whole_job_on_a_real_s3_server(s3: S3Server, bucket: Path, release_dir: Path) -> None:
    source, store = s3.bucket("backfill-source"), s3.bucket("backfill-store")
    keys = [
        "a b/1.jpg",
        "line\nbreak.jpg",
        "up/..x/2.jpg",
        "<b>html</b>.jpg",
        "ключ.jpg",
        "per%20cent.jpg",
        "plus+.jpg",
    ]
    pictures = sorted(bucket.rglob("picture-*.jpg"))
    for key, path in zip([*keys, *(f"many/{n}.jpg" for n in range(17))], pictures, strict=False):
        s3.put(f"{source}/{key}", path.read_bytes())
    storage = s3.spec().model_dump()
    spec = spec_for(source, f"{store}/audit", release_dir, storage=storage)
    facts = run(spec)
    assert (facts.planned, facts.ok, facts.faulted) == (24, 24, 0)
    assert s3.gets("backfill-source") == 24, "one request per image"
    proof = verify(VerifySpec.model_validate({"store": f"{store}/audit", "storage": storage}))
    assert proof.sound
    assert proof.orphans == 0
    assert run(spec).fetched == 0
    s3.put(f"{source}/{keys[0]}", pictures[-1].read_bytes())
    assert run(spec).fetched == 1
    assert s3.gets("backfill-source") == 25, "only what changed is fetched"
    assert verify(VerifySpec.model_validate({"store": f"{store}/audit", "storage": storage})).planned == 25


@pytest.mark.parametrize(
    ("source", "kind"),
    [("empty", ManifestError), ("not-there", BucketError), ("gopher://x", SpecError), ("s3://", SpecError)],
)
def test_a_bad_source_leaves_no_trace(
    tmp_path: Path, release_dir: Path, source: str, kind: type[AssayError], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind) as refused:
        run(spec_for(source, tmp_path / "store", release_dir))
    assert refused.value.fix
    assert not (tmp_path / "store").exists()


def test_a_store_inside_its_source_is_refused(tmp_path: Path, bucket: Path, release_dir: Path) -> None:
    with pytest.raises(ManifestError, match="inside the source"):
        run(spec_for(bucket, bucket / "store", release_dir))
    assert not (bucket / "store").exists()


def test_a_tampered_release_is_refused_before_anything_starts(tmp_path: Path, bucket: Path) -> None:
    hash_release(tmp_path / "release")
    library = tmp_path / "release" / "library.yaml"
    library.write_text(library.read_text().replace("pistol", "teapot", 1))
    with pytest.raises(SpecError, match="library"):
        run(spec_for(bucket, tmp_path / "store", tmp_path / "release"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("cluster_cpus", "actors", "actor_cpus", "decoders"),
    [
        (1, 1, 0.5, 1),
        (2, 1, 0.5, 2),  # the reference machine: one look actor, two cores
        (64, 63, 1, 1),  # as many look actors as cores
        (64, 16, 4, 4),
        (64, 1, 1, 2),  # somebody wants few
        (6400, 6000, 1, 1),
    ],
)
def test_decoders_are_about_the_cores_of_their_actor(
    cluster_cpus: float, actors: int, actor_cpus: float, decoders: int
) -> None:
    pools = Pools(look=Pool(1, actors, actor_cpus), judge=Pool(1, 1, 1))
    assert decoders_of(Cluster(cluster_cpus, 0, 1, 1), pools) == decoders
