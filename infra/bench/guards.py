"""The guards: speed must not be bought with other answers.

A backfill with the bundled encoder, as it ships, against a reference by the book: Pillow decodes in full, nothing is
scaled while decoding, and the same network runs in fp32. Knows how both are compared; every image is accounted for.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
from deltalake import DeltaTable

from assay.platform.clip_encoder import ClipEncoder
from assay.platform.encoder import Embeddings
from assay.platform.faults import OK
from assay.platform.moderator import Moderator
from assay.platform.release import Release, bundled_release
from assay.platform.uris import parse_uri
from infra.bench.bench import Bench
from infra.bench.decoders import plain_pillow
from infra.bench.figure import Figure, Result
from infra.bench.pictures import batches
from infra.bench.product import run_backfill

MEDIAN, WORST, FLIPS = 0.999, 0.99, 0.001


def measure(bench: Bench) -> Result:
    """Run the pipeline, then the reference over the same images."""
    release = Release.load(bundled_release())
    bench.ray()
    task = bench.task(release, bench.spec.null_images)
    store = Path(task.scratch) / "store"
    run_backfill(task, str(store), {"max_fault_rate": 1.0})
    seen = _read(store / "observations")
    actions = dict(zip(*(_read(store / "verdicts")[name].to_pylist() for name in ("uri", "action")), strict=True))
    ok = seen.filter(pa.array([outcome == OK for outcome in seen["outcome"].to_pylist()]))
    bench.say(f"  {seen.num_rows} images judged, {ok.num_rows} of them whole; now the reference")
    reference = _reference(release, [Path(parse_uri(uri).key) for uri in ok["uri"].to_pylist()], bench.spec.batch)
    ours = np.stack([np.frombuffer(one, "<f2") for one in ok["embedding"].to_pylist()])
    near = cosines(ours, reference)
    wanted = verdicts(release, ok, reference)
    flips = sum(actions[uri] != action for uri, action in wanted.items()) / max(1, len(wanted))
    return Result(
        title="cosine to fp32 of full decoding, median",
        figure=Figure.of([float(np.median(near))], MEDIAN),
        bound_by="scaling in 16-bit steps: three pixels in a thousand are one level off",
        more={
            "cosine, worst": Figure.of([float(near.min())], WORST),
            "share of verdicts that differ": Figure.of([flips], FLIPS, "at most"),
            "images without an observation and a verdict": Figure.of(
                [task.images - len(actions) + task.images - seen.num_rows], 0, "at most"
            ),
        },
        facts={"images": task.images, "faults": seen.num_rows - ok.num_rows},
    )


def _read(table: Path) -> pa.Table:
    return DeltaTable(str(table)).to_pyarrow_table()


def _reference(release: Release, paths: list[Path], batch: int) -> Embeddings:
    directory = release.directory / release.manifest.encoder.path
    encoder = ClipEncoder(directory, release.manifest.encoder.digest, "fp32", "cpu")  # torch, whatever the product runs
    found = []
    for some in batches(paths, batch):
        pixels = [plain_pillow(path.read_bytes(), release.preprocess) for path in some]
        found.append(encoder.encode_images(np.stack([one for one in pixels if one is not None])))
    return np.concatenate(found)


def cosines(ours: Embeddings, reference: Embeddings) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """One per image; both sides are unit vectors but for rounding."""
    one, other = ours.astype(np.float64), reference.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    near: np.ndarray[tuple[int], np.dtype[np.float64]] = (one * other).sum(axis=1) / lengths
    return near


def verdicts(release: Release, ok: pa.Table, reference: Embeddings) -> dict[str, str]:
    """What the moderator decides on these embeddings, by uri; the rest of the observations stays."""
    column = pa.array([row.tobytes() for row in reference], pa.binary())
    at = ok.schema.get_field_index("embedding")
    decided = Moderator(release).decide(ok.set_column(at, "embedding", column))
    return dict(zip(decided["uri"].to_pylist(), decided["action"].to_pylist(), strict=True))
