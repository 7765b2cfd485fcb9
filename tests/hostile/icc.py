"""ICC profiles written by hand: other primaries, exchanged channels, inks, and broken ones.

Knows the profile format, and the arithmetic that a viewer does with it. Does not know any picture format.
"""

import struct
from itertools import product

import numpy as np
import numpy.typing as npt

from tests.hostile.case import Picture, Samples
from tests.hostile.pictures import linear, shown

SRGB = np.array(
    [[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]]
)
"""Linear sRGB to XYZ at D50, the connection space of profiles (columns: red, green, blue)."""
DISPLAY_P3 = np.array(
    [[0.5151187, 0.2919778, 0.1571035], [0.2411892, 0.6922441, 0.0665668], [-0.0010505, 0.0418791, 0.7840713]]
)
EXCHANGED = SRGB[:, [1, 0, 2]]
"""sRGB with red and green exchanged: a file without its profile looks like another picture."""
D50 = np.array([0.9642, 1.0, 0.8249])
Matrix = npt.NDArray[np.float64]


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))


def _profile(kind: bytes, space: bytes, connection: bytes, tags: dict[bytes, bytes]) -> bytes:
    at, table, body = 132 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        padded = content + b"\0" * (-len(content) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(content))
        body += padded
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"\0\0\0\0", 0x02100000, kind, space, connection)
    head += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + _fixed(*D50)
    return head.ljust(128, b"\0") + table + body


def matrix_profile(matrix: Matrix, gamma: float = 2.2) -> bytes:
    """A display's profile: three primaries and one power curve."""
    curve = struct.pack(">4sIIHH", b"curv", 0, 1, round(gamma * 256), 0)
    tags = {name: b"XYZ \0\0\0\0" + _fixed(*matrix[:, at]) for at, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _profile(b"mntr", b"RGB ", b"XYZ ", {**tags, b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50)})


def through_matrix(picture: Samples, matrix: Matrix, gamma: float = 2.2) -> Picture:
    """What a viewer shows of samples under such a profile; colours beyond sRGB are cut off."""
    light = (picture.astype(np.float64) / 255) ** (round(gamma * 256) / 256)
    return shown(light @ matrix.T @ np.linalg.inv(SRGB).T)


def grey_profile(gamma: float) -> bytes:
    """A scanner's profile: one power curve."""
    curve = struct.pack(">4sIIHH", b"curv", 0, 1, round(gamma * 256), 0)
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": curve, b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50)})


INK_LAB = np.array([[-20.0, -40.0, -40.0], [-20.0, 50.0, 0.0], [-20.0, -5.0, 60.0], [-40.0, 0.0, 0.0]])
"""What full cyan, magenta, yellow and black each add to the paper's L*a*b*. Plain sums: so no viewer's way of
interpolating between the corners of the table can differ from another's, and each fits into a byte without rounding."""


def ink_profile() -> bytes:
    """A printer's profile: a table of 16 corners from inks to L*a*b*."""
    straight = bytes(range(256))
    corners = b"".join(_lab8(np.array([100.0, 0, 0]) + np.array(inks) @ INK_LAB) for inks in product((0, 1), repeat=4))
    table = struct.pack(">4sIBBBB", b"mft1", 0, 4, 3, 2, 0) + _fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table += straight * 4 + corners + straight * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table, b"wtpt": b"XYZ \0\0\0\0" + _fixed(*D50)})


def _lab8(lab: Matrix) -> bytes:
    return bytes(round(value) for value in (lab[0] * 255 / 100, lab[1] + 128, lab[2] + 128))


def through_inks(inks: Samples) -> Picture:
    """What a viewer shows of inks of 0 to 255 under `ink_profile`."""
    lab = np.array([100.0, 0, 0]) + inks.astype(np.float64) / 255 @ INK_LAB
    y = (lab[:, :, 0] + 16) / 116
    cubes = np.stack([y + lab[:, :, 1] / 500, y, y - lab[:, :, 2] / 200], axis=-1)
    xyz = D50 * np.where(cubes > 6 / 29, cubes**3, 3 * (6 / 29) ** 2 * (cubes - 4 / 29))
    return shown(xyz @ np.linalg.inv(SRGB).T)


def through_grey(samples: Samples, gamma: float) -> Picture:
    """What a viewer shows of grey samples under `grey_profile`."""
    return np.repeat(shown((samples.astype(np.float64) / 255) ** (round(gamma * 256) / 256))[:, :, None], 3, axis=2)


def is_srgb_itself() -> bool:
    """Whether the arithmetic here leaves sRGB alone: asked by a test of these tests."""
    values = np.arange(256, dtype=np.float64).reshape(16, 16, 1).repeat(3, axis=2)
    return bool(np.abs(shown(linear(values)) - values).max() < 1e-6)
