"""The report's pictures: thumbnails too small and too soft to be anything but a hint of the source.

Knows how a stored image becomes at most 96 blurred pixels. Does not know labels' thresholds or pages.
Pictures are decoded as everywhere else: guarded, and within the same budget.
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFilter

from assay.jobs.report import Fetch
from assay.jobs.report_data import ReportData, Specimen
from assay.platform.errors import StorageError
from assay.platform.faults import Fault
from assay.platform.guard import Guard
from assay.platform.images import Budget, Decoded
from assay.platform.packs import PackReader
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from assay.platform.views import OPENAI_MEAN, OPENAI_STD, Preprocess

EDGE = 96  # pixels
BLUR = 1.8  # radius in those pixels: text and faces are gone, shapes stay
QUALITY = 50
GALLERY_BYTES = 4 * 2**20
"""All thumbnails of a page together; base64 makes a third more of it, and the page stays below 10 MB."""

FETCHES_AT_ONCE = 8
DECODERS = 2

SMALL = Preprocess(size=EDGE, fit="pad", interpolation="bilinear", mean=OPENAI_MEAN, std=OPENAI_STD)
"""How a picture is decoded for its thumbnail."""

Picture = tuple[str, str, str, float | None]
"""uri, etag, view kind and time: one look at one image."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small JPEG, or (`jpeg` empty) `why` there is none."""

    jpeg: bytes
    width: int = EDGE
    height: int = EDGE
    why: str = ""


Gallery = dict[Picture, Thumbnail]


def picture_of(specimen: Specimen) -> Picture:
    """What a specimen's thumbnail shows."""
    return specimen.uri, specimen.etag, specimen.view_kind, specimen.time_s


def make_gallery(data: ReportData, fetch: Fetch, max_bytes: int = GALLERY_BYTES) -> Gallery:
    """Thumbnails of all sampled images, labels with most flags first, until `max_bytes` are spent.

    Labels marked no_evidence are not fetched. A picture that cannot be had is in the gallery with its reason.
    """
    shown = [() if label.no_evidence else label.specimens for label in data.labels.values()]
    return draw_pictures([list(map(picture_of, specimens)) for specimens in shown], fetch, max_bytes)


def draw_pictures(groups: Iterable[Iterable[Picture]], fetch: Fetch, max_bytes: int = GALLERY_BYTES) -> Gallery:
    """Thumbnails of all pictures, group after group, until `max_bytes` are spent."""
    gallery: Gallery = {}
    spent = 0
    with Guard(SMALL, Budget(), DECODERS) as guard, ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
        for group in groups:
            wanted = [picture for picture in dict.fromkeys(group) if picture not in gallery]
            if spent >= max_bytes:
                gallery |= {picture: Thumbnail(b"", why="left out: the page is full") for picture in wanted}
                continue
            made = list(pool.map(lambda picture: _look(picture, fetch, guard), wanted))
            gallery |= dict(zip(wanted, made, strict=True))
            spent += sum(len(thumbnail.jpeg) for thumbnail in made)
    return gallery


def fetch_stored(storage: Storage) -> Fetch:
    """Fetches the bytes of pictures as they were observed. A source that refuses everything is asked once: a page
    without pictures tells more than none."""
    pictures, away = PackReader(storage, Budget().max_bytes), list[str]()

    def fetch(uri: str, etag: str) -> bytes | str | None:
        if away:
            return away[0]
        try:
            data = pictures.fetch(ImageRef(uri, etag, 0))
        except StorageError as error:
            away.append(f"the source cannot be read: {error.what}")
            return away[0]
        return None if isinstance(data, Fault) else data

    return fetch


def _look(picture: Picture, fetch: Fetch, guard: Guard) -> Thumbnail:
    uri, etag, kind, time_s = picture
    content = fetch(uri, etag)
    if content is None:
        return Thumbnail(b"", why="gone or changed since")
    if isinstance(content, str):
        return Thumbnail(b"", why=content)
    return make_thumbnail(guard.decode(content), kind, time_s)


def make_thumbnail(seen: Decoded | Fault, kind: str = "whole", time_s: float | None = None) -> Thumbnail:
    """The view, named by `kind` and `time_s`, of an image decoded as `SMALL`: at most `EDGE` pixels, blurred, as a
    JPEG without metadata.
    """
    if isinstance(seen, Fault):
        return Thumbnail(b"", why=f"unreadable: {seen.kind}")
    small = _unpadded(seen, _index_of(seen, kind, time_s))
    out = BytesIO()
    small.filter(ImageFilter.GaussianBlur(BLUR)).save(out, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(out.getvalue(), small.width, small.height)


def _index_of(seen: Decoded, kind: str, time_s: float | None) -> int:
    """The view that shows what the encoder saw. Tiles are of another shape here, so the whole stands for
    them.
    """
    of_kind = [number for number, view in enumerate(seen.views) if view.kind == kind] or [0]
    if time_s is None:
        return of_kind[0]
    return min(of_kind, key=lambda number: abs((seen.views[number].time_s or 0.0) - time_s))


def _unpadded(seen: Decoded, index: int) -> Image.Image:
    ratio = max(seen.width, seen.height) / EDGE
    width, height = max(1, round(seen.width / ratio)), max(1, round(seen.height / ratio))
    left, top = (EDGE - width) // 2, (EDGE - height) // 2
    return Image.fromarray(seen.pixels[index]).crop((left, top, left + width, top + height))
