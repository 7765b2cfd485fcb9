"""Raw scores of composed pictures whose truth is known, kept as test data: `tests/data/composed_scores.npz`.

One drawing each, large, on a plain two-tone ground: what the bundled encoder knows best, so that promises can be made.
`python -m infra.scripts.make_composed_scores`, some minutes; the test that reads it resamples golden and test sets.
"""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from assay.jobs.scene import Art, Rng, paste_object
from assay.platform.release import Release, bundled_release
from assay.platform.views import place, scale, windows
from infra.scripts.starter import truth

OUT = Path(__file__).parents[2] / "tests" / "data" / "composed_scores.npz"
IMAGES, SEED, EDGE, CHUNK = 16_000, 20_261_124, 160, 200
FLAGGED_SHARE = 0.5
LABELS = ("death_gore", "money", "religious_symbols", "weapons", "alcohol", "drugs_medicine")


def make_scores() -> None:
    """Compose, encode, score and write."""
    release = Release.load(bundled_release())
    encoder, scorer = release.encoder("cpu"), release.raw_scorer()
    columns = [scorer.labels.index(label) for label in LABELS]
    scores, known = [], []
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for pixels, names in pool.map(_draw, range(0, IMAGES, CHUNK)):
            scores.append(scorer.score(encoder.encode_images(pixels)).labels[:, columns])
            known += [[_WORDS[truth((name,), LABELS)[label]] for label in LABELS] for name in names]
    OUT.parent.mkdir(exist_ok=True)
    np.savez_compressed(OUT, scores=np.concatenate(scores), truth=np.array(known, np.int8), labels=np.array(LABELS))


_WORDS = {"present": 1, "absent": 0, "unsure": -1}


def _draw(start: int) -> tuple[npt.NDArray[np.uint8], list[str]]:
    art, rng = Art.load(), np.random.default_rng([SEED, start])
    drawn = list(_pictures(art, rng))
    return np.stack([pixels for pixels, _ in drawn]), [name for _, name in drawn]


def _pictures(art: Art, rng: Rng) -> Iterator[tuple[npt.NDArray[np.uint8], str]]:
    preprocess = Release.load(bundled_release()).preprocess
    for _ in range(CHUNK):
        topic = rng.choice(art.flags) if rng.random() < FLAGGED_SHARE else ""
        name = str(rng.choice(art.of_topic(topic)))
        black, white = (tuple(int(value) for value in rng.integers(20, 245, 3)) for _ in range(2))
        picture = ImageOps.colorize(Image.linear_gradient("L").resize((EDGE, EDGE)), black=black, white=white)
        paste_object(picture, art.icon(name), (0, 1), rng)
        yield place(scale(picture, windows(EDGE, EDGE, preprocess, tiles=False)[0], preprocess), preprocess), name


if __name__ == "__main__":
    make_scores()
