from assay.tuning.captions import CaptionBook
from assay.tuning.words import Words, load_words


def test_tokens_end_before_the_padding(words: Words) -> None:
    tokens = words.tokens(["beer mug", "手枪"])
    assert tokens.shape == (2, 32)
    assert tokens.max() == words.vocab_size - 1, "open_clip pools at the highest token, the end sign"
    assert tokens[:, -1].tolist() == [0, 0]


def test_the_vocabulary_is_learned_once(words: Words, book: CaptionBook) -> None:
    before = words.vocabulary.read_bytes()
    again = load_words(book, ["quite other names"], words.vocabulary)
    assert words.vocabulary.read_bytes() == before
    assert again.vocab_size == words.vocab_size


def test_names_of_photographs_are_known_words(words: Words) -> None:
    start, *pieces, end = [token for token in words.tokens(["revolver"])[0].tolist() if token]
    assert (start, end) == (words.vocab_size - 2, words.vocab_size - 1)
    assert len(pieces) == 1
