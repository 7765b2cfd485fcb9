"""Frames drawn one over another, as players draw them."""

import numpy as np
from PIL import Image

from tests.platform.sample_files import BLACK, BLUE, GREEN, RED, WHITE, flat, save, see


def test_frames_are_seen_as_they_are_drawn_over_each_other() -> None:
    first = Image.new("RGBA", (40, 40), (*RED, 255))
    second = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    second.paste((*BLUE, 255), (0, 0, 20, 40))
    for data in (
        save(first, "GIF", save_all=True, append_images=[second], disposal=1, duration=100),
        save(first, "PNG", save_all=True, append_images=[second], blend=1, duration=100),
    ):
        seen = see(data)
        assert [view.kind for view in seen.views] == ["frame", "frame"]
        assert flat(seen.pixels[1, :, :12], BLUE)
        assert flat(seen.pixels[1, :, 20:], RED)


def test_animated_png_that_goes_back_to_an_earlier_frame() -> None:
    """Pillow draws other frames when earlier ones were looked at; people see those of a player."""
    frames = [Image.new("RGBA", (32, 32), (*RED, 255))]
    for place, colour in enumerate((GREEN, BLUE, WHITE)):
        frames.append(Image.new("RGBA", (32, 32), (0, 0, 0, 0)))
        frames[-1].paste((*colour, 255), (8 * place, 0, 8 * place + 8, 32))
    data = save(frames[0], "PNG", save_all=True, append_images=frames[1:], disposal=[0, 2, 2, 2], blend=1)
    seen = see(data)
    assert seen.frames == 4
    for pixels, (place, colour) in zip(seen.pixels[1:], enumerate((GREEN, BLUE, WHITE)), strict=True):
        inside = slice(8 * place, 8 * place + 8)
        assert flat(pixels[:, inside], colour)
        assert flat(np.delete(pixels, np.arange(32)[inside], axis=1), RED)


def test_see_through_animation_is_also_seen_on_black() -> None:
    frames = [Image.new("RGBA", (40, 40), (*colour, 0)) for colour in (RED, GREEN)]
    for frame in frames:
        frame.paste((*BLUE, 255), (0, 0, 20, 40))
    frames[1].paste((*GREEN, 255), (0, 0, 10, 40))
    seen = see(save(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True))
    assert [view.kind for view in seen.views] == ["frame", "frame", "on_black", "on_black"]
    assert flat(seen.pixels[1, :, 22:], WHITE)
    assert flat(seen.pixels[3, :, 22:], BLACK)
