"""A trained encoder as a folder that open_clip loads as `local-dir:`, with its card and its curve.

Knows the file names open_clip looks for. Does not know how the weights came to be. Loaders name the vocabulary
themselves, for open_clip resolves it against the working directory:

    open_clip.create_model(f"local-dir:{folder}")
    open_clip.get_tokenizer(f"local-dir:{folder}", bpe_path=str(folder / "bpe.txt.gz"))
"""

import json
import shutil
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

from assay.platform.tower_card import TOWER_FILES
from assay.tuning.encoder_card import curve_svg, write_card
from assay.tuning.encoder_trial import EncoderTrial
from assay.tuning.held_out import Accuracy, HeldOut
from assay.tuning.towers import EMBED_DIM, IMAGE_PX, TEXT_CFG, VISION_CFG

VOCABULARY = "bpe.txt.gz"
MAX_BYTES = 20_000_000
# Longest side, then padding: a crop would let what stands at the border pass unseen. Grey 127 is zero to the
# tower, as its own convolutions pad.
_PREPROCESS = {
    "size": IMAGE_PX,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "longest",
    "fill_color": 127,
}


def publish(trial: EncoderTrial, held_out: HeldOut, names: list[str], folder: Path) -> dict[str, Accuracy]:
    """Writes weights, vocabulary and curve; measures the encoder as loaded from them; then writes the card."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOWER_FILES:  # of the weights that lay here before; the release's build makes them anew
        (folder / name).unlink(missing_ok=True)
    words = trial.matter.words
    _write_json(_config(words.vocab_size), folder / "open_clip_config.json")
    shutil.copyfile(words.vocabulary, folder / VOCABULARY)
    weights = {name: _halved(value) for name, value in trial.averaged.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_model.safetensors").chmod(0o644)  # safetensors writes it for the owner alone
    loaded = open_clip.create_model(f"local-dir:{folder}").eval()
    accuracies = held_out.measure(loaded)
    curve = {"held_out_style": "noto", "concepts": len(names), "points": trial.curve}
    _write_json(curve, folder / "curve.json")
    (folder / "curve.svg").write_text(curve_svg(trial.curve), encoding="utf-8")
    write_card(trial, accuracies, names, folder / "README.md")
    size = sum(path.stat().st_size for path in folder.iterdir())
    if size >= MAX_BYTES:
        raise ValueError(f"the encoder in {folder} has {size} bytes; {MAX_BYTES} are allowed")
    return accuracies


def write_ranks(accuracies: dict[str, Accuracy], names: list[str], path: Path) -> None:
    """For a look at what fails: the rank of each concept's own name, from 1, by kind of test."""
    columns = {key: (accuracy.ranks + 1).tolist() for key, accuracy in accuracies.items()}
    rows = {name: {key: ranks[row] for key, ranks in columns.items()} for row, name in enumerate(names)}
    _write_json(rows, path)


def _config(vocab_size: int) -> dict[str, Any]:
    text = TEXT_CFG | {"vocab_size": vocab_size, "tokenizer_kwargs": {"bpe_path": VOCABULARY}}
    model = {"embed_dim": EMBED_DIM, "vision_cfg": VISION_CFG, "text_cfg": text}
    return {"model_cfg": model, "preprocess_cfg": _PREPROCESS}


def _halved(value: torch.Tensor) -> torch.Tensor:
    return (value.half() if value.is_floating_point() else value).contiguous().clone()


def _write_json(content: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
