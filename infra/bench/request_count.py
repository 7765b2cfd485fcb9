"""R12: the requests a backfill makes of an object store, as the store itself counts them.

Images, loose and packed in tars, and stores lie in buckets of their own, so a GET of an image is told from all else.
Knows the budget of the others: a hundredth of the images, and a hundred.
"""

import contextlib
import io
import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from assay.platform.storage import Storage
from infra.bench.bench import Bench
from infra.bench.figure import Figure, Result
from infra.bench.object_store import ObjectStore, object_store
from infra.bench.product import run_backfill
from infra.bench.race import Lap

IMAGES, PACKS, STORE = "images", "packed-images", "assay-store"
PUTS_AT_ONCE = 16
PER_IMAGE, AT_ALL = 0.01, 100
IN_A_TAR = 1000


def measure(bench: Bench) -> Result:
    """Count a backfill of loose images, and one of the same in tars."""
    folder = bench.scratch()
    with object_store(folder, bench.spec.latency_s) as store:
        target, client = store.make_bucket(STORE), Storage(store.spec)
        loose, packs = store.make_bucket(IMAGES), store.make_bucket(PACKS)
        _upload(bench.paths, loose, client)
        made = _count(bench, store, loose, f"{target}/loose", {})
        for name, tar in _tars(bench.paths):
            client.write(f"{packs}/{name}", tar)
        made_packed = _count(bench, store, packs, f"{target}/packed", {"packed": True})
    with contextlib.suppress(OSError):  # the bench's folder goes as a whole in the end
        shutil.rmtree(folder)
    images = bench.spec.null_images
    gets = made.pop((IMAGES, "GET"), 0)
    return Result(
        title="GETs per image, loose",
        figure=Figure.of([gets / images], 1.0, "at most"),
        bound_by="one object, one GET; the others are listing, leases, commits and the store's files",
        more={
            "all other requests": Figure.of([made.total()], PER_IMAGE * images + AT_ALL, "at most"),
            "GETs per image, packed": Figure.of([made_packed[PACKS, "GET"] / images], 0.01, "at most"),
        },
        facts={"images": images, **{f"{bucket}: {kind}": count for (bucket, kind), count in sorted(made.items())}},
    )


def _count(
    bench: Bench, store: ObjectStore, source: str, target: str, settings: Mapping[str, Any]
) -> Counter[tuple[str, str]]:
    """The requests of one backfill, from its listing to its last commit."""
    bench.ray()
    task = bench.task(bench.release("null"), 0).model_copy(update={"pictures": source})
    before = store.requests()
    watch, facts = run_backfill(task, target, {"storage": store.spec, "max_fault_rate": 1.0, **settings})
    assert watch.began is not None, "there was something to do"
    lap = Lap(facts.ok + facts.faulted, len(bench.paths), watch.ended - watch.began)
    lap.check()
    bench.say(f"  {lap.images} images from {source}: {lap.rate:.1f} images/s")
    return store.requests() - before


def _tars(paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    for number, start in enumerate(range(0, len(paths), IN_A_TAR)):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as out:
            for path in paths[start : start + IN_A_TAR]:
                out.add(path, path.name)
        yield f"{number:04d}.tar", sink.getvalue()


def _upload(paths: list[Path], bucket: str, storage: Storage) -> None:
    with ThreadPoolExecutor(PUTS_AT_ONCE) as pool:
        for _ in pool.map(lambda path: storage.write(f"{bucket}/{path.name}", path.read_bytes()), paths):
            pass
