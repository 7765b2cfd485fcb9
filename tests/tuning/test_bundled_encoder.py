"""The encoder that is in the repository, loaded as every user loads it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from PIL import Image

ENCODER = Path(__file__).parents[2] / "platform" / "assay" / "platform" / "data" / "starter" / "encoder"
DATA = Path(__file__).parent / "data"
TILE_PX, COLUMNS = 112, 10


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Callable[[Image.Image], torch.Tensor], Any]:
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{ENCODER}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{ENCODER}", bpe_path=str(ENCODER / "bpe.txt.gz"))
    return model.eval(), preprocess, tokenizer


def test_all_files_stay_under_twenty_megabytes() -> None:
    assert sum(path.stat().st_size for path in ENCODER.iterdir()) < 20_000_000


def test_the_curve_reaches_the_floor() -> None:
    curve = json.loads((ENCODER / "curve.json").read_text(encoding="utf-8"))
    assert curve["held_out_style"] == "noto"
    assert curve["concepts"] >= 1_600
    assert curve["points"][-1]["plain-en-top1"] >= 0.30
    assert (ENCODER / "curve.svg").is_file()


def test_the_card_names_sources_and_licences() -> None:
    card = (ENCODER / "README.md").read_text(encoding="utf-8")
    for word in ("OpenMoji", "CC BY-SA 4.0", "Fluent", "MIT", "Noto", "Apache-2.0", "Limits", "make_encoder"):
        assert word in card


@torch.no_grad()
def test_texts_are_unit_vectors_and_synonyms_are_near(loaded: tuple[Any, Any, Any]) -> None:
    model, _, tokenizer = loaded
    texts = ["beer", "啤酒", "cigarette", "香烟"]
    embeddings = model.encode_text(tokenizer(texts), normalize=True)
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(4), atol=1e-4)
    cosines = embeddings @ embeddings.T
    assert cosines[0, 1] > cosines[0, 3]
    assert cosines[2, 3] > cosines[2, 1]


@torch.no_grad()
def test_drawings_of_an_unseen_style_are_named(loaded: tuple[Any, Any, Any]) -> None:
    """60 Noto drawings, drawn by chance, against the names of all concepts."""
    model, preprocess, tokenizer = loaded
    names = (DATA / "concept_names.txt").read_text(encoding="utf-8").splitlines()
    check = json.loads((DATA / "noto_check.json").read_text(encoding="utf-8"))
    sheet = Image.open(DATA / "noto_check.webp").convert("RGB")
    tiles = [sheet.crop(_box(place)) for place in range(len(check))]
    pictures = model.encode_image(torch.stack([preprocess(tile) for tile in tiles]), normalize=True)
    texts = torch.cat([model.encode_text(tokens, normalize=True) for tokens in tokenizer(names).split(256)])
    best = (pictures @ texts.T).topk(5, dim=1).indices.tolist()
    top1 = sum(names[row[0]] == name for row, name in zip(best, check, strict=True)) / len(check)
    top5 = sum(name in {names[i] for i in row} for row, name in zip(best, check, strict=True)) / len(check)
    assert top1 >= 0.25, "the floor leaves room for chance: 60 drawings, not all"
    assert top5 >= 0.45


def _box(place: int) -> tuple[int, int, int, int]:
    x, y = place % COLUMNS * TILE_PX, place // COLUMNS * TILE_PX
    return (x, y, x + TILE_PX, y + TILE_PX)
