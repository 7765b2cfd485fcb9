"""Files that were sound until somebody touched them: seeded, so that each can be made again from its number.

Knows bytes, and the places where formats keep lengths and sizes. Does not know what a reader makes of the result.
"""

import random
from collections.abc import Callable, Iterator

from tests.hostile.cut_cases import sound_files
from tests.hostile.table import handmade

EXTREMES = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\0\0",
    b"\xff\xff",
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
)
HEAD = 200
"""Bytes at the start of a file in which formats keep sizes, depths and places."""
MORE_SEEDS = (
    "apng frame taken back",
    "gif 100 frames",
    "jpeg ycck",
    "jpeg of two pictures (MPO)",
    "jpeg progressive with restart markers, larger",
    "png palette with three opacities",
    "tiff three pages of three kinds",
    "tiff lzw",
    "tiff jpeg",
    "webp frame cleared",
    "webp lossy with alpha",
    "bmp runs",
    "avif three frames",
)


def flipped(data: bytearray, chance: random.Random) -> bytearray:
    """A few bytes anywhere."""
    for _ in range(chance.randint(1, 12)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return data


def cut(data: bytearray, chance: random.Random) -> bytearray:
    """The end is missing."""
    return data[: chance.randrange(len(data))]


def spliced(data: bytearray, chance: random.Random) -> bytearray:
    """A piece moved elsewhere."""
    start = chance.randrange(len(data))
    piece = data[start : start + chance.randint(1, 400)]
    at = chance.randrange(len(data))
    return data[:at] + piece + data[at + len(piece) * chance.randint(0, 1) :]


def doubled(data: bytearray, chance: random.Random) -> bytearray:
    """A piece many times over."""
    start = chance.randrange(len(data))
    end = start + chance.randint(1, 200)
    return data[:end] + data[start:end] * chance.randint(1, 50) + data[end:]


def extreme(data: bytearray, chance: random.Random) -> bytearray:
    """Numbers in the head at the end of their range: sizes, lengths, counts, offsets."""
    for _ in range(chance.randint(1, 3)):
        value = chance.choice(EXTREMES)
        at = chance.randrange(min(HEAD, len(data)))
        data[at : at + len(value)] = value
    return data


def shifted(data: bytearray, chance: random.Random) -> bytearray:
    """A byte too many, or too few: every length behind it lies."""
    at = chance.randrange(min(2 * HEAD, len(data)))
    return (
        data[:at] + bytes([chance.randrange(256)]) + data[at:] if chance.random() < 0.5 else data[:at] + data[at + 1 :]
    )


WAYS: tuple[Callable[[bytearray, random.Random], bytearray], ...] = (flipped, cut, spliced, doubled, extreme, shifted)


def seeds() -> dict[str, bytes]:
    """The sound files that mutants are made of."""
    cases = handmade()
    return {**sound_files(), **{name: cases[name].data for name in MORE_SEEDS}}


def mutants(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Names that tell how each was made, and their bytes. The same count and seed make the same mutants."""
    chance = random.Random(seed)
    sound = list(seeds().items())
    for number in range(count):
        name, data = sound[number % len(sound)]
        mutant, ways = bytearray(data), chance.choices(WAYS, k=chance.randint(1, 2))
        for way in ways:
            mutant = way(mutant or bytearray(b"\0"), chance)
        yield f"{number} of {seed}: {name}, {' and '.join(way.__name__ for way in ways)}", bytes(mutant)
