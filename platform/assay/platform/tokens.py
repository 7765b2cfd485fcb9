"""How long a phrase is to a text tower.

Knows a careful guess for when no encoder is at hand. The exact count is the encoder's (`ClipEncoder.count_tokens`).
"""

import re
from typing import Protocol, runtime_checkable

CLIP_CONTEXT = 77
"""Tokens that CLIP's text towers read, their marks of beginning and end included."""

_LETTERS_A_TOKEN = 3
"""English averages over four letters a token in CLIP's vocabulary; three is on the safe side for rare words."""


@runtime_checkable
class TokenCounter(Protocol):
    """Counts what a text tower reads."""

    @property
    def context_length(self) -> int:
        """Tokens that are read; what is over is cut off."""
        ...

    def count_tokens(self, texts: list[str]) -> list[int]:
        """Tokens of each phrase, with the marks of beginning and end."""
        ...


class RoughTokens:
    """A count that is too high rather than too low, for CLIP's vocabulary of English byte pairs."""

    context_length = CLIP_CONTEXT

    def count_tokens(self, texts: list[str]) -> list[int]:
        """See `TokenCounter`."""
        return [2 + sum(map(_tokens, re.findall(r"[A-Za-z]+|[^A-Za-z\s]", text))) for text in texts]


def _tokens(part: str) -> int:
    """A word is cut into pieces; any other letter is at worst one token for each of its bytes."""
    return -(-len(part) // _LETTERS_A_TOKEN) if part.isascii() else len(part.encode())
