from assay.platform.release import bundled_release
from assay.platform.tokens import RoughTokens


def test_counts() -> None:
    assert RoughTokens().count_tokens(["", "a gun", "extraordinarily", "枪"]) == [2, 4, 7, 5]


def test_the_guess_is_never_below_clips_own_count() -> None:
    from open_clip.tokenizer import SimpleTokenizer  # imports torch

    from assay.platform.library_text import LibraryText

    tokenizer = SimpleTokenizer()
    for name in ("starter", "production"):
        wordings = LibraryText.read(bundled_release().parent / name / "library.yaml").wordings
        texts = sorted({row.text for row in wordings})
        for text, guess in zip(texts, RoughTokens().count_tokens(texts), strict=True):
            assert guess >= len(tokenizer.encode(text)) + 2, text
