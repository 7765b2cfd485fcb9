import json
from pathlib import Path

import open_clip
import torch

from assay.tuning.concepts import Concept
from assay.tuning.encoder_files import publish
from assay.tuning.encoder_trial import EncoderTrial, EncoderTrialSpec, Matter
from assay.tuning.held_out import HeldOut

SPEC = EncoderTrialSpec(steps=1, batch=4, small_px=32, photograph_batch=4, feature_scenes=4)


@torch.no_grad()
def test_what_is_published_is_what_open_clip_loads(
    matter: Matter, held_out: HeldOut, concepts: list[Concept], tmp_path: Path
) -> None:
    trial = EncoderTrial(SPEC, matter, tmp_path / "checkpoint.pt")
    out = tmp_path / "encoder"
    publish(trial, held_out, [concept.name for concept in concepts], out)
    loaded = open_clip.create_model(f"local-dir:{out}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{out}", bpe_path=str(out / "bpe.txt.gz"))(["beer mug", "手枪"])
    ours = trial.averaged.encode_text(tokens, normalize=True)
    assert torch.allclose(ours, loaded.encode_text(tokens, normalize=True), atol=5e-3)
    images = torch.rand(2, 3, 112, 112) * 2 - 1
    ours = trial.averaged.encode_image(images, normalize=True)
    assert torch.allclose(ours, loaded.encode_image(images, normalize=True), atol=5e-3)
    assert "[[" not in (out / "README.md").read_text(encoding="utf-8")
    assert json.loads((out / "curve.json").read_text(encoding="utf-8"))["held_out_style"] == "noto"
