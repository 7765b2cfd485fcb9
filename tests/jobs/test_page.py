"""The report page, as a browser shows it: self-contained, readable, and deaf to what strangers named their files."""

import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from assay.jobs.gallery import GALLERY_BYTES, SMALL, Gallery, Thumbnail, make_thumbnail, picture_of
from assay.jobs.page import link_to, plot_scores, render_page, share_out, show_name, split_parts
from assay.jobs.report_data import FaultExample, LabelReport, ReportData, RunFacts, Specimen
from assay.jobs.tally import BINS, Band
from assay.platform.faults import FAULTS
from assay.platform.images import Budget, decode
from tests.browser import launched, opened

ATTACKS = (
    "<script>document.title = 'owned'</script>.jpg",
    '"><img src=x onerror="document.title=`owned`">.jpg',
    "'><svg onload=document.title='owned'>.jpg",
    "{{ 7 * 191 }}{% raw %}.jpg",
    "</style></title></details><h1>owned</h1>",
    "&lt;b&gt; &amp;amp; \u202egpj.exe",
)


def picture() -> Thumbnail:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((320, 240)).save(out, "JPEG")
    return make_thumbnail(decode(out.getvalue(), SMALL, Budget()))


def specimen(uri: str, band: Band = Band.HIGHEST, score: float = 0.93, **changes: object) -> Specimen:
    facts = {"uri": uri, "etag": "1", "band": band, "action": "block", "score": score, "prompt": "a knife on a table"}
    return Specimen.model_validate(facts | {"counter": "a kitchen utensil"} | changes)


def label(title: str, specimens: tuple[Specimen, ...], **changes: Any) -> LabelReport:
    facts = {
        "title": title,
        "flagged": 40,
        "review": 25,
        "block": 15,
        "scored": 970,
        "review_at": 0.5,
        "block_at": 0.85,
        "no_evidence": False,
        "histogram": tuple(1000 // (1 + place) for place in range(BINS)),
        "specimens": specimens,
    }
    return LabelReport.model_validate(facts | changes)


def report(**changes: Any) -> ReportData:
    file = "file:///data/bucket/uploads/a%20b%0Ac.jpg"
    weapons = (
        specimen(file),
        specimen("file:///data/bucket/gone.jpg", action="review", score=0.7),
        specimen("file:///data/bucket/below.jpg", Band.BELOW, 0.49, action="pass", prompt=None, counter=None),
    )
    hostile = tuple(specimen(f"s3://bucket/{attack}", prompt=attack, counter=attack) for attack in ATTACKS)
    facts = {
        "release": "starter@3",
        "policy": "marketplace",
        "images": 990,
        "ok": 970,
        "faults": {"CORRUPT": 17, "GONE": 3},
        "planned": 1000,
        "unseen": 10,
        "undecided": 7,
        "actions": {"pass": 889, "review": 50, "block": 24},
        "fault_actions": {"review": 20},
        "seconds": 61.5,
        "images_per_second": 16.1,
        "labels": {
            "weapons": label("Weapons", weapons),
            ATTACKS[0]: label(ATTACKS[1], hostile),
            "nudity": label("Nudity", (specimen("file:///data/bucket/secret.jpg"),), no_evidence=True),
            "crowded": label("A very long title of a label", (), flagged=12_345_678, review=12_345_000, block=678_901),
            "quiet": label("Quiet", (), flagged=0, review=0, block=0, review_at=None, block_at=None),
        },
        "fault_examples": {"CORRUPT": (FaultExample(uri=f"s3://bucket/{ATTACKS[1]}", detail=ATTACKS[0]),)},
        "run": RunFacts(
            run="run-1",
            command="assay backfill s3://bucket/a --store s3://bucket/store " + ATTACKS[1],
            source="/data/bucket",
            finished="2026-11-22T13:31:04.500Z",
            versions={"assay": "0.1.0", "ray": "2.60.0"},
            host={"cpus": 2, "gpus": 0, "memory_gib": 7.7},
        ),
    }
    return ReportData.model_validate(facts | changes)


def gallery_of(data: ReportData) -> Gallery:
    """Thumbnails for all, but one that is gone."""
    made = {picture_of(one): picture() for found in data.labels.values() for one in found.specimens}
    return {key: Thumbnail(b"", why="gone or changed since") if "gone" in key[0] else one for key, one in made.items()}


@pytest.fixture(scope="module")
def html() -> str:
    data = report()
    return render_page(data, gallery_of(data))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser, html: str, tmp_path: Path) -> Iterator[Page]:
    with opened(browser, html, tmp_path / "report.html") as shown:
        yield shown


class Attributes(HTMLParser):
    """Collects every element's attributes, as a browser's parser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen += [(tag, name, value or "") for name, value in attrs] or [(tag, "", "")]


def test_parts_sum_to_all(page: Page) -> None:
    rows = page.locator("table.parts tbody tr")
    shares = [float(text.rstrip(" %")) for text in rows.locator(".share").all_inner_texts()]
    counts = [int(row.replace(",", "")) for row in rows.locator("td:nth-child(2)").all_inner_texts()]
    assert round(sum(shares), 2) == 100.00
    assert sum(counts) == 1000
    assert rows.locator("th").all_inner_texts() == ["pass", "review", "block", "undecided", "fault", "not reached"]
    assert page.locator("table.parts tfoot").inner_text().split()[:3] == ["planned", "1,000", "100.00"]


def test_names_from_strangers_stay_text(page: Page) -> None:
    assert page.title() == "Assay report: /data/bucket"
    assert page.locator("h1").all_inner_texts() == ["/data/bucket"]
    assert page.locator("script, svg[onload], img[onerror], iframe, object, embed, form").count() == 0
    shown = page.locator("body").text_content() or ""
    assert all(attack in shown for attack in ATTACKS[:5])
    assert "1337" not in shown


def test_galleries_show_thumbnails_and_what_is_missing(page: Page) -> None:
    weapons = page.locator("details.gallery").nth(0)
    assert weapons.locator("li").count() == 3
    loaded = "images => images.map(image => image.complete && image.naturalWidth <= 96 && image.naturalWidth > 0)"
    assert weapons.locator("img").evaluate_all(loaded) == [True, True]
    assert weapons.locator(".missing").all_inner_texts() == ["gone or changed since"]
    assert "a knife on a table" in weapons.inner_text()
    assert weapons.locator("h4").all_inner_texts() == ["Highest scores", "Just below, not flagged"]
    assert weapons.locator("a.thumb").nth(0).get_attribute("href") == "file:///data/bucket/uploads/a%20b%0Ac.jpg"
    assert weapons.locator(".name").nth(0).inner_text() == r"uploads/a b\nc.jpg"
    assert weapons.locator("svg path.mark").count() == 2


def test_s3_uris_are_shown_and_not_linked(page: Page) -> None:
    hostile = page.locator("details.gallery").nth(1)
    assert hostile.locator("li a").count() == 0
    assert hostile.locator("li img").count() == len(ATTACKS)
    names = hostile.locator(".name code").all_text_contents()
    assert names[0] == f"s3://bucket/{ATTACKS[0]}"
    assert names[5].endswith(r"\u202egpj.exe")  # not turned around into "exe.jpg"


def test_no_evidence_is_not_in_the_page(page: Page, html: str) -> None:
    nudity = page.locator("details.gallery").nth(2)
    assert "counted, never shown" in (nudity.text_content() or "")
    assert nudity.locator("img").count() == 0
    assert "secret.jpg" not in html


@pytest.mark.parametrize("width", [390, 320, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_text_can_be_read(page: Page, width: int, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("details").evaluate_all("all => all.forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    cells = page.locator(".labels td.n:visible")
    assert cells.evaluate_all("all => all.filter(cell => cell.scrollWidth > cell.clientWidth + 1).length") == 0
    assert page.locator("li, td, dd, p, pre").evaluate_all(TOO_PALE) == []


TOO_PALE = """elements => {
  const rgb = text => text.match(/[0-9.]+/g).map(Number);
  const light = text => rgb(text).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (rgb(colour)[3] !== 0) return light(colour);
    }
    return 1;
  };
  return elements.flatMap(element => [element, ...element.querySelectorAll('span, b, code, a')])
    .filter(element => [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
    .map(element => [light(getComputedStyle(element).color), ground(element), element.className, element.tagName])
    .filter(([ink, paper]) => (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05) < 4.5);
}"""


def test_people_who_do_not_see_it_are_told(page: Page) -> None:
    assert page.locator("img:not([alt]), img[alt='']").count() == 0
    assert page.locator("svg:not([aria-label])").count() == 0
    assert page.locator("th:not([scope])").count() == 0
    assert page.locator("html").get_attribute("lang") == "en"
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(e => Number(e.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_it_prints(page: Page) -> None:
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_every_reference_is_inside(html: str) -> None:
    parser = Attributes()
    parser.feed(html)
    hrefs = [value for _, name, value in parser.seen if name == "href"]
    assert all(value.startswith(("#", "file://")) for value in hrefs)
    assert all(value.startswith("data:image/jpeg;base64,") for _, name, value in parser.seen if name == "src")
    assert not [entry for entry in parser.seen if entry[1].startswith("on") or entry[0] in ("script", "link")]
    assert "url(" not in html
    assert "@import" not in html
    policy = next(value for _, name, value in parser.seen if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'")


def test_faults_carry_cause_and_remedy(page: Page) -> None:
    table = page.locator("table.faults").inner_text()
    for kind in ("CORRUPT", "GONE"):
        assert kind in table
        facts = next(facts for name, facts in FAULTS.items() if name == kind)
        assert facts.cause in table
        assert facts.remedy in table


def test_an_empty_report_is_a_page_too() -> None:
    nothing = report(
        images=0,
        ok=0,
        faults={},
        planned=0,
        unseen=0,
        undecided=0,
        actions={"pass": 0, "review": 0, "block": 0},
        fault_actions={},
        seconds=None,
        images_per_second=None,
        labels={},
        fault_examples={},
        run=RunFacts(),
    )
    text = render_page(nothing, {})
    assert "None: every image was readable." in text
    assert "still running" in text


def test_a_big_library_stays_below_ten_megabytes() -> None:
    thumbnail = Thumbnail(bytes(3000))
    labels = {f"l{n}": label(f"Label {n}", tuple(specimen(f"s3://b/{n}/{i}") for i in range(16))) for n in range(300)}
    data = report(labels=labels)
    keys = [picture_of(one) for found in labels.values() for one in found.specimens]
    room = GALLERY_BYTES // 3000
    gallery = {key: thumbnail if place < room else Thumbnail(b"", why="left out") for place, key in enumerate(keys)}
    assert len(render_page(data, gallery).encode()) < 10_000_000


@pytest.mark.parametrize("counts", [[1, 1, 1], [0, 0, 7], [1, 999_999, 3], [123, 456, 789, 1, 2, 3]])
def test_shares_sum_to_one_hundred(counts: list[int]) -> None:
    shares = share_out(counts)
    assert round(sum(shares), 6) == 100
    assert all(abs(share - 100 * count / sum(counts)) < 0.01 for share, count in zip(shares, counts, strict=True))


def test_parts_leave_out_what_does_not_happen() -> None:
    names = [part.name for part in split_parts(report(undecided=0, unseen=0, planned=990))]
    assert names == ["pass", "review", "block", "fault"]
    assert share_out([0, 0]) == [0.0, 0.0]


@pytest.mark.parametrize(
    "uri",
    [
        "javascript:alert(1)",
        "JaVaScRiPt://x/%0aalert(1)",
        "data:text/html,x",
        "s3://bucket/key",
        "vbscript://x",
        " file:///x",
        "//host/x",
        "http:x",
        "http://[broken",
    ],
)
def test_only_harmless_uris_are_links(uri: str) -> None:
    assert link_to(uri) == ""


def test_links_and_names() -> None:
    assert link_to("file:///a%20b") == "file:///a%20b"
    assert link_to("https://host/a") == "https://host/a"
    assert show_name("file:///d/b/x%FFy%E2%80%AE.jpg", "/d/b") == r"x\xffy\u202e.jpg"
    assert show_name("s3://b/p/x%20y", "s3://b/p") == "x%20y"
    assert show_name("s3://other/x", "s3://b/p") == "s3://other/x"


def test_histograms_are_logarithmic_and_coloured_by_threshold() -> None:
    histogram = (1_000_000, 0, *(0,) * (BINS - 3), 1)
    plot = plot_scores(label("x", (), histogram=histogram))
    heights = [float(found) for _, path in plot.bars for found in re.findall(r"v-([0-9.]+)", path)]
    assert [action for action, _ in plot.bars] == ["", "block"]
    assert heights[0] == 100
    assert 4 < heights[1] < 6
    assert plot.marks == (("review", 0.5), ("block", 0.85))
