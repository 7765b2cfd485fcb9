from collections import Counter
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer

from assay.tuning.vocabulary import learn_merges, write_merges

TEXTS = Counter({"a beer mug": 9, "a wine glass": 9, "一张手枪的图片": 5, "手枪": 8, "刀": 8, "一张刀的图片": 4})


def test_round_trips_with_open_clip(tmp_path: Path) -> None:
    path = tmp_path / "bpe.txt.gz"
    write_merges(learn_merges(TEXTS, 500), path)
    tokenizer = SimpleTokenizer(str(path), context_length=8)
    for text in ("beer mug", "手枪", "一张刀的图片", "unseen words", "赌场"):
        assert tokenizer.decode(tokenizer.encode(text)).strip() == text
    assert len(tokenizer.encode("beer")) == 1, "a frequent word is one piece"


def test_same_texts_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.gz", tmp_path / "second.gz"
    write_merges(learn_merges(TEXTS, 40), first)
    write_merges(learn_merges(TEXTS, 40), second)
    assert first.read_bytes() == second.read_bytes()


def test_chinese_pieces_stay_short(tmp_path: Path) -> None:
    path = tmp_path / "bpe.txt.gz"
    write_merges(learn_merges(Counter({"一张手枪的图片": 50}), 500), path)
    tokenizer = SimpleTokenizer(str(path), context_length=8)
    pieces = [tokenizer.decode([token]).strip() for token in tokenizer.encode("一张手枪的图片")]
    assert max(len(piece) for piece in pieces) == 2
    assert "".join(pieces) == "一张手枪的图片"
