"""Parts come back in their order, and no buffer is overwritten before it was read, however late the device is."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from assay.platform.device_feed import Copies, DeviceFeed, DeviceLane, Lane, feed
from assay.platform.encoder import Embeddings, Pixels
from tests.platform.late_device import LateDevice

CPU = torch.device("cpu")
HEIGHT, SIZE, DIM = 4, 2, 3
COUNTS = [0, 1, HEIGHT - 1, HEIGHT, HEIGHT + 1, 7 * HEIGHT + 2]


def pictures(count: int) -> Pixels:
    return np.random.default_rng(count).integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def sums(pixels: torch.Tensor) -> torch.Tensor:
    """Three numbers of each picture, exact in float16, of that picture alone."""
    return pixels.int().sum((1, 2)).to(torch.float16)


def wanted(pixels: Pixels) -> Embeddings:
    found: Embeddings = pixels.astype(np.int32).sum((1, 2)).astype(np.float16)
    return found


def split(pixels: Pixels) -> list[Pixels]:
    return [pixels[start : start + HEIGHT] for start in range(0, len(pixels), HEIGHT)]


def joined(parts: Iterator[Embeddings]) -> Embeddings:
    return np.concatenate([np.empty((0, DIM), np.float16), *parts])


@pytest.mark.parametrize("count", COUNTS)
def test_every_row_once_and_in_order(count: int) -> None:
    pixels = pictures(count)
    assert (DeviceFeed(DIM, CPU, sums).run(pixels, HEIGHT) == wanted(pixels)).all()


def test_every_pass_has_the_same_height_and_is_padded_with_black() -> None:
    passes: list[torch.Tensor] = []

    def note(pixels: torch.Tensor) -> torch.Tensor:
        passes.append(pixels.clone())
        return sums(pixels)

    DeviceFeed(DIM, CPU, note).run(np.full((HEIGHT + 1, SIZE, SIZE, 3), 255, np.uint8), HEIGHT)
    assert [tuple(one.shape) for one in passes] == [(HEIGHT, SIZE, SIZE, 3)] * 2
    assert passes[1][0].eq(255).all()
    assert passes[1][1:].eq(0).all(), "what the pass before left there"


def test_pixels_that_must_not_be_written_to_are_read(recwarn: pytest.WarningsRecorder) -> None:
    pixels = pictures(5)
    pixels.setflags(write=False)  # as those are that Ray hands over
    assert (DeviceFeed(DIM, CPU, sums).run(pixels, HEIGHT) == wanted(pixels)).all()
    assert not recwarn.list


class Late:
    """Lanes to a device that does everything as late as it may."""

    def __init__(self, kind: type[DeviceLane] = DeviceLane) -> None:
        self.device, self.kind = LateDevice(), kind
        self.copies = Copies(CPU, self.device)
        self.passes = 0

    def lanes(self, count: int) -> list[Lane]:
        shape = (HEIGHT, SIZE, SIZE, 3)
        return [self.kind(shape, DIM, CPU, self._compute, self.copies) for _ in range(count)]

    def _compute(self, pixels: torch.Tensor) -> torch.Tensor:
        found = torch.full((HEIGHT, DIM), -1, dtype=torch.float16)  # what nobody waited for is not there
        self.passes += 1
        self.device.put(lambda: found.copy_(sums(pixels)))
        return found


@pytest.mark.parametrize("num_lanes", [1, 2, 3])
@pytest.mark.parametrize("count", COUNTS)
def test_a_late_device_gives_the_same(count: int, num_lanes: int) -> None:
    late, pixels = Late(), pictures(count)
    with late.device:
        found = joined(feed(split(pixels), late.lanes(num_lanes)))
    assert (found == wanted(pixels)).all()


def test_two_batches_may_share_a_late_device() -> None:
    late, one, other = Late(), pictures(11), pictures(13)
    with late.device:
        turns = [feed(split(pixels), late.lanes(2)) for pixels in (one, other)]
        parts = [list(both) for both in zip(*turns, strict=False)]
        rest = [list(turn) for turn in turns]
    for number, pixels in enumerate((one, other)):
        found = [both[number] for both in parts] + rest[number]
        assert (np.concatenate(found) == wanted(pixels)).all()


def test_results_wait_for_the_next_part_to_be_under_way() -> None:
    late = Late()
    with late.device:
        results = feed(split(pictures(5 * HEIGHT)), late.lanes(2))
        next(results)
        assert late.passes == 3, "the first result is read when two parts are behind it"
        assert late.device.computing.done < len(late.device.computing.work), "and the device has work left"


class _DoesNotWaitForPixels(DeviceLane):
    def send(self, part: Pixels) -> None:
        self._arrived.wait = lambda _stream: None  # a planted bug
        super().send(part)


class _DoesNotWaitForResults(DeviceLane):
    def take(self) -> Embeddings:
        self._done.synchronize = lambda: None  # a planted bug
        return super().take()


class _HandsOutItsBuffer(DeviceLane):
    def take(self) -> Embeddings:
        self._done.synchronize()
        found: Embeddings = self._found.numpy()[: self._length]
        return found


@pytest.mark.parametrize("planted", [_DoesNotWaitForPixels, _DoesNotWaitForResults, _HandsOutItsBuffer])
def test_a_lane_that_does_not_wait_is_found_out(planted: type[DeviceLane]) -> None:
    late, pixels = Late(planted), pictures(7 * HEIGHT)
    with late.device:
        found = joined(feed(split(pixels), late.lanes(2)))
    assert not (found == wanted(pixels)).all()


def test_a_feed_that_sends_before_it_takes_is_found_out() -> None:
    def hasty(parts: Sequence[Pixels], lanes: list[Lane]) -> Iterator[Embeddings]:
        for number, part in enumerate(parts):
            lanes[number % len(lanes)].send(part)
        for number in range(len(parts)):
            yield lanes[number % len(lanes)].take()

    late, pixels = Late(), pictures(7 * HEIGHT)
    with late.device:
        found = joined(hasty(split(pixels), late.lanes(2)))
    assert not (found == wanted(pixels)).all()


def test_a_feed_can_be_left_amid_the_work() -> None:
    late, pixels = Late(), pictures(7 * HEIGHT)

    def breaking() -> Iterator[Pixels]:
        yield from split(pixels)[:3]
        raise OSError("the source is gone")

    lanes = late.lanes(2)
    with late.device, pytest.raises(OSError, match="gone"):
        list(feed(breaking(), lanes))
    with late.device:  # nothing of what was left comes up again
        assert (joined(feed(split(pixels), late.lanes(2))) == wanted(pixels)).all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("count", [50 * count for count in COUNTS])
def test_a_gpu_gives_the_same(count: int) -> None:
    pixels = pictures(count)
    assert (DeviceFeed(DIM, torch.device("cuda"), sums).run(pixels, HEIGHT) == wanted(pixels)).all()
