from pathlib import Path

import pytest
import torch

from assay.tuning.encoder_trial import EncoderTrial, EncoderTrialSpec, Matter

SPEC = EncoderTrialSpec(
    steps=3, batch=4, small_px=32, small_share=1.0, photograph_batch=4, feature_scenes=8, refresh_every=2, warm_up=1
)


def test_a_resumed_trial_ends_where_an_unstopped_one_does(matter: Matter, tmp_path: Path) -> None:
    straight = EncoderTrial(SPEC, matter, tmp_path / "straight.pt")
    assert straight.run()
    stopped = EncoderTrial(SPEC, matter, tmp_path / "stopped.pt")
    stopped.advance()
    stopped.save()
    resumed = EncoderTrial(SPEC, matter, tmp_path / "stopped.pt")
    assert resumed.step == 1
    assert resumed.run()
    for name, value in straight.averaged.state_dict().items():
        assert torch.equal(value, resumed.averaged.state_dict()[name]), name


def test_a_trial_learns_and_leaves_the_frozen_stages_alone(matter: Matter, tmp_path: Path) -> None:
    trial = EncoderTrial(SPEC, matter, tmp_path / "checkpoint.pt")
    before = {name: value.clone() for name, value in trial.model.state_dict().items()}
    trial.advance()
    after = trial.model.state_dict()
    assert torch.equal(before["visual.trunk.conv_stem.weight"], after["visual.trunk.conv_stem.weight"])
    assert torch.equal(before["visual.trunk.bn2.running_mean"], after["visual.trunk.bn2.running_mean"])
    assert not torch.equal(before["visual.head.proj.weight"], after["visual.head.proj.weight"])
    assert not torch.equal(before["token_embedding.weight"], after["token_embedding.weight"])


def test_a_checkpoint_of_other_settings_is_refused(matter: Matter, tmp_path: Path) -> None:
    EncoderTrial(SPEC, matter, tmp_path / "checkpoint.pt").save()
    with pytest.raises(ValueError, match="seed"):
        EncoderTrial(SPEC.model_copy(update={"seed": 8}), matter, tmp_path / "checkpoint.pt")
