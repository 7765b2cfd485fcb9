"""Entry: writes the 60 Noto drawings (drawn by chance) and all concept names that tests/tuning checks against.

python infra/scripts/make_encoder_check_set.py
"""

import json
from pathlib import Path

import torch
from PIL import Image

from assay.tuning.art import HELD_OUT_STYLE, fetch_art, load_shelf
from assay.tuning.concepts import read_concepts
from assay.tuning.scenes import centred

_NUM_DRAWINGS, _COLUMNS, _PX, _SEED = 60, 10, 112, 1
_ART, _CLDR, _OUT = Path("build/art"), Path("/usr/share/unicode/cldr/common"), Path("tests/tuning/data")


def main() -> None:
    concepts = read_concepts(fetch_art(_ART) / "emoji-datasource", _CLDR)
    shelf = load_shelf((HELD_OUT_STYLE,), concepts, _ART)
    picked = torch.randperm(len(concepts), generator=torch.Generator().manual_seed(_SEED))[:_NUM_DRAWINGS]
    tiles = (centred(shelf, 0, picked, _PX) * 255).round().byte().permute(0, 2, 3, 1).numpy()
    sheet = Image.new("RGB", (_COLUMNS * _PX, _NUM_DRAWINGS // _COLUMNS * _PX))
    for place, tile in enumerate(tiles):
        sheet.paste(Image.fromarray(tile), (place % _COLUMNS * _PX, place // _COLUMNS * _PX))
    sheet.save(_OUT / "noto_check.webp", quality=80, method=6)
    names = [concept.name for concept in concepts]
    check = json.dumps([names[row] for row in picked.tolist()], indent=1, ensure_ascii=False)
    (_OUT / "noto_check.json").write_text(check + "\n", encoding="utf-8")
    (_OUT / "concept_names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
