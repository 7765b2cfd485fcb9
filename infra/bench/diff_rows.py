"""How fast two releases are compared: `python -m infra.bench.diff_rows --images 300000`, on a store made for it.

Knows how to write verdicts without pictures: scores are drawn, decided by the release's own policy, and written small
files on one side and large ones on the other. The command runs as users run it, on one core; its memory is its own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from assay.jobs.datafile import JUDGED, FileWriter, write_observations
from assay.jobs.ledger import DataFile
from assay.jobs.release_copy import keep_release
from assay.jobs.side import Scores
from assay.jobs.store import Store
from assay.platform.encoder import EncoderSpec
from assay.platform.policy import ACTIONS, Policy
from assay.platform.release import Release
from assay.platform.release_build import ReleaseSpec, build_release
from assay.platform.rows import OBSERVATIONS, VERDICT_FILE
from assay.platform.storage import Storage

LABELS = 16
SHARD = 640
"""Images of a shard."""
SMALL, LARGE = 1, 256
"""Shards of a file, before and after a compaction."""


def main() -> None:
    """Make a store, compare, and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300_000)
    images = parser.parse_args().images
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # the command below inherits it
    with tempfile.TemporaryDirectory() as folder:
        store, releases = make_store(Path(folder), images)
        typed = ["diff", store.shown, "--from", releases[0].id, "--to", releases[1].id, "--json"]
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-m", "assay.jobs", *typed], check=True, capture_output=True)
        seconds = time.perf_counter() - began
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        (change,) = json.loads(done.stdout)["policies"]
        told = {
            "images": change["images"],
            "moved": change["moves"]["newly_flagged"],
            "bytes_per_verdict": round(store.verdicts.table().columns["size"].to_numpy().sum() / images / 2, 1),
            "wall_s": round(seconds, 2),
            "cpu_s": round(used.ru_utime + used.ru_stime, 2),
            "images_per_cpu_s": round(images / (used.ru_utime + used.ru_stime)),
            "peak_mb": used.ru_maxrss // 1024,
        }
        print(json.dumps(told))


def make_store(folder: Path, images: int) -> tuple[Store, tuple[Release, Release]]:
    """A store of so many images, judged by two releases whose thresholds differ."""
    releases = _release(folder / "a", 0.5), _release(folder / "b", 0.45)
    store = Store.attach(Storage(), str(folder / "store"))
    store.establish()
    store.observations.create()
    store.verdicts.create()
    shards = -(-images // SHARD)
    _observe(store, images, shards)
    for release, cut in zip(releases, (SMALL, LARGE), strict=True):
        keep_release(store, release)
        files = list(_judge(store, release, images, cut))
        store.verdicts.commit(files)
    return store, releases


def _release(folder: Path, review: float) -> Release:
    folder.mkdir()
    concept = "{{counter_prompts: {{en: [against {0}]}}, concepts: {{c{0}: {{prompts: {{en: [for {0}]}}}}}}}}"
    labels = "\n".join(f"      label_number_{place:02d}: {concept.format(place)}" for place in range(LABELS))
    head = "assay_library: 1\nname: wide\nbackground: {en: [nothing]}\ncategories:\n  all:\n    labels:\n"
    (folder / "library.yaml").write_text(f"{head}{labels}\n")
    (folder / "policy.yaml").write_text(f"assay_policy: 1\nname: strict\ndefault: {{review: {review}}}\n")
    spec = ReleaseSpec(
        name=folder.name,
        encoder=EncoderSpec(model="hash"),
        library=folder / "library.yaml",
        policies=(folder / "policy.yaml",),
    )
    return build_release(folder / "release", spec)


def _observe(store: Store, images: int, shards: int) -> None:
    """One file stands for all: of observations only the count is asked."""
    empty = {name: pa.array([""] * images) for name in ("uri", "etag")}
    columns = {"shard": pa.array(np.arange(images) // SHARD), "size": pa.array(np.ones(images, np.int64)), **empty}
    columns |= {"outcome": pa.repeat("ok", images), "embedding": pa.repeat(pa.scalar(b""), images)}
    table = pa.table([columns.get(field.name, pa.nulls(images, field.type)) for field in OBSERVATIONS], OBSERVATIONS)
    written = write_observations(store.storage, store.uri, 0, table)
    store.observations.commit([DataFile(written.path, written.size, images, 0, shards - 1, "", "", {})])


def _judge(store: Store, release: Release, images: int, cut: int) -> Iterator[DataFile]:
    policy, labels = release.policy(), tuple(release.library().labels)
    partition = {"release": release.id, "policy": policy.name}
    for first in range(0, -(-images // SHARD), cut):
        file = FileWriter(JUDGED)
        last = min(first + cut, -(-images // SHARD)) - 1
        for shard in range(first, last + 1):
            file.add(_verdicts(shard, min(SHARD, images - shard * SHARD), policy, labels))
        done = file.write(store.storage, store.uri, first)
        yield DataFile(done.path, done.size, file.rows, first, last, done.first_uri, done.last_uri, partition)


def _verdicts(shard: int, count: int, policy: Policy, labels: tuple[str, ...]) -> pa.Table:
    """Scores are the same on both sides, but for a tenth of them."""
    rng = np.random.default_rng(shard)
    scores: Scores = (rng.random((count, len(labels))) ** 8).astype(np.float32)
    ranks = policy.decide(scores, labels).max(axis=1)
    keys = pa.array(labels).take(pa.array(np.tile(np.arange(len(labels)), count)))
    offsets = pa.array((np.arange(count + 1) * len(labels)).astype(np.int32))
    numbers = range(shard * SHARD, shard * SHARD + count)
    columns = {
        "shard": pa.array(np.full(count, shard)),
        "uri": pa.array([f"s3://some-bucket/uploads/2026/11/{number:09d}.jpg" for number in numbers]),
        "etag": pa.array([rng.bytes(16).hex() for _ in numbers]),
        "outcome": pa.repeat("ok", count),
        "action": pa.array([action.value for action in ACTIONS]).take(pa.array(ranks)),
        "findings": pa.array([[]] * count, VERDICT_FILE.field("findings").type),
        "scores": pa.MapArray.from_arrays(offsets, keys, pa.array(scores.reshape(-1))),
    }
    return pa.table([columns[name] for name in VERDICT_FILE.names], VERDICT_FILE)


if __name__ == "__main__":
    main()
