import torch

from assay.tuning.towers import ImageWay, build_towers, embed_texts
from assay.tuning.words import Words


@torch.no_grad()
def test_the_short_ways_agree_with_open_clip(words: Words) -> None:
    model = build_towers(words.vocab_size).eval()
    tokens = words.tokens(["beer mug", "一张手枪的图片", "a photo of a bomb on a table"])
    assert torch.allclose(embed_texts(model, tokens), model.encode_text(tokens, normalize=True), atol=1e-5)
    images = torch.rand(2, 3, 112, 112)
    way = ImageWay(model)
    theirs = model.encode_image((images - 0.5) / 0.5, normalize=True)
    assert torch.allclose(way.embed(way.features(images)), theirs, atol=1e-5)
