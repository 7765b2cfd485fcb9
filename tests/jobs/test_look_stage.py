"""Looking at a shard: every image ends as a row, and what breaks the job comes back as data."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from assay.jobs.stages import LookSpec, LookStage
from assay.jobs.work import Task, Work
from assay.platform.errors import AssayError, BucketError, CredentialsError, StorageError
from assay.platform.release import Release
from assay.platform.rows import OBSERVATIONS, ImageRef
from tests.platform.planted_decoder import PLANTED, order
from tests.stage_bench import (
    BUDGET,
    Bench,
    by_name,
    failure_of,
    file_ref,
    look_stage,
    png,
    receipt_of,
    s3_work,
    spoilt_bench,
    with_decoders,
    write_bad,
)
from tests.storage_doubles import Answer, told_server


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
    relaxed = Work(shard=0, task=Task.RETRY, rows=first.rows, refs=wanted, observed=(first.observed.path,))
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
    again = bench.run(Work(shard=0, task=Task.RETRY, rows=4, refs=refs, observed=(first.observed.path,)))
    assert again.outcomes == {"ok": 4}
    assert again.fetched == 1
    undisturbed = bench.observe(shard)
    assert bench.observations(again) == bench.observations(undisturbed)
    assert bench.verdicts(again) == bench.verdicts(undisturbed)
    assert bench.observations(again).schema.equals(OBSERVATIONS)


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
        work = Work(shard=0, task=Task.RETRY, rows=9, refs=refs, observed=(first.observed.path,))
        again = receipt_of(bench.judge(look_stage(release, told.storage().spec)(work.row())))
    assert again.failure is None
    assert again.outcomes == first.outcomes


def test_stored_rows_that_are_gone(bench: Bench) -> None:
    error = failure_of(bench, bench.look, Work(shard=0, task=Task.JUDGE, rows=3, observed=("data/none.parquet",)))
    assert type(error) is StorageError
