"""Thumbnails: small, soft, honest about what is missing, and never made of what must not be shown."""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from assay.jobs.corpus import CorpusSpec, draw_member, plan_members
from assay.jobs.gallery import (
    EDGE,
    SMALL,
    Thumbnail,
    draw_pictures,
    fetch_stored,
    make_gallery,
    make_thumbnail,
    picture_of,
)
from assay.jobs.report_data import LabelReport, ReportData, RunFacts, Specimen
from assay.jobs.tally import BINS, Band
from assay.platform.errors import CredentialsError
from assay.platform.faults import Fault
from assay.platform.guard import Guard
from assay.platform.images import Budget, decode
from assay.platform.packs import PackReader
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.platform.planted_decoder import PLANTED, order

SPEC = CorpusSpec(images=100)
MEMBERS = {member.key: member.number for member in plan_members(SPEC)}


def stored(key: str) -> bytes:
    return draw_member(plan_members(SPEC), MEMBERS[key], SPEC.seed)


def specimen(uri: str, **changes: object) -> Specimen:
    facts = {"uri": uri, "etag": "1", "band": Band.HIGHEST, "action": "review", "score": 0.9}
    return Specimen.model_validate(facts | changes)


def label(*specimens: Specimen, flagged: int = 1, no_evidence: bool = False) -> LabelReport:
    return LabelReport(
        title="A label",
        flagged=flagged,
        review=flagged,
        block=0,
        scored=10,
        review_at=0.5,
        block_at=None,
        no_evidence=no_evidence,
        histogram=(1,) * BINS,
        specimens=specimens,
    )


def report(**labels: LabelReport) -> ReportData:
    return ReportData(
        release="r",
        policy="p",
        images=1,
        ok=1,
        faults={},
        planned=1,
        unseen=0,
        undecided=0,
        actions={"pass": 1, "review": 0, "block": 0},
        fault_actions={},
        seconds=1.0,
        images_per_second=1.0,
        labels=labels,
        fault_examples={},
        run=RunFacts(),
    )


def shown(content: bytes, kind: str = "whole", time_s: float | None = None) -> Thumbnail:
    return make_thumbnail(decode(content, SMALL, Budget()), kind, time_s)


def opened(made: Thumbnail) -> Image.Image:
    return Image.open(io.BytesIO(made.jpeg))


def test_a_thumbnail_is_small_and_holds_nothing_else() -> None:
    thumbnail = shown(stored("photos/large/panorama.jpg"))
    picture = opened(thumbnail)
    assert (picture.format, picture.size) == ("JPEG", (96, 64)) == ("JPEG", (thumbnail.width, thumbnail.height))
    assert not picture.getexif()
    assert len(thumbnail.jpeg) < 4000


def test_detail_is_gone() -> None:
    fine = np.zeros((960, 960), np.uint8)
    fine[:, ::40] = 255  # lines four thumbnail pixels apart, as in large print
    fine[:, 20::40] = 255
    out = io.BytesIO()
    Image.fromarray(fine).save(out, "PNG")
    middle = np.asarray(opened(shown(out.getvalue())).convert("L"))[20:-20, 20:-20]
    assert int(middle.max()) - int(middle.min()) < 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation: int) -> None:
    thumbnail = shown(stored(f"photos/turned/IMG_{orientation:04d}.JPG"))
    assert (thumbnail.width, thumbnail.height) == (96, 72)


def test_the_view_that_scored_is_shown() -> None:
    movie = stored("uploads/animated/last.gif")
    first, last = (shown(movie, "frame", time_s) for time_s in (0.0, 0.96))
    assert first.jpeg != last.jpeg
    ghost = stored("uploads/transparent/on-black.png")
    on_white, on_black = (np.asarray(opened(shown(ghost, kind))) for kind in ("whole", "on_black"))
    assert np.ptp(on_white) < 30 < np.ptp(on_black)


def test_what_cannot_be_had_says_so() -> None:
    assert shown(b"").why == "unreadable: EMPTY"
    assert shown(stored("uploads/misc/bomb.png")).why == "unreadable: TOO_MANY_PIXELS"
    gone = specimen("s3://b/gone.jpg")
    assert make_gallery(report(a=label(gone)), lambda _uri, _etag: None)[picture_of(gone)].why.startswith("gone")


def test_no_evidence_is_not_even_fetched() -> None:
    asked: list[str] = []

    def fetch(uri: str, _etag: str) -> bytes:
        asked.append(uri)
        return stored("uploads/formats/photo.png")

    open_one, secret = specimen("s3://b/open.jpg"), specimen("s3://b/secret.jpg")
    gallery = make_gallery(report(a=label(secret, no_evidence=True), b=label(open_one)), fetch)
    assert asked == ["s3://b/open.jpg"]
    assert list(gallery) == [picture_of(open_one)]


def test_one_look_is_made_once_and_the_page_does_not_overflow() -> None:
    asked: list[str] = []

    def fetch(uri: str, _etag: str) -> bytes:
        asked.append(uri)
        return stored("uploads/formats/photo.png")

    shared, other = specimen("s3://b/1.jpg"), specimen("s3://b/2.jpg")
    both = report(a=label(shared), b=label(shared, other))
    assert set(make_gallery(both, fetch)) == {picture_of(shared), picture_of(other)}
    assert sorted(asked) == ["s3://b/1.jpg", "s3://b/2.jpg"]
    full = make_gallery(both, fetch, max_bytes=1)
    assert full[picture_of(shared)].jpeg
    assert full[picture_of(other)].why == "left out: the page is full"
    assert max(full[picture_of(shared)].width, full[picture_of(shared)].height) <= EDGE


def test_a_picture_that_kills_its_decoder_costs_its_own_thumbnail(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The report is made in the driver, of pictures that strangers chose."""
    monkeypatch.setattr("assay.jobs.gallery.Guard", partial(Guard, command=PLANTED))
    good, bad = specimen("s3://b/good.png"), specimen("s3://b/bad.png")
    contents = {good.uri: stored("uploads/formats/photo.png"), bad.uri: order("segfault", tmp_path)}
    gallery = make_gallery(report(a=label(bad, good)), lambda uri, _etag: contents[uri])
    assert gallery[picture_of(bad)].why == "unreadable: DECODER_CRASHED"
    assert gallery[picture_of(good)] == shown(contents[good.uri])


def test_a_source_that_refuses_everything_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(_reader: PackReader, ref: ImageRef) -> Fault:
        asked.append(ref.uri)
        raise CredentialsError("no usable credentials")

    monkeypatch.setattr(PackReader, "fetch", refuse)
    fetch = fetch_stored(Storage())
    for number in range(3):
        assert fetch(f"s3://b/{number}.jpg", "1") == "the source cannot be read: no usable credentials"
    assert asked == ["s3://b/0.jpg"]
    gallery = draw_pictures([[("s3://b/0.jpg", "1", "whole", None)]], fetch)
    assert [one.why for one in gallery.values()] == ["the source cannot be read: no usable credentials"]
