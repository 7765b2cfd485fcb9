"""The images every side works on: JPEGs as a bucket of uploads holds them, composed once per run.

Of each hundred, five are large (8 to 12 megapixels), two progressive, one grey or CMYK, one cut short; the rest are
500 x 375, quality 90. All are 4:3, so each is one view for the encoder. A few hundred are drawn; the others are the
same pictures in files of other bytes (a comment is put in), so no cache by content can help.

Knows the mix. Does not know how scenes are drawn (`assay.jobs.scene`).
"""

import io
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import cycle, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from assay.jobs.scene import Art, Rng, compose_photograph, compose_scene
from assay.platform.spec import Spec

PLAIN, LARGE, PROGRESSIVE, ODD_COLOUR, TRUNCATED = "plain", "large", "progressive", "odd-colour", "truncated"
POSTED = "posted"
"""What is posted to the service: each some 100 KB."""
SHARES = {LARGE: 0.05, PROGRESSIVE: 0.02, ODD_COLOUR: 0.01, TRUNCATED: 0.01}
"""Of all images; the rest are plain."""
ORIGINALS = {LARGE: 8, PROGRESSIVE: 20, ODD_COLOUR: 10, TRUNCATED: 10}
"""Pictures drawn of each kind."""
SIZE = (500, 375)
SIZES = {LARGE: ((3264, 2448), (3600, 2700), (4000, 3000)), POSTED: ((720, 540),)}
"""Of the kinds that have others."""
QUALITY = 90
GRAIN = 5.0
"""Noise of a camera, in levels: with it a plain file has some 50 KB, as ImageNet's do."""
PHOTO_SHARE, FLAGGED_SHARE = 0.2, 0.25
"""Of the originals: photographs; and scenes with something a policy speaks of, so that verdicts could flip."""
IN_A_FOLDER = 1000


class PicturesSpec(Spec):
    """How many images, from how many plain pictures, and the seed that fixes them."""

    images: int
    distinct: int
    seed: int = 7


def compose_pictures(folder: Path, spec: PicturesSpec) -> list[Path]:
    """Write the images; their paths, in order of name. The kinds are shuffled over the names."""
    kinds = plan_kinds(spec)
    wanted = ORIGINALS | {PLAIN: spec.distinct}
    counts = {kind: min(count, kinds.count(kind)) for kind, count in wanted.items()}
    drawn = {kind: cycle(originals) for kind, originals in _draw(counts, spec.seed).items() if originals}
    return [_write(folder, number, kind, next(drawn[kind])) for number, kind in enumerate(kinds)]


def compose_posted(folder: Path, count: int, seed: int) -> list[Path]:
    """Write pictures of some 100 KB each, as people post them; their paths."""
    drawn = _draw({POSTED: count}, seed)[POSTED]
    return [_write(folder, number, POSTED, original) for number, original in enumerate(drawn)]


def link_pictures(paths: list[Path], folder: Path, count: int) -> Path:
    """A folder of `count` images under names of their own, linked to those of `paths`, over and over."""
    for number, path in enumerate(islice(cycle(paths), count)):
        link = _place(folder, number)
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, link)
    return folder


def plan_kinds(spec: PicturesSpec) -> list[str]:
    """The kind of each image."""
    kinds = [kind for kind, share in SHARES.items() for _ in range(round(spec.images * share))]
    kinds += [PLAIN] * (spec.images - len(kinds))
    np.random.default_rng(spec.seed).shuffle(kinds)
    return kinds


def _place(folder: Path, number: int) -> Path:
    return folder / f"{number // IN_A_FOLDER:04d}" / f"{number:07d}.jpg"


def _write(folder: Path, number: int, kind: str, original: bytes) -> Path:
    path = _place(folder, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = renumber(original, number)
    path.write_bytes(data[: len(data) * 3 // 5] if kind == TRUNCATED else data)
    return path


def renumber(jpeg: bytes, number: int) -> bytes:
    """The same picture in a file of other bytes: a comment stands before its first segment."""
    comment = f"image {number}".encode()
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


def _draw(counts: dict[str, int], seed: int) -> dict[str, list[bytes]]:
    # Spawned, not forked: the caller may run threads (Ray does), and a fork of those hangs.
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), get_context("spawn")) as pool:
        return {
            kind: list(pool.map(partial(_draw_one, kind, seed), range(count), chunksize=4))
            for kind, count in counts.items()
        }


@cache
def _art() -> Art:
    return Art.load()


def _draw_one(kind: str, seed: int, number: int) -> bytes:
    rng = np.random.default_rng([seed, *kind.encode(), number])
    sizes = SIZES.get(kind, (SIZE,))
    size = sizes[number % len(sizes)]
    picture = _grained(_scene(rng).resize(size, Image.Resampling.BICUBIC), rng)
    if kind == ODD_COLOUR:
        picture = picture.convert("L" if number % 2 else "CMYK")
    return _jpeg(picture, progressive=kind == PROGRESSIVE)


def _scene(rng: Rng) -> Image.Image:
    art = _art()
    if rng.random() < PHOTO_SHARE:
        return compose_photograph(art, SIZE, rng)
    topic = str(rng.choice(art.flags)) if rng.random() < FLAGGED_SHARE else ""
    return compose_scene(art, (str(rng.choice(art.of_topic(topic))),), SIZE, rng)


def _grained(picture: Image.Image, rng: Rng) -> Image.Image:
    grain = rng.normal(0, GRAIN, (SIZE[1], SIZE[0], 1)).astype(np.int16)
    width, height = picture.size
    tiled = np.tile(grain, (-(-height // SIZE[1]), -(-width // SIZE[0]), 1))[:height, :width]
    pixels = np.asarray(picture.convert("RGB"), np.int16) + tiled
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _jpeg(picture: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY, **options)
    return out.getvalue()


def batches(paths: list[Path], size: int) -> Iterator[list[Path]]:
    """`paths`, so many at a time."""
    for start in range(0, len(paths), size):
        yield paths[start : start + size]
