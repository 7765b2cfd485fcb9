import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from assay.tuning import art
from assay.tuning.art import ART_PX, fetch_art, load_shelf
from assay.tuning.concepts import Concept

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 2 2"><path fill="#f00" d="M0 0H2V1H0z"/></svg>'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One concept drawn in each kind of package, a second in none."""
    modules = tmp_path / "node_modules"
    noto = modules / "@iconify-json" / "noto"
    color = modules / "openmoji" / "color" / "svg"
    fluent = modules / "@lobehub" / "fluent-emoji-3d" / "assets"
    for path in (noto, color, fluent):
        path.mkdir(parents=True)
    body = '<path fill="#f00" d="M0 0H128V64H0z"/>'
    icons = {"icons": {"beer": {"body": body}}, "width": 128, "height": 128}
    (noto / "icons.json").write_text(json.dumps(icons), encoding="utf-8")
    (noto / "chars.json").write_text(json.dumps({"0000-fe0f": "beer"}), encoding="utf-8")
    (color / "0000.svg").write_text(SVG, encoding="utf-8")
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(fluent / "0000.webp", lossless=True)
    return tmp_path


@pytest.mark.parametrize("style", ["noto", "openmoji-color", "fluent-3d"])
def test_art_becomes_pixels(folder: Path, concepts: list[Concept], style: str) -> None:
    shelf = load_shelf((style,), concepts, folder)
    assert shelf.pixels.shape == (1, 6, 4, ART_PX, ART_PX)
    assert shelf.present.tolist() == [[True, False, False, False, False, False]]
    assert shelf.pixels[0, 0, :, 10, 10].tolist() == [255, 0, 0, 255]


def test_the_second_load_reads_the_cache(folder: Path, concepts: list[Concept]) -> None:
    first = load_shelf(("noto",), concepts, folder)
    (folder / "node_modules" / "@iconify-json" / "noto" / "icons.json").unlink()
    assert torch.equal(first.pixels, load_shelf(("noto",), concepts, folder).pixels)


def test_without_npm_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.tuning.art.shutil.which", lambda _name: None)
    with pytest.raises(FileNotFoundError, match="npm not found"):
        fetch_art(tmp_path)


def test_the_held_out_style_is_not_trained_on() -> None:
    assert art.HELD_OUT_STYLE not in art.TRAINED_STYLES
    assert not any("noto" in style for style in art.TRAINED_STYLES)
