import torch

from assay.tuning.captions import NOTHING, CaptionBook, with_article


def test_captions_come_in_both_languages(book: CaptionBook) -> None:
    texts = [caption.text for caption in book.sample(torch.ones(300, dtype=torch.int64), generator())]
    assert "pistol" in texts
    assert "手枪" in texts
    assert "a photo of a pistol" in texts
    assert "一张手枪的图片" in texts
    assert any("weapon" in text for text in texts)
    assert not any("bomb" in text for text in texts)


def test_a_shared_keyword_has_all_its_owners(book: CaptionBook) -> None:
    row = book.phrases.index("weapon")
    assert book.owners[row].nonzero()[:, 0].tolist() == [1, 5]


def test_the_empty_scene_has_captions_of_its_own(book: CaptionBook) -> None:
    captions = book.sample(torch.full((50,), book.nothing), generator())
    assert NOTHING in {caption.text for caption in captions}
    assert all(book.owners[caption.phrase].sum() == 1 for caption in captions)


def test_article() -> None:
    assert with_article("axe") == "an axe"
    assert with_article("bomb") == "a bomb"


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)
