"""`make bench`: the spine against its limits, side by side in one run.

Knows how sides are interleaved and what is printed. One measurement for now: R2, the share of a bare fetch-and-decode
thread pool that the whole backfill reaches with the null encoder (start-up apart). The method is the one the next
issues extend: same images, same output, medians of interleaved rounds, the limit named.
"""

import json
import logging
import statistics
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ray

from assay.jobs.backfill import BackfillSpec, backfill
from assay.jobs.corpus import CorpusSpec, compose_corpus
from assay.jobs.work import Receipt
from assay.platform.fetch import fetch
from assay.platform.images import Budget, Preprocess, decode
from assay.platform.listing import list_objects
from assay.platform.release import hash_release
from assay.platform.storage import Storage

ROUNDS, IMAGES, SHARD, THREADS = 5, 2000, 128, 4
OUT = Path(__file__).parent / "latest.json"


class Stopwatch:
    """A watcher that notes when the first shard's work began, when the last one came back, and the images between."""

    def __init__(self) -> None:
        self.began: float | None = None
        self.ended = 0.0
        self.images = 0

    def listed(self, images: int, size: int) -> None: ...

    def planned(self, facts: object, backlog: object, release: object) -> None: ...

    def started(self, cluster: object, pools: object) -> None: ...

    def received(self, receipt: Receipt) -> None:
        self.ended = time.monotonic()
        self.images += receipt.rows
        if self.began is None:
            self.began = self.ended - sum(receipt.seconds.values())

    def committed(self, receipts: object) -> None: ...

    def noticed(self, what: str) -> None: ...

    @property
    def rate(self) -> float:
        """Images per second from the first fetch to the last receipt: only start-up is left out."""
        assert self.began is not None
        return self.images / (self.ended - self.began)


def bare_rate(bucket: Path, preprocess: Preprocess) -> float:
    """Images per second of a bare thread pool that fetches and decodes to the same pixels."""
    storage, budget = Storage(), Budget()
    refs = list(list_objects(storage, str(bucket)))

    def look(index: int) -> None:
        data = fetch(storage, refs[index], budget.max_bytes)
        if isinstance(data, bytes):
            decode(data, preprocess, budget)

    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(look, range(len(refs))))
    return len(refs) / (time.monotonic() - began)


def backfill_rate(bucket: Path, store: Path, release: Path) -> float:
    """Images per second of the whole job, null encoder."""
    settings = {"source": str(bucket), "store": str(store), "release": str(release), "shard": {"images": SHARD}}
    watch = Stopwatch()
    backfill(BackfillSpec.model_validate({**settings, "threads": THREADS}), watch, threading.Event())
    return watch.rate


def measure(folder: Path) -> dict[str, float | str]:
    """R2 over interleaved rounds."""
    compose_corpus(folder / "bucket", CorpusSpec(images=IMAGES))
    release = hash_release(folder / "release")
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ratios, bare, whole = [], [], []
    for number in range(ROUNDS):
        bare.append(bare_rate(folder / "bucket", release.preprocess))
        whole.append(backfill_rate(folder / "bucket", folder / f"store-{number}", folder / "release"))
        ratios.append(whole[-1] / bare[-1])
        print(
            f"round {number + 1}: bare {bare[-1]:7.1f}/s  backfill {whole[-1]:7.1f}/s  ratio {ratios[-1]:.2f}",
            flush=True,
        )
    return {
        "value": round(statistics.median(ratios), 3),
        "low": round(min(ratios), 3),
        "high": round(max(ratios), 3),
        "target": 0.70,
        "bare_images_per_second": round(statistics.median(bare), 1),
        "backfill_images_per_second": round(statistics.median(whole), 1),
        "bound_by": "bare thread pool, same decoder, same output",
    }


def main() -> int:
    """Measure, print, and write `latest.json`."""
    with tempfile.TemporaryDirectory() as folder:
        result = {"R2": measure(Path(folder))}
    OUT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
