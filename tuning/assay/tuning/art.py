"""Where the drawings come from, and their pixels: one cached uint8 array for each art style.

Knows the npm packages and their file layouts. Does not know captions, scenes or models. The held-out style is
a style like the others here; keeping it away from training is the trial's promise.
"""

import io
import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
import torch
from PIL import Image

from assay.tuning.concepts import Concept, bare_code

ART_PX = 96
HELD_OUT_STYLE = "noto"
TRAINED_STYLES = ("fluent-3d", "fluent-flat", "fluent-high-contrast", "openmoji-color", "openmoji-black")
OUTLINE_STYLES = ("fluent-high-contrast", "openmoji-black")  # one colour: recoloured when composed

# Exact versions: the same drawings, so the same weights.
PACKAGES = (
    "emoji-datasource@16.0.0",
    "@iconify-json/noto@1.2.9",
    "@iconify-json/fluent-emoji-flat@1.2.6",
    "@iconify-json/fluent-emoji-high-contrast@1.2.6",
    "@lobehub/fluent-emoji-3d@1.1.0",
    "openmoji@17.0.0",
)
_ICON_PACKAGES = {
    "noto": "noto",
    "fluent-flat": "fluent-emoji-flat",
    "fluent-high-contrast": "fluent-emoji-high-contrast",
}


@dataclass(frozen=True)
class Shelf:
    """Art of several styles over one list of concepts."""

    pixels: torch.Tensor  # uint8 [style, concept, 4, ART_PX, ART_PX], straight alpha
    present: torch.Tensor  # bool [style, concept]; where false, the pixels are transparent
    outline: torch.Tensor  # bool [style]; true where the style has a single colour

    @property
    def num_concepts(self) -> int:
        return self.pixels.shape[1]


def fetch_art(folder: Path) -> Path:
    """Installs the packages under `folder` unless they are there; returns their folder."""
    modules = folder / "node_modules"
    names = [package.rsplit("@", 1)[0] for package in PACKAGES]
    if all((modules / name / "package.json").is_file() for name in names):
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm not found: it fetches the art. On Debian or Ubuntu: apt-get install npm")
    folder.mkdir(parents=True, exist_ok=True)
    options = ["--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
    subprocess.run([npm, "install", *options, *PACKAGES], check=True)  # noqa: S603 - fixed arguments
    return modules


def load_shelf(styles: tuple[str, ...], concepts: list[Concept], folder: Path) -> Shelf:
    stacks = [_load_style(style, concepts, folder) for style in styles]
    pixels = torch.stack(stacks)
    present = pixels[:, :, 3].amax(dim=(2, 3)) > 0
    return Shelf(pixels, present, torch.tensor([style in OUTLINE_STYLES for style in styles]))


def _load_style(style: str, concepts: list[Concept], folder: Path) -> torch.Tensor:
    """uint8 [concept, 4, px, px]; rendered once, then read from the cache beside the packages."""
    cache = folder / f"{style}-{ART_PX}.npz"
    codes = np.array([concept.code for concept in concepts])
    if cache.is_file():
        with np.load(cache) as stored:
            if np.array_equal(stored["codes"], codes):
                return torch.from_numpy(stored["pixels"])
    drawings = _drawings(style, folder / "node_modules")
    pixels = np.zeros((len(concepts), 4, ART_PX, ART_PX), dtype=np.uint8)
    for row, concept in enumerate(concepts):
        if concept.code in drawings:
            pixels[row] = _render(drawings[concept.code])
    aside = cache.with_suffix(".aside.npz")
    np.savez(aside, codes=codes, pixels=pixels)
    aside.rename(cache)
    return torch.from_numpy(pixels)


def _drawings(style: str, modules: Path) -> dict[str, Path | str]:
    """Code -> a file, or the text of an SVG."""
    if style in _ICON_PACKAGES:
        return _icon_svgs(modules / "@iconify-json" / _ICON_PACKAGES[style])
    if style == "fluent-3d":
        files = (modules / "@lobehub" / "fluent-emoji-3d" / "assets").glob("*.webp")
    else:
        files = (modules / "openmoji" / style.removeprefix("openmoji-") / "svg").glob("*.svg")
    return {bare_code(path.stem): path for path in sorted(files)}


def _icon_svgs(package: Path) -> dict[str, Path | str]:
    icons: dict[str, Any] = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    names: dict[str, str] = json.loads((package / "chars.json").read_text(encoding="utf-8"))
    svgs: dict[str, Path | str] = {}
    for code, name in names.items():
        alias = icons.get("aliases", {}).get(name, {})
        icon = icons["icons"].get(alias.get("parent", name))
        if icon is None:
            continue
        width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">'
        svgs[bare_code(code)] = f"{head}{icon['body']}</svg>"
    return svgs


def _render(drawing: Path | str) -> np.ndarray:
    """uint8 [4, px, px]; the drawing fitted into the square and centred."""
    if isinstance(drawing, Path) and drawing.suffix == ".webp":
        image: Image.Image = Image.open(drawing)
    else:
        svg = drawing if isinstance(drawing, str) else drawing.read_text(encoding="utf-8")
        image = Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg, width=2 * ART_PX))))
    image = image.convert("RGBA")
    scale = ART_PX / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = Image.new("RGBA", (ART_PX, ART_PX))
    canvas.paste(image.resize(size, Image.Resampling.BOX), ((ART_PX - size[0]) // 2, (ART_PX - size[1]) // 2))
    return np.ascontiguousarray(np.asarray(canvas).transpose(2, 0, 1))
