import io
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from assay.jobs.datafile import read_shard
from assay.jobs.generation import generations
from assay.jobs.manifest import Shard, ShardSpec, read_shards
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.release_copy import keep_release
from assay.jobs.stages import JudgeSpec, JudgeStage, LookSpec, LookStage
from assay.jobs.store import Store
from assay.jobs.work import Receipt, Task, Work
from assay.platform.errors import AssayError, BucketError, ConservationError, CredentialsError, StorageError
from assay.platform.fetch import file_etag
from assay.platform.guard import Guard
from assay.platform.images import Budget
from assay.platform.release import Release
from assay.platform.rows import OBSERVATIONS, VERDICT_FILE, ImageRef
from assay.platform.storage import Storage, StorageSpec
from tests.conftest import S3Server
from tests.platform.planted_decoder import PLANTED, order
from tests.storage_doubles import Answer, told_server

BUDGET = Budget(max_bytes=50_000, max_pixels=250_000)


def png(width: int, height: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(sink, "PNG")
    return sink.getvalue()


def broken_png() -> bytes:
    """As long as it should be, but its pixels are noise."""
    whole = bytearray(png(40, 40))
    start = whole.index(b"IDAT") + 4
    whole[start + 2 : start + 22] = bytes(range(20))
    return bytes(whole)


class Bench:
    """A planned local source, a store and both stages, in one process."""

    def __init__(self, tmp_path: Path, release: Release, shard: int = 64) -> None:
        self.source, self.release, self.storage = tmp_path / "source", release, Storage()
        self.store = Store.attach(self.storage, str(tmp_path / "store"))
        plan(self.store, str(self.source), PlanSpec(shard=ShardSpec(images=shard)))
        keep_release(self.store, release)
        self.look = look_stage(release, StorageSpec())
        self.judge = JudgeStage(
            JudgeSpec(StorageSpec(), self.store.uri, release.id, "strict", release.preprocess.size, "cpu", 1)
        )

    def shards(self) -> list[Shard]:
        [generation] = generations(self.store)
        return list(read_shards(self.store, generation, set(range(generation.shards))))

    def run(self, work: Work) -> Receipt:
        return receipt_of(self.judge(self.look(work.row())))

    def observe(self, shard: Shard) -> Receipt:
        return self.run(Work(shard=shard.number, task=Task.OBSERVE, rows=len(shard.refs), refs=shard.refs))

    def observations(self, receipt: Receipt) -> pa.Table:
        assert receipt.observed is not None
        return read_shard(self.storage, self.store.uri, receipt.observed.path, receipt.shard)

    def verdicts(self, receipt: Receipt) -> pa.Table:
        assert receipt.judged is not None
        return pq.read_table(Path(self.store.shown) / "verdicts" / receipt.judged.path, partitioning=None)


def look_stage(release: Release, storage: StorageSpec) -> LookStage:
    return LookStage(LookSpec(storage, release.preprocess, BUDGET, 2))


def file_ref(path: Path) -> ImageRef:
    """A file as a listing has it."""
    return ImageRef(path.as_uri(), file_etag(path.stat()), path.stat().st_size)


def receipt_of(block: pa.Table) -> Receipt:
    assert block.num_rows == 1
    return Receipt.model_validate_json(block["receipt"][0].as_py())


@pytest.fixture
def release(release_dir: Path) -> Release:
    return Release.load(release_dir)


@pytest.fixture
def good(tmp_path: Path, pictures: Callable[[Path, int], list[Path]]) -> list[Path]:
    return pictures(tmp_path / "source", 4)


@pytest.fixture
def bad(tmp_path: Path, good: list[Path]) -> dict[str, str]:
    """Files that are no good images, and the fault of each."""
    folder, whole = tmp_path / "source", good[0].read_bytes()
    contents = {
        "empty.jpg": (b"", "EMPTY"),
        "cut.jpg": (whole[: len(whole) // 2], "TRUNCATED"),
        "broken.png": (broken_png(), "CORRUPT"),
        "page.html": (b"<html><script>alert(1)</script>", "UNSUPPORTED_FORMAT"),
        "new\nline & <b>.txt": (b"plain text, nothing else", "UNSUPPORTED_FORMAT"),
        "heavy.jpg": (whole + b"\0" * BUDGET.max_bytes, "TOO_LARGE"),
        "bomb.png": (png(600, 600), "TOO_MANY_PIXELS"),
        "gone.jpg": (whole, "GONE"),
        "changed.jpg": (whole, "CHANGED"),
    }
    for name, (data, _) in contents.items():
        (folder / name).write_bytes(data)
    return {name: fault for name, (_, fault) in contents.items()}


@pytest.fixture
def bench(tmp_path: Path, release: Release, good: list[Path], bad: dict[str, str]) -> Bench:
    """Good images and bad files, as they are when they are fetched: one has gone, one has changed."""
    bench = Bench(tmp_path, release)
    (bench.source / "gone.jpg").unlink()
    (bench.source / "changed.jpg").write_bytes(b"another")
    return bench


def by_name(rows: pa.Table) -> dict[str, dict[str, object]]:
    names = {"new%0Aline%20%26%20%3Cb%3E.txt": "new\nline & <b>.txt"}
    shown = [uri.rpartition("/")[2] for uri in rows["uri"].to_pylist()]
    return dict(zip((names.get(name, name) for name in shown), rows.to_pylist(), strict=True))


def test_every_image_of_a_shard_ends_as_a_row(bench: Bench, good: Sequence[Path], bad: dict[str, str]) -> None:
    [shard] = bench.shards()
    receipt = bench.observe(shard)
    assert receipt.failure is None
    assert receipt.rows == len(shard.refs) == len(good) + len(bad)
    rows, verdicts = bench.observations(receipt), bench.verdicts(receipt)
    for table in (rows, verdicts):
        assert table["uri"].to_pylist() == [ref.uri for ref in shard.refs]
        assert table["etag"].to_pylist() == [ref.etag for ref in shard.refs]
        assert set(table["shard"].to_pylist()) == {0}
    outcomes = {name: row["outcome"] for name, row in by_name(rows).items()}
    assert outcomes == bad | {path.name: "ok" for path in good}
    assert {name: row["outcome"] for name, row in by_name(verdicts).items()} == outcomes
    assert receipt.outcomes == Counter(outcomes.values())


def test_what_a_fault_s_row_holds(bench: Bench, good: Sequence[Path]) -> None:
    rows = by_name(bench.observations(bench.observe(bench.shards()[0])))
    dim = bench.release.manifest.encoder.dim
    for row in rows.values():
        views, embedding = row["views"], row["embedding"]
        assert isinstance(views, list)
        assert isinstance(embedding, bytes)
        assert len(embedding) == len(views) * dim * 2
        assert (row["outcome"] == "ok") == bool(embedding)
        assert (row["outcome"] == "ok") == (row["format"] is not None)
    for path in good:
        vector = np.frombuffer(rows[path.name]["embedding"], np.float16).astype(np.float32)  # type: ignore[call-overload]  # bytes
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-2)
        assert rows[path.name]["detail"] is None
    assert rows["cut.jpg"]["sha256"] is not None
    assert rows["gone.jpg"]["sha256"] is rows["heavy.jpg"]["sha256"] is None
    assert rows["heavy.jpg"]["size"] != 0


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


def test_the_same_shard_gives_the_same_rows(bench: Bench) -> None:
    """A shard that a killed worker began is begun again: only the file's name differs."""
    [shard] = bench.shards()
    first, second = bench.observe(shard), bench.observe(shard)
    assert first.observed != second.observed
    assert bench.observations(first) == bench.observations(second)
    assert bench.verdicts(first) == bench.verdicts(second)


def test_nothing_but_faults(tmp_path: Path, release: Release) -> None:
    (tmp_path / "source").mkdir()
    for number in range(12):
        (tmp_path / "source" / str(number)).write_bytes(b"no image")
    bench = Bench(tmp_path, release)
    receipt = bench.observe(bench.shards()[0])
    assert receipt.outcomes == {"UNSUPPORTED_FORMAT": 12}
    assert bench.observations(receipt)["embedding"].to_pylist() == [b""] * 12
    assert receipt.flagged == {}


def with_decoders(look: LookStage, command: Sequence[str]) -> LookStage:
    """The stage, with decoders of another kind."""
    look.guard = Guard(look.spec.preprocess, look.spec.budget, look.spec.decoders, command)
    return look


def test_images_that_break_the_decoder_are_rows_like_others(bench: Bench, tmp_path: Path) -> None:
    healthy = bench.observations(bench.observe(bench.shards()[0]))
    tries = tmp_path / "tries"
    tries.mkdir()
    poisoned = {"killer.jpg": ("segfault", "DECODER_CRASHED"), "glutton.jpg": ("gorge", "TOO_MUCH_MEMORY")}
    for name, (deed, _) in poisoned.items():
        (bench.source / name).write_bytes(order(deed, tries))
    listed = [file_ref(bench.source / name) for name in poisoned]
    [shard] = bench.shards()
    refs = tuple(sorted((*shard.refs, *listed), key=lambda ref: ref.uri))
    with_decoders(bench.look, PLANTED)
    receipt = bench.run(Work(shard=0, task=Task.OBSERVE, rows=len(refs), refs=refs))
    rows = by_name(bench.observations(receipt))
    assert {name: rows.pop(name)["outcome"] for name in poisoned} == {
        name: kind for name, (_, kind) in poisoned.items()
    }
    assert rows == by_name(healthy)
    assert len(list(tries.iterdir())) == 4  # two strikes each
    verdicts = by_name(bench.verdicts(receipt))
    assert all(verdicts[name]["action"] != "pass" for name in poisoned)


def test_a_decoder_that_does_not_start_stops_the_job(bench: Bench) -> None:
    [shard] = bench.shards()
    work = Work(shard=0, task=Task.OBSERVE, rows=len(shard.refs), refs=shard.refs)
    error = failure_of(bench, with_decoders(bench.look, ("/no/such/decoder",)), work)
    assert type(error) is AssayError
    assert "No such file" in str(error)


def test_judging_starts_no_decoder(bench: Bench) -> None:
    first = bench.observe(bench.shards()[0])
    assert first.observed is not None
    idle = with_decoders(look_stage(bench.release, StorageSpec()), ("/no/such/decoder",))
    work = Work(shard=0, task=Task.JUDGE, rows=first.rows, observed=first.observed.path)
    assert receipt_of(bench.judge(idle(work.row()))).failure is None


def test_judging_needs_no_source(bench: Bench) -> None:
    first = bench.observe(bench.shards()[0])
    assert first.observed is not None
    shutil.rmtree(bench.source)
    again = bench.run(Work(shard=0, task=Task.JUDGE, rows=first.rows, observed=first.observed.path))
    assert again.failure is None
    assert (again.observed, again.fetched, again.fetched_bytes) == (None, 0, 0)
    assert bench.verdicts(again) == bench.verdicts(first)
    assert (again.rows, again.outcomes, again.actions) == (first.rows, first.outcomes, first.actions)


def test_judging_by_another_policy(bench: Bench, release: Release) -> None:
    first = bench.observe(bench.shards()[0])
    assert first.observed is not None
    spec = JudgeSpec(StorageSpec(), bench.store.uri, release.id, "lenient", release.preprocess.size, "cpu", 1)
    work = Work(shard=0, task=Task.JUDGE, rows=first.rows, observed=first.observed.path)
    again = receipt_of(JudgeStage(spec)(bench.look(work.row())))
    strict, lenient = bench.verdicts(first), bench.verdicts(again)
    assert strict["scores"] == lenient["scores"]
    assert strict["uri"] == lenient["uri"]


def test_a_retry_replaces_the_retried_rows_only(bench: Bench, good: Sequence[Path]) -> None:
    [shard] = bench.shards()
    first = bench.observe(shard)
    before = bench.observations(first)
    assert first.observed is not None
    mended = next(ref for ref in shard.refs if ref.uri.endswith("gone.jpg"))
    still = next(ref for ref in shard.refs if ref.uri.endswith("changed.jpg"))
    facts = good[0].read_bytes()
    (bench.source / "gone.jpg").write_bytes(facts)
    # The manifest's etag is pinned, so the file must look as listed; a list without etags would not care.
    wanted = (ImageRef(mended.uri, mended.etag, mended.size), still)
    relaxed = Work(shard=0, task=Task.RETRY, rows=first.rows, refs=wanted, observed=first.observed.path)
    again = bench.run(relaxed)
    assert again.failure is None
    assert (again.rows, again.fetched) == (first.rows, 2)
    after = bench.observations(again)
    assert after["uri"].to_pylist() == before["uri"].to_pylist()
    changed = [one["uri"] for one, other in zip(before.to_pylist(), after.to_pylist(), strict=True) if one != other]
    assert changed == [mended.uri]  # GONE before; there again, but not as listed
    assert by_name(after)["gone.jpg"]["outcome"] == by_name(after)["changed.jpg"]["outcome"] == "CHANGED"


def test_a_retry_that_succeeds(tmp_path: Path, release: Release, good: list[Path]) -> None:
    bench = Bench(tmp_path, release)
    [shard] = bench.shards()
    aside = good[1].rename(tmp_path / "aside.jpg")
    first = bench.observe(shard)
    assert first.outcomes == {"ok": 3, "GONE": 1}
    assert first.observed is not None
    aside.rename(good[1])  # the same inode, size and time: as listed
    refs = tuple(ref for ref in shard.refs if ref.uri.endswith(good[1].name))
    again = bench.run(Work(shard=0, task=Task.RETRY, rows=4, refs=refs, observed=first.observed.path))
    assert again.outcomes == {"ok": 4}
    assert again.fetched == 1
    undisturbed = bench.observe(shard)
    assert bench.observations(again) == bench.observations(undisturbed)
    assert bench.verdicts(again) == bench.verdicts(undisturbed)
    assert bench.observations(again).schema.equals(OBSERVATIONS)


def failure_of(bench: Bench, look: LookStage, work: Work) -> Exception:
    receipt = receipt_of(bench.judge(look(work.row())))
    assert (receipt.rows, receipt.observed, receipt.judged) == (0, None, None)
    assert receipt.failure is not None
    return receipt.failure.error()


def s3_work(count: int, task: Task = Task.OBSERVE, observed: str = "") -> Work:
    refs = tuple(ImageRef(f"s3://bucket/{number}", "e", 7) for number in range(count))
    return Work(shard=0, task=task, rows=count, refs=refs, observed=observed)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer.error(400, "ExpiredToken"), CredentialsError),
        (Answer.error(404, "NoSuchBucket"), BucketError),
        (Answer.error(403, "AccessDenied"), BucketError),  # every one of them: not the images' fault
        (Answer.error(500, "InternalError"), StorageError),
    ],
)
def test_an_error_of_the_job_comes_back_as_data(
    bench: Bench, release: Release, answer: Answer, kind: type[StorageError]
) -> None:
    with told_server(answer) as told:
        error = failure_of(bench, look_stage(release, told.storage().spec), s3_work(8))
    assert type(error) is kind
    assert isinstance(error, StorageError)
    assert error.fix
    assert "not-a-secret" not in str(error)


def test_one_forbidden_object_is_a_fault(bench: Bench, release: Release) -> None:
    with told_server(Answer.error(403, "AccessDenied"), Answer(200, png(20, 20))) as told:
        block = look_stage(release, told.storage().spec)(s3_work(8).row())
    receipt = receipt_of(bench.judge(block))
    assert receipt.failure is None
    assert receipt.outcomes == {"ok": 7, "FORBIDDEN": 1}


def test_retried_images_may_all_fail_again(bench: Bench, release: Release) -> None:
    """They were chosen because they failed; a shard's other images were read."""
    refs = s3_work(8).refs
    seven_and_a_good_one = [Answer.error(403, "AccessDenied")] * 8 + [Answer(200, png(20, 20))]
    everything = Work(shard=0, task=Task.OBSERVE, rows=9, refs=(*refs, ImageRef("s3://bucket/9", "e", 7)))
    with told_server(*seven_and_a_good_one) as told:
        stage = LookStage(LookSpec(told.storage().spec, release.preprocess, BUDGET, 1))
        first = receipt_of(bench.judge(stage(everything.row())))
    assert first.outcomes == {"FORBIDDEN": 8, "ok": 1}
    assert first.observed is not None
    with told_server(Answer.error(403, "AccessDenied")) as told:
        work = Work(shard=0, task=Task.RETRY, rows=9, refs=refs, observed=first.observed.path)
        again = receipt_of(bench.judge(look_stage(release, told.storage().spec)(work.row())))
    assert again.failure is None
    assert again.outcomes == first.outcomes


def test_stored_rows_that_are_gone(bench: Bench) -> None:
    error = failure_of(bench, bench.look, Work(shard=0, task=Task.JUDGE, rows=3, observed="data/none.parquet"))
    assert type(error) is StorageError


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
    again = receipt_of(stage(look(Work(shard=0, task=Task.JUDGE, rows=4, observed=first.observed.path).row())))
    assert again.failure is None
    assert again.actions == first.actions
    local = bench.observations(bench.observe(bench.shards()[0]))
    remote = read_shard(s3.storage, store.uri, first.observed.path, 0)
    names = [path.name for path in good]
    assert [by_name(local)[name]["embedding"] for name in names] == remote["embedding"].to_pylist()
