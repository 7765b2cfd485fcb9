"""Judging a shard: verdicts and a receipt for every row, again without a source, and never for other rows."""

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from assay.jobs.datafile import read_shard
from assay.jobs.generation import generations
from assay.jobs.judge_stage import JudgeSpec, JudgeStage
from assay.jobs.manifest import read_shards
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.release_copy import keep_release
from assay.jobs.store import Store
from assay.jobs.work import Task, Work
from assay.platform.encoder import Embeddings, Pixels
from assay.platform.errors import ConservationError
from assay.platform.hash_encoder import HashEncoder
from assay.platform.release import Release
from assay.platform.rows import VERDICT_FILE
from assay.platform.storage import StorageSpec
from tests.conftest import S3Server
from tests.stage_bench import Bench, by_name, failure_of, look_stage, receipt_of, spoilt_bench, with_decoders, write_bad


@pytest.fixture
def release(release_dir: Path) -> Release:
    return Release.load(release_dir)


@pytest.fixture
def good(tmp_path: Path, pictures: Callable[[Path, int], list[Path]]) -> list[Path]:
    return pictures(tmp_path / "source", 4)


@pytest.fixture
def bad(tmp_path: Path, good: list[Path]) -> dict[str, str]:
    return write_bad(tmp_path / "source", good[0].read_bytes())


@pytest.fixture
def bench(tmp_path: Path, release: Release, good: list[Path], bad: dict[str, str]) -> Bench:
    return spoilt_bench(tmp_path, release)


def test_what_a_fault_s_verdict_holds(bench: Bench) -> None:
    receipt = bench.observe(bench.shards()[0])
    verdicts = bench.verdicts(receipt)
    assert verdicts.schema.names == VERDICT_FILE.names
    for row in verdicts.to_pylist():
        assert row["action"] in {"pass", "review", "block"}
        assert (row["scores"] is None) == (row["outcome"] != "ok")
        if row["outcome"] != "ok":
            assert row["action"] != "pass"  # what could not be seen is not let through
            assert row["findings"] == []
    assert receipt.actions == Counter(verdicts["action"].to_pylist())
    labels = [finding["label"] for row in verdicts.to_pylist() for finding in row["findings"]]
    assert receipt.flagged == Counter(labels)


def test_what_a_receipt_tells(bench: Bench) -> None:
    [shard] = bench.shards()
    receipt = bench.observe(shard)
    assert (receipt.shard, receipt.task) == (0, Task.OBSERVE)
    assert receipt.fetched == len(shard.refs)
    assert receipt.fetched_bytes == sum(ref.size for ref in shard.refs)
    assert {"look", "encode", "judge", "write"} <= set(receipt.seconds)
    assert receipt.worker["pid"].isdigit()
    for table, written in (("observations", receipt.observed), ("verdicts", receipt.judged)):
        assert written is not None
        assert bench.store.size_of(f"{table}/{written.path}") == written.size
        assert (written.first_uri, written.last_uri) == (shard.refs[0].uri, shard.refs[-1].uri)


@pytest.mark.parametrize("at_once", [1, 2])
def test_as_many_shards_encode_at_once_as_the_encoder_wants(
    tmp_path: Path, release: Release, good: list[Path], monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(HashEncoder, "calls_at_once", at_once)
    bench = Bench(tmp_path, release)
    [shard] = bench.shards()
    looked = bench.look(Work(shard=0, task=Task.OBSERVE, rows=len(shard.refs), refs=shard.refs).row())
    encode, within, most, meeting = HashEncoder.encode_images, [0], [0], threading.Barrier(at_once)

    def watched(self: HashEncoder, pixels: Pixels) -> Embeddings:
        within[0] += 1
        most[0] = max(most[0], within[0])
        meeting.wait(60)  # whom nobody may join would wait here in vain
        time.sleep(0.05)  # time for one too many to come in
        within[0] -= 1
        return encode(self, pixels)

    monkeypatch.setattr(HashEncoder, "encode_images", watched)
    with ThreadPoolExecutor(2) as pool:
        receipts = [receipt_of(block) for block in pool.map(bench.judge, [looked, looked])]
    assert most == [at_once]
    assert [receipt.failure for receipt in receipts] == [None, None]


def test_judging_starts_no_decoder(bench: Bench) -> None:
    first = bench.observe(bench.shards()[0])
    assert first.observed is not None
    idle = with_decoders(look_stage(bench.release, StorageSpec()), ("/no/such/decoder",))
    work = Work(shard=0, task=Task.JUDGE, rows=first.rows, observed=(first.observed.path,))
    assert receipt_of(bench.judge(idle(work.row()))).failure is None


def test_judging_needs_no_source(bench: Bench) -> None:
    first = bench.observe(bench.shards()[0])
    assert first.observed is not None
    shutil.rmtree(bench.source)
    again = bench.run(Work(shard=0, task=Task.JUDGE, rows=first.rows, observed=(first.observed.path,)))
    assert again.failure is None
    assert (again.observed, again.fetched, again.fetched_bytes) == (None, 0, 0)
    assert bench.verdicts(again) == bench.verdicts(first)
    assert (again.rows, again.outcomes, again.actions) == (first.rows, first.outcomes, first.actions)


def test_judging_by_another_policy(bench: Bench, release: Release) -> None:
    first = bench.observe(bench.shards()[0])
    assert first.observed is not None
    spec = JudgeSpec(StorageSpec(), bench.store.uri, release.id, "lenient", release.preprocess.size, "cpu", 1)
    work = Work(shard=0, task=Task.JUDGE, rows=first.rows, observed=(first.observed.path,))
    again = receipt_of(JudgeStage(spec)(bench.look(work.row())))
    strict, lenient = bench.verdicts(first), bench.verdicts(again)
    assert strict["scores"] == lenient["scores"]
    assert strict["uri"] == lenient["uri"]


@pytest.mark.parametrize("rows", [0, 12, 14])
def test_rows_that_are_not_the_plan_s(bench: Bench, rows: int) -> None:
    [shard] = bench.shards()
    work = Work(shard=0, task=Task.OBSERVE, rows=rows, refs=shard.refs)
    error = failure_of(bench, bench.look, work)
    assert type(error) is ConservationError
    assert f"planned {rows}, observed 13, judged 13" in str(error)


def test_a_shard_of_a_bucket(bench: Bench, release: Release, s3: S3Server, s3_place: str, good: list[Path]) -> None:
    """Source and store on the real server, and the source gone for judging."""
    for path in good:
        s3.put(f"{s3_place}/in/new\nline {path.name}", path.read_bytes())
    store = Store.attach(s3.storage, f"{s3_place}/store")
    plan(store, f"{s3_place}/in/", PlanSpec())
    keep_release(store, release)
    [shard] = read_shards(store, generations(store)[0], {0})
    stage = JudgeStage(JudgeSpec(s3.spec(), store.uri, release.id, "strict", release.preprocess.size, "cpu", 1))
    look = look_stage(release, s3.spec())
    first = receipt_of(stage(look(Work(shard=0, task=Task.OBSERVE, rows=4, refs=shard.refs).row())))
    assert first.failure is None
    assert first.outcomes == {"ok": 4}
    assert first.observed is not None
    for ref in shard.refs:
        s3.storage.remove(ref.uri)
    again = receipt_of(stage(look(Work(shard=0, task=Task.JUDGE, rows=4, observed=(first.observed.path,)).row())))
    assert again.failure is None
    assert again.actions == first.actions
    local = bench.observations(bench.observe(bench.shards()[0]))
    remote = read_shard(s3.storage, store.uri, first.observed.path, 0)
    names = [path.name for path in good]
    assert [by_name(local)[name]["embedding"] for name in names] == remote["embedding"].to_pylist()
