import json
from pathlib import Path

import pytest

from assay.platform.encoder import BUNDLED_ENCODER, file_digests
from assay.platform.errors import ReleaseError
from assay.platform.tower_card import CARD_FILE, MADE_FROM, TowerCard, wants_tower
from tests.platform.tiny_encoder import EFFICIENTNET, RESNET, TRANSFORMER, write_tiny_encoder


@pytest.mark.parametrize(("vision", "wanted"), [(RESNET, True), (EFFICIENTNET, True), (TRANSFORMER, False)])
def test_convolutional_towers_get_one(tmp_path: Path, vision: dict[str, object], wanted: bool) -> None:
    assert wants_tower(write_tiny_encoder(tmp_path, vision)) is wanted


def test_what_is_no_open_clip_encoder_gets_none(tmp_path: Path) -> None:
    assert not wants_tower(tmp_path)
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ReleaseError, match="does not load"):
        wants_tower(tmp_path)


def test_a_tower_is_of_its_weights_alone(tmp_path: Path) -> None:
    card = TowerCard.find(BUNDLED_ENCODER)
    assert card is not None
    files = file_digests(BUNDLED_ENCODER)
    assert card.fits(files)
    assert card.fits(files | {"bpe.txt.gz": "another vocabulary"})
    for name in MADE_FROM:
        assert not card.fits(files | {name: "other"})
        with pytest.raises(ReleaseError, match="not of this encoder") as caught:
            card.check(BUNDLED_ENCODER, {one: sha256 for one, sha256 in files.items() if one != name})
        assert "build it again" in caught.value.fix


def test_no_card_is_no_tower(tmp_path: Path) -> None:
    assert TowerCard.find(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"dim": "many"}, "dim"),
        ({"more": 1}, "more"),
        ({"preprocess": {}}, "preprocess.size"),
        (None, "JSON"),
    ],
)
def test_cards_that_are_not_understood(tmp_path: Path, change: dict[str, object] | None, why: str) -> None:
    text = (BUNDLED_ENCODER / CARD_FILE).read_text()
    (tmp_path / CARD_FILE).write_text(text[:40] if change is None else json.dumps(json.loads(text) | change))
    with pytest.raises(ReleaseError, match="is not understood") as caught:
        TowerCard.find(tmp_path)
    assert why in caught.value.why
