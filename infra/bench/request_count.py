"""R12: the requests a backfill makes of an object store, as the store itself counts them.

Images and store lie in two buckets, so a GET of an image is told from all else. Knows the budget of the others: a
hundredth of the images, and a hundred.
"""

import contextlib
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from assay.platform.storage import Storage
from infra.bench.bench import Bench
from infra.bench.figure import Figure, Result
from infra.bench.object_store import ObjectStore, object_store
from infra.bench.product import run_backfill
from infra.bench.race import Lap

IMAGES, STORE = "images", "assay-store"
PUTS_AT_ONCE = 16
PER_IMAGE, AT_ALL = 0.01, 100
PACKED = "GETs per image, packed"


def measure(bench: Bench) -> Result:
    """Count a backfill of loose images."""
    folder = bench.scratch()
    with object_store(folder, bench.spec.latency_s) as store:
        made = _count_loose(bench, store)
    with contextlib.suppress(OSError):  # the bench's folder goes as a whole in the end
        shutil.rmtree(folder)
    images = bench.spec.null_images
    gets = made.pop((IMAGES, "GET"), 0)
    others = made.total()
    return Result(
        title="GETs per image, loose",
        figure=Figure.of([gets / images], 1.0, "at most"),
        bound_by="one object, one GET; the others are listing, leases, commits and the store's files",
        more={
            "all other requests": Figure.of([others], PER_IMAGE * images + AT_ALL, "at most"),
            # The place of packed input: shards of many images per object, read by range.
            PACKED: Figure.missing("not measured: there is no packed input yet", 0.01, "at most"),
        },
        facts={"images": images, **{f"{bucket}: {kind}": count for (bucket, kind), count in sorted(made.items())}},
    )


def _count_loose(bench: Bench, store: ObjectStore) -> Counter[tuple[str, str]]:
    source, target = store.make_bucket(IMAGES), store.make_bucket(STORE)
    _upload(bench.paths, source, Storage(store.spec))
    bench.ray()
    task = bench.task(bench.release("null"), 0).model_copy(update={"pictures": source})
    before = store.requests()
    settings = {"storage": store.spec, "shard": {"images": bench.spec.shard}, "max_fault_rate": 1.0}
    watch, facts = run_backfill(task, f"{target}/store", settings)
    assert watch.began is not None, "there was something to do"
    lap = Lap(facts.ok + facts.faulted, len(bench.paths), watch.ended - watch.began)
    lap.check()
    bench.say(f"  {lap.images} images from the loopback store: {lap.rate:.1f} images/s")
    return store.requests() - before


def _upload(paths: list[Path], bucket: str, storage: Storage) -> None:
    with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
        for _ in pool.map(lambda path: storage.write(f"{bucket}/{path.name}", path.read_bytes()), paths):
            pass
