"""Scenes of the demo corpus: packaged art pasted on made backgrounds, and variants of packaged photographs.

Knows the art and how one picture is composed from a random generator. Does not know of files, formats, keys
or faults.
"""

import io
import json
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

DATA = Path(__file__).parent / "data"
"""Package data; where it comes from stands in its `PHOTOS.md`."""

Rng = np.random.Generator
BILINEAR = Image.Resampling.BILINEAR
BICUBIC = Image.Resampling.BICUBIC

SIZES = ((320, 240), (240, 320), (400, 400), (480, 360), (360, 480), (640, 480), (480, 270))
"""Widths and heights of scenes in pixels."""


@dataclass(frozen=True)
class Art:
    """The packaged art. `topics` maps a concept's name to what a starter library flags it for, "" if
    benign.
    """

    topics: dict[str, str]
    icons: dict[str, bytes]
    photographs: tuple[Image.Image, ...]

    @classmethod
    def load(cls) -> "Art":
        """Read the package data (2 MB)."""
        with zipfile.ZipFile(io.BytesIO((DATA / "noto_art.zip").read_bytes())) as pack:
            index = json.loads(pack.read("index.json"))
            icons = {entry["name"]: pack.read(f"{entry['name']}.webp") for entry in index}
        found = sorted((DATA / "photos").glob("*.jpg"))
        photographs = tuple(Image.open(io.BytesIO(entry.read_bytes())).convert("RGB") for entry in found)
        return cls({entry["name"]: entry["topic"] for entry in index}, icons, photographs)

    @cached_property
    def flags(self) -> tuple[str, ...]:
        """The topics, without the benign one."""
        return tuple(sorted(set(self.topics.values()) - {""}))

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        names: dict[str, list[str]] = {}
        for name, topic in self.topics.items():
            names.setdefault(topic, []).append(name)
        return {topic: tuple(its) for topic, its in names.items()}

    def of_topic(self, topic: str) -> tuple[str, ...]:
        """Names of the concepts of a topic; of the benign ones for ""."""
        return self._names[topic]

    def icon(self, name: str) -> Image.Image:
        """RGBA picture of a concept, 128 x 128."""
        return Image.open(io.BytesIO(self.icons[name])).convert("RGBA")


def compose_scene(art: Art, objects: tuple[str, ...], size: tuple[int, int], rng: Rng) -> Image.Image:
    """RGB picture of `size` with every object pasted at a random scale, place and turn; two side by side."""
    scene = make_background(art, size, rng)
    for number, name in enumerate(objects):
        paste_object(scene, art.icon(name), (number, len(objects)), rng)
    return scene


def paste_object(scene: Image.Image, icon: Image.Image, place: tuple[int, int], rng: Rng) -> None:
    """Paste `icon` into column `place[0]` of `place[1]` columns of `scene`, wholly inside the picture."""
    column, num_columns = place
    width = scene.width // num_columns
    edge = max(24, int(min(width, scene.height) * rng.uniform(0.5, 0.95)))
    turned = icon.rotate(rng.normal(0, 14), BILINEAR, expand=True).resize((edge, edge), BICUBIC)
    left = column * width + int(rng.integers(0, max(1, width - edge)))
    top = int(rng.integers(0, max(1, scene.height - edge)))
    scene.paste(turned, (left, top), turned)


def compose_photograph(art: Art, size: tuple[int, int], rng: Rng) -> Image.Image:
    """RGB picture of `size`: a crop of one of the photographs, perhaps mirrored, toned or made grey."""
    picture = _crop(art.photographs[int(rng.integers(len(art.photographs)))], size, rng)
    if rng.random() < 0.5:
        picture = ImageOps.mirror(picture)
    if rng.random() < 0.15:
        picture = picture.convert("L").convert("RGB")
    picture = ImageEnhance.Brightness(picture).enhance(rng.uniform(0.75, 1.25))
    return ImageEnhance.Color(picture).enhance(rng.uniform(0.6, 1.4))


def make_background(art: Art, size: tuple[int, int], rng: Rng) -> Image.Image:
    """RGB picture of `size`: a gradient, clouds, stripes, or a blurred and toned crop of a photograph."""
    kind = rng.random()
    if kind < 0.35:
        gradient = Image.linear_gradient("L").rotate(rng.uniform(0, 360), BILINEAR)
        return _two_tone(gradient.crop((38, 38, 218, 218)), size, rng)  # the square that every rotation fills
    if kind < 0.55:
        coarse = rng.integers(0, 256, (int(rng.integers(3, 12)),) * 2, dtype=np.uint8)
        return _two_tone(Image.fromarray(coarse), size, rng)
    if kind < 0.65:
        stripes = np.tile(np.repeat(np.array([90, 165], np.uint8), int(rng.integers(4, 12))), (8, 6))
        return _two_tone(Image.fromarray(stripes), size, rng)
    picture = _crop(art.photographs[int(rng.integers(len(art.photographs)))], size, rng)
    picture = Image.blend(picture, Image.new("RGB", size, _colour(rng)), rng.uniform(0.1, 0.5))
    return picture.filter(ImageFilter.BoxBlur(3)) if rng.random() < 0.6 else picture


def _two_tone(tones: Image.Image, size: tuple[int, int], rng: Rng) -> Image.Image:
    """`tones` (mode L, any size) scaled to `size`, its black and white made two random colours."""
    return ImageOps.colorize(tones.resize(size, BICUBIC), black=_colour(rng), white=_colour(rng))


def _colour(rng: Rng) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(20, 245, 3))
    return red, green, blue


def _crop(picture: Image.Image, size: tuple[int, int], rng: Rng) -> Image.Image:
    """A random crop of the aspect of `size`, 50 to 100 % of the largest that fits, scaled to `size`."""
    share = min(picture.width / size[0], picture.height / size[1]) * rng.uniform(0.5, 1.0)
    width, height = size[0] * share, size[1] * share
    left = rng.uniform(0, picture.width - width)
    top = rng.uniform(0, picture.height - height)
    return picture.resize(size, BILINEAR, box=(left, top, left + width, top + height))
