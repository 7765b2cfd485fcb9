"""All handmade files, by name.

Knows where they are. Does not know what they are.
"""

from functools import cache
from itertools import chain

from tests.hostile.avif_cases import avif_cases
from tests.hostile.bmp_cases import bmp_cases
from tests.hostile.case import Case
from tests.hostile.cut_cases import cut_cases
from tests.hostile.foreign_cases import foreign_cases
from tests.hostile.gif_cases import gif_cases
from tests.hostile.jpeg_cases import jpeg_cases
from tests.hostile.png_cases import png_cases
from tests.hostile.tiff_cases import tiff_cases
from tests.hostile.webp_cases import webp_cases

FAMILIES = (
    jpeg_cases,
    png_cases,
    gif_cases,
    webp_cases,
    tiff_cases,
    bmp_cases,
    avif_cases,
    foreign_cases,
    cut_cases,
)


@cache
def handmade() -> dict[str, Case]:
    """Every case. A name that comes twice is a slip in these tests."""
    found: dict[str, Case] = {}
    for case in chain.from_iterable(family() for family in FAMILIES):
        assert case.name not in found, case.name
        found[case.name] = case
    return found
