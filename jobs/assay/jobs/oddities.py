"""What a real bucket holds beside plain pictures: one small table of objects that are hard to read, or hard
to name.

Knows how to make each of them and which fault, if any, an honest reader finds in it. Does not know where
they are written.
"""

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from assay.jobs.scene import Art, Rng, compose_scene, make_background, paste_object
from assay.platform.faults import FaultKind

SIZE = (400, 300)
Make = Callable[[Art, Rng], bytes]


@dataclass(frozen=True, slots=True)
class Oddity:
    """One odd object: `key` in the bucket, what `kind` of oddity, how its bytes are made, and what there is
    to see.

    `objects` are the concepts people see in it; `fault` is what a reader should say, None if the picture is
    fine.
    """

    key: str
    kind: str
    make: Make
    objects: tuple[str, ...] = ()
    fault: FaultKind | None = None


def encode_picture(picture: Image.Image, form: str = "JPEG", **options: Any) -> bytes:
    """`picture` as the bytes of a file of Pillow's format `form`."""
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


def make_scene(art: Art, rng: Rng, objects: tuple[str, ...], form: str, mode: str = "RGB", **options: Any) -> bytes:
    """A scene in another format or colour mode."""
    return encode_picture(compose_scene(art, objects, SIZE, rng).convert(mode), form, **options)


def make_turned(art: Art, rng: Rng, objects: tuple[str, ...], orientation: int) -> bytes:
    """A JPEG stored turned or mirrored, with the EXIF orientation (1 to 8) that sets it right again."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # values of Image.Transpose
    picture = compose_scene(art, objects, SIZE, rng)
    if orientation > 1:
        picture = picture.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode_picture(picture, quality=85, exif=exif)


def make_animation(art: Art, rng: Rng, objects: tuple[str, ...], form: str, at: range) -> bytes:
    """Nine frames of 120 ms, of which only those in `at` show the objects."""
    empty = make_background(art, SIZE, rng)
    frames = [empty.rotate(degrees) for degrees in range(0, 36, 4)]
    layer = Image.new("RGBA", SIZE)
    for name in objects:
        paste_object(layer, art.icon(name), (0, 1), rng)
    for number in at:
        frames[number].paste(layer, (0, 0), layer)
    return encode_picture(frames[0], form, save_all=True, append_images=frames[1:], duration=120, loop=0)


def make_ghost(art: Art, rng: Rng, objects: tuple[str, ...], tone: int) -> bytes:
    """A transparent PNG of objects washed out to `tone`: visible on the opposite ground only."""
    layer = Image.new("RGBA", SIZE, (tone, tone, tone, 0))
    for name in objects:
        icon = art.icon(name)
        plain = Image.new("RGB", icon.size, (tone,) * 3)
        washed = Image.blend(icon.convert("RGB"), plain, 0.94).convert("RGBA")
        washed.putalpha(icon.getchannel("A"))
        paste_object(layer, washed, (0, 1), rng)
    return encode_picture(layer, "PNG")


def make_large(art: Art, rng: Rng, objects: tuple[str, ...]) -> bytes:
    """A valid JPEG of 24 megapixels, half a megabyte."""
    scene = compose_scene(art, objects, SIZE, rng)
    return encode_picture(scene.resize((6000, 4000), Image.Resampling.BICUBIC), quality=60)


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def make_png(width: int, height: int, depth: int, colour: int, deflated: bytes) -> bytes:
    """A PNG by hand, of depths and sizes Pillow does not write. `colour` is PNG's colour type."""
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _png_chunk(b"IDAT", deflated) + _png_chunk(b"IEND", b"")


def make_bomb(_art: Art, _rng: Rng) -> bytes:
    """A valid PNG of 30,000 x 30,000 pixels at one bit in about 110 kB: 2.7 GB once it is RGB."""
    deflate = zlib.compressobj(9)
    rows = bytes(1 + 30_000 // 8) * 1_000
    deflated = b"".join(deflate.compress(rows) for _ in range(30)) + deflate.flush()
    return make_png(30_000, 30_000, 1, 0, deflated)


def make_deep(art: Art, rng: Rng, objects: tuple[str, ...]) -> bytes:
    """A PNG of three channels of 16 bits each."""
    pixels = np.asarray(compose_scene(art, objects, SIZE, rng)).astype(">u2") * 257  # [height, width, 3]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return make_png(*SIZE, 16, 2, zlib.compress(rows))


def make_text(_art: Art, _rng: Rng, text: str) -> bytes:
    """Text that is no picture, whatever its name says."""
    return text.encode()


def make_thin(_art: Art, _rng: Rng, size: tuple[int, int]) -> bytes:
    """A grey PNG of an extreme shape."""
    return encode_picture(ImageOps.invert(Image.new("L", size, 40)), "PNG")


def _formats() -> list[Oddity]:
    table: list[tuple[str, str, str, dict[str, Any]]] = [
        ("scan.bmp", "format_bmp", "beer-mug", {"form": "BMP"}),
        ("scan.tiff", "format_tiff", "cat-face", {"form": "TIFF", "compression": "tiff_lzw"}),
        ("hero.avif", "format_avif", "slot-machine", {"form": "AVIF", "quality": 60}),
        ("card.webp", "format_webp", "wine-glass", {"form": "WEBP", "quality": 80}),
        ("photo.png", "format_png", "sunflower", {"form": "PNG"}),
        ("palette.png", "palette_png", "pizza", {"form": "PNG", "mode": "P"}),
        ("grey.jpg", "grey_jpeg", "dagger", {"form": "JPEG", "mode": "L"}),
        ("print.jpg", "cmyk_jpeg", "bottle-with-popping-cork", {"form": "JPEG", "mode": "CMYK"}),
        ("progressive.jpg", "progressive_jpeg", "coffin", {"form": "JPEG", "progressive": True}),
        ("really-a-png.jpg", "wrong_extension", "dollar-banknote", {"form": "PNG"}),
        ("no-extension", "wrong_extension", "rocket", {"form": "JPEG"}),
    ]
    rows = [
        _showing("uploads/formats/" + name, kind, what, make_scene, **options) for name, kind, what, options in table
    ]
    return [*rows, _showing("uploads/formats/16-bit.png", "deep_png", "cigarette", make_deep)]


def _hidden() -> list[Oddity]:
    """Pictures that show an object only to a reader that turns, composes and plays them as a viewer would."""
    animated, clear = "uploads/animated/", "uploads/transparent/"
    shown = ("wine-glass", "dog-face", "skull", "bikini") * 2
    return [
        _showing(animated + "first.gif", "animated_first_frame", "beer-mug", make_animation, form="GIF", at=range(1)),
        _showing(
            animated + "middle.gif",
            "animated_middle_frame",
            "kitchen-knife",
            make_animation,
            form="GIF",
            at=range(3, 6),
        ),
        _showing(
            animated + "middle.webp", "animated_middle_frame", "bomb", make_animation, form="WEBP", at=range(3, 6)
        ),
        _showing(
            animated + "last.gif", "animated_last_frame", "middle-finger", make_animation, form="GIF", at=range(8, 9)
        ),
        _showing(animated + "last.webp", "animated_last_frame", "pill", make_animation, form="WEBP", at=range(8, 9)),
        _showing(clear + "on-black.png", "only_on_black", "bomb", make_ghost, tone=255),
        _showing(clear + "on-white.png", "only_on_white", "kitchen-knife", make_ghost, tone=0),
        *(
            _showing(f"photos/turned/IMG_{turn:04d}.JPG", "exif_orientation", what, make_turned, orientation=turn)
            for turn, what in enumerate(shown, start=1)
        ),
    ]


def _named() -> list[Oddity]:
    """Good pictures with names that break careless code."""
    names = [
        "with spaces and  two.jpg",
        "été 写真 صورة.jpg",
        "cafe\u0301-decomposed.jpg",
        "party-🎉.jpg",
        "new\nline.jpg",
        "a..b.jpg",
        "<b>x</b>.jpg",
        '"><img src=x onerror=alert(1)>.jpg',
        "{{ 7*7 }}.jpg",
        "100%25 & more?.jpg#part",
        "-dash'quote;semi.jpg",
        "n" * 180 + ".jpg",
        os.fsdecode(b"latin-\xe9-1.jpg"),
    ]
    shown = ("red-apple", "cocktail-glass", "teddy-bear", "joker")
    return [
        _showing("uploads/names/" + name, "odd_name", shown[turn % 4], make_scene, form="JPEG", quality=80)
        for turn, name in enumerate(names)
    ]


def _refused() -> list[Oddity]:
    """What is no picture, or none that a careful reader decodes; and some that only look that way."""
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    texts = [
        ("notes.jpg", "text_file", "no picture\n" * 40),
        ("logo.png", "svg_file", svg),
        ("page.webp", "html_file", "<p>"),
    ]
    return [
        *(
            Oddity(f"uploads/misc/{name}", kind, partial(make_text, text=text), (), FaultKind.UNSUPPORTED_FORMAT)
            for name, kind, text in texts
        ),
        Oddity("uploads/misc/bomb.png", "decompression_bomb", make_bomb, (), FaultKind.TOO_MANY_PIXELS),
        Oddity("uploads/misc/pixel.png", "tiny", partial(make_thin, size=(1, 1))),
        Oddity("uploads/misc/line.png", "thin", partial(make_thin, size=(2000, 2))),
        _showing("photos/large/panorama.jpg", "large", "money-bag", make_large),
    ]


def _showing(key: str, kind: str, what: str, make: Callable[..., bytes], **options: Any) -> Oddity:
    """An oddity that shows one object to those who can read it."""
    return Oddity(key, kind, partial(make, objects=(what,), **options), (what,))


def list_oddities() -> list[Oddity]:
    """Every odd object of the demo corpus."""
    return [*_formats(), *_hidden(), *_named(), *_refused()]
