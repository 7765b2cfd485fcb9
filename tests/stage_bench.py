"""Both stages at work in one process, on a source of good images and bad files."""

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from assay.jobs.datafile import read_shard
from assay.jobs.generation import generations
from assay.jobs.judge_stage import JudgeSpec, JudgeStage
from assay.jobs.manifest import Shard, ShardSpec, read_shards
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.release_copy import keep_release
from assay.jobs.stages import LookSpec, LookStage
from assay.jobs.store import Store
from assay.jobs.work import Receipt, Task, Work
from assay.platform.fetch import file_etag
from assay.platform.guard import Guard
from assay.platform.images import Budget
from assay.platform.release import Release
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage, StorageSpec

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


def write_bad(folder: Path, whole: bytes) -> dict[str, str]:
    """Files that are no good images, and the fault of each."""
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


def spoilt_bench(tmp_path: Path, release: Release) -> Bench:
    """Good images and bad files, as they are when they are fetched: one has gone, one has changed."""
    bench = Bench(tmp_path, release)
    (bench.source / "gone.jpg").unlink()
    (bench.source / "changed.jpg").write_bytes(b"another")
    return bench


def by_name(rows: pa.Table) -> dict[str, dict[str, object]]:
    names = {"new%0Aline%20%26%20%3Cb%3E.txt": "new\nline & <b>.txt"}
    shown = [uri.rpartition("/")[2] for uri in rows["uri"].to_pylist()]
    return dict(zip((names.get(name, name) for name in shown), rows.to_pylist(), strict=True))


def with_decoders(look: LookStage, command: Sequence[str]) -> LookStage:
    """The stage, with decoders of another kind."""
    look.guard = Guard(look.spec.preprocess, look.spec.budget, look.spec.decoders, command)
    return look


def failure_of(bench: Bench, look: LookStage, work: Work) -> Exception:
    receipt = receipt_of(bench.judge(look(work.row())))
    assert (receipt.rows, receipt.observed, receipt.judged) == (0, None, None)
    assert receipt.failure is not None
    return receipt.failure.error()


def s3_work(count: int, task: Task = Task.OBSERVE, *observed: str) -> Work:
    refs = tuple(ImageRef(f"s3://bucket/{number}", "e", 7) for number in range(count))
    return Work(shard=0, task=task, rows=count, refs=refs, observed=observed)
