"""The encoder's own byte-pair vocabulary, in the file format of open_clip's SimpleTokenizer.

Knows how merges are learned and written. Does not know what the texts mean. A small vocabulary of the
encoder's own words keeps the file small, and lets a word never seen be composed of pieces that were trained.
"""

import gzip
from collections import Counter, defaultdict
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode

_HEADER = '"assay bpe": byte-pair merges, most frequent first'
_END = "</w>"
# Chinese is written without spaces: a longer merge would swallow a whole sentence and compose with nothing.
_MAX_CHINESE_SIGNS = 2
_MIN_COUNT = 2

Pair = tuple[str, str]


def learn_merges(texts: Counter[str], num_merges: int) -> list[Pair]:
    """Greedy byte-pair merges over the words of `texts`; ties go to the alphabetically first pair."""
    to_sign, word_pattern = bytes_to_unicode(), SimpleTokenizer().pat
    counts: Counter[str] = Counter()
    for text, count in texts.items():
        for word in word_pattern.findall(text.lower()):
            counts["".join(to_sign[byte] for byte in word.encode("utf-8"))] += count
    words = [[*word[:-1], word[-1] + _END] for word in counts]
    return _merge_all(words, list(counts.values()), num_merges)


class _Pairs:
    """How often each pair stands in the words, and where. The heap is lazy: stale entries are skipped."""

    def __init__(self) -> None:
        self.places: defaultdict[Pair, set[int]] = defaultdict(set)
        self._counts: Counter[Pair] = Counter()
        self._heap: list[tuple[int, Pair]] = []

    def add(self, word: list[str], row: int, count: int) -> None:
        for pair in pairwise(word):
            self._counts[pair] += count
            self.places[pair].add(row)
            heappush(self._heap, (-self._counts[pair], pair))

    def take(self, word: list[str], count: int) -> None:
        for pair in pairwise(word):
            self._counts[pair] -= count
            heappush(self._heap, (-self._counts[pair], pair))

    def pop_most_frequent(self) -> Pair | None:
        while self._heap:
            count, pair = heappop(self._heap)
            if -count >= _MIN_COUNT and self._counts[pair] == -count and not _is_too_long(pair):
                return pair
        return None


def _merge_all(words: list[list[str]], counts: list[int], num_merges: int) -> list[Pair]:
    pairs = _Pairs()
    for row, word in enumerate(words):
        pairs.add(word, row, counts[row])
    merges: list[Pair] = []
    while len(merges) < num_merges and (best := pairs.pop_most_frequent()) is not None:
        merges.append(best)
        for row in sorted(pairs.places.pop(best)):
            pairs.take(words[row], counts[row])
            words[row] = _merged(words[row], best)
            pairs.add(words[row], row, counts[row])
    return merges


def _merged(word: list[str], pair: Pair) -> list[str]:
    merged: list[str] = []
    position = 0
    while position < len(word):
        if tuple(word[position : position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(word[position])
            position += 1
    return merged


def _is_too_long(pair: Pair) -> bool:
    to_byte = {sign: byte for byte, sign in bytes_to_unicode().items()}
    joined = (pair[0] + pair[1]).removesuffix(_END)
    text = bytes(to_byte[sign] for sign in joined).decode("utf-8", errors="replace")
    # Pieces of signs must not join across a sign's border either: those bytes mean nothing together.
    torn = "\ufffd" in text and len(text) > 1
    return torn or (len(text) > _MAX_CHINESE_SIGNS and any(ord(sign) > 0x2E80 for sign in text))


def write_merges(merges: list[Pair], path: Path) -> None:
    """No time stamp and no name inside: the same merges give the same bytes."""
    lines = "\n".join([_HEADER, *(" ".join(pair) for pair in merges)])
    with path.open("wb") as file, gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as packed:
        packed.write(lines.encode("utf-8"))
