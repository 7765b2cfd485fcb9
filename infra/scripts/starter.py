"""The bundled release, built anew and calibrated: `make starter`.

Composes pictures whose truth is known, from the demo's art and photographs under a seed the demo does not use, writes
them down as a golden set, and calibrates with it. Knows which drawing shows which label. Every label of the library is
there that the art can show; what is neither clearly there nor clearly not is `unsure`.

The population these pictures stand for is the demo's: a picture of a flagged thing among four. They are drawn oftener,
so that each label has some hundreds, and weighted back.
"""

import datetime
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from assay.jobs.calibrate import CalibrateFacts, CalibrateSpec, calibrate
from assay.jobs.corpus import FLAGGED_SHARE, PHOTO_SHARE
from assay.jobs.scene import SIZES, Art, compose_photograph, compose_scene
from assay.platform.budget import Budget
from assay.platform.faults import Fault
from assay.platform.golden import GOLDEN
from assay.platform.images import decode
from assay.platform.release import Release, bundled_release
from assay.platform.release_build import build_starter
from assay.platform.views import Preprocess

IMAGES, SEED = 12_000, 20_261_123
DRAWN_FLAGGED = 0.6
"""Of the scenes drawn: how many show a thing with a topic."""
LABELS = {
    "alcohol": "alcohol",
    "death": "death_gore",
    "drugs": "drugs_medicine",
    "gambling": "gambling",
    "money": "money",
    "religion": "religious_symbols",
    "rude": "rude_gestures",
    "swimwear": "swimwear_underwear",
    "tobacco": "tobacco",
    "weapons": "weapons",
}
"""The art's topics as the library's labels."""
NARROWER = {
    "axe": "blades",
    "crossed-swords": "blades",
    "dagger": "blades",
    "kitchen-knife": "blades",
    "bomb": "explosives",
}
UNSURE = {
    **dict.fromkeys(("church", "hindu-temple", "kaaba", "mosque", "place-of-worship"), "religious_symbols"),
    **dict.fromkeys(("prayer-beads", "shinto-shrine", "synagogue"), "religious_symbols"),
    **dict.fromkeys(("money-mouth-face", "heavy-dollar-sign"), "money"),
    "bone": "death_gore",
    "face-with-symbols-on-mouth": "rude_gestures",
    "firecracker": "explosives",
}
"""Drawings near a label, which people would not agree on."""
CHUNK = 100


def make_starter() -> CalibrateFacts:
    """Build the bundled release in place, and calibrate it."""
    release = build_starter()
    with tempfile.TemporaryDirectory() as folder:
        golden = Path(folder) / "golden.parquet"
        write_golden(golden, release, IMAGES, SEED)
        return calibrate(CalibrateSpec(out=bundled_release(), release=str(bundled_release()), golden=str(golden)))


def write_golden(path: Path, release: Release, images: int, seed: int) -> None:
    """Compose, encode and write a golden set; its pictures are not kept."""
    encoder, labels = release.encoder("cpu"), sorted(release.library().labels)
    rows: list[dict[str, object]] = []
    now = datetime.datetime.now(datetime.UTC)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        starts = range(0, images, CHUNK)
        for start, (pixels, objects) in zip(starts, pool.map(_draw_chunk, [(seed, at) for at in starts]), strict=True):
            embeddings = encoder.encode_images(pixels)
            for number, (embedding, its) in enumerate(zip(embeddings, objects, strict=True), start):
                rows.append(_row(number, its, labels, embedding.tobytes()) | {"time": now})
    table = pa.Table.from_pylist(rows, GOLDEN)
    pq.write_table(table.replace_schema_metadata({"assay.encoder": encoder.digest}), path)


def _row(number: int, objects: tuple[str, ...], labels: Sequence[str], embedding: bytes) -> dict[str, object]:
    return {
        "uri": f"composed:{number}",
        "etag": "",
        "labels": list(truth(objects, labels).items()),
        "slices": [("style", "drawing" if objects else "photo")],
        "reviewer": "composed",
        "weight": weight(objects),
        "embedding": embedding,
    }


def truth(objects: tuple[str, ...], labels: Sequence[str]) -> dict[str, str]:
    """What is known of a picture that shows these objects."""
    topics = _art().topics
    shown = {LABELS[topics[name]] for name in objects if topics[name]} | {NARROWER.get(name, "") for name in objects}
    unsure = {UNSURE.get(name, "") for name in objects}
    return {label: "unsure" if label in unsure else "present" if label in shown else "absent" for label in labels}


def weight(objects: tuple[str, ...]) -> float:
    """How many pictures of the demo's population one of these stands for; 1 on average over those drawn."""
    if not objects:
        return 1.0
    flagged = any(_art().topics[name] for name in objects)
    return FLAGGED_SHARE / DRAWN_FLAGGED if flagged else (1 - FLAGGED_SHARE) / (1 - DRAWN_FLAGGED)


def _draw_chunk(task: tuple[int, int]) -> tuple[npt.NDArray[np.uint8], list[tuple[str, ...]]]:
    seed, start = task
    preprocess = Release.load(bundled_release()).preprocess
    drawn = list(_draw(np.random.default_rng([seed, start]), preprocess))
    return np.stack([pixels for pixels, _ in drawn]), [objects for _, objects in drawn]


def _draw(rng: np.random.Generator, preprocess: Preprocess) -> Iterator[tuple[npt.NDArray[np.uint8], tuple[str, ...]]]:
    art = _art()
    for _ in range(CHUNK):
        size = SIZES[int(rng.integers(len(SIZES)))]
        objects = () if rng.random() < PHOTO_SHARE else _choose(art, rng)
        picture = compose_scene(art, objects, size, rng) if objects else compose_photograph(art, size, rng)
        file = BytesIO()
        picture.save(file, "JPEG", quality=80)
        seen = decode(file.getvalue(), preprocess, Budget())
        assert not isinstance(seen, Fault)
        yield seen.pixels[0], objects


def _choose(art: Art, rng: np.random.Generator) -> tuple[str, ...]:
    topic = rng.choice(art.flags) if rng.random() < DRAWN_FLAGGED else ""
    objects = [str(rng.choice(art.of_topic(topic)))]
    if rng.random() < 0.4:
        objects.append(str(rng.choice(art.of_topic(""))))
    rng.shuffle(objects)
    return tuple(objects)


@cache
def _art() -> Art:
    return Art.load()


if __name__ == "__main__":
    print(make_starter().model_dump_json(indent=1))
