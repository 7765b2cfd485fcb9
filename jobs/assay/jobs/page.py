"""The report as one HTML file that loads nothing: attach it to a ticket, open it in ten years.

Knows how the report's data reads and looks. Does not know how it was collected. Object keys, labels and details are
written by strangers: everything is escaped, nothing of theirs becomes markup, and only harmless schemes become links.
"""

import math
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from assay.jobs.gallery import Gallery, Picture, Thumbnail, picture_of
from assay.jobs.report_data import LabelReport, ReportData, Specimen
from assay.jobs.tally import BINS, Band
from assay.jobs.template import Filters, format_count, format_score, load_template
from assay.platform.faults import FAULTS, FaultFacts, FaultKind
from assay.platform.members import parse_member
from assay.platform.uris import parse_uri, relative_uri

T = TypeVar("T")

OPEN_LABELS = 3
"""Galleries open at first; the others open with a click."""

LINKED = ("file", "http", "https")
"""Schemes that become links. An s3 uri is text to copy: signing it would put a credential into the page."""

BANDS = {
    Band.HIGHEST: "Highest scores",
    Band.ABOVE: "Just above the threshold",
    Band.BELOW: "Just below, not flagged",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One disjoint part of the planned images. `share` is in percent, rounded so that all parts sum to 100.00."""

    name: str
    images: int
    share: float
    note: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A histogram for inline SVG: paths of bars by action, in a box of BINS x 100, logarithmic up to `peak`."""

    bars: tuple[tuple[str, str], ...]
    peak: int
    marks: tuple[tuple[str, float], ...]  # ("review" | "block", score)


@dataclass(frozen=True, slots=True)
class Card(Generic[T]):
    """One image of a gallery as a page shows it. `href` is "" for what must not be a link."""

    specimen: T
    name: str
    href: str
    src: str
    thumbnail: Thumbnail
    look: str


@dataclass(frozen=True, slots=True)
class Section:
    """One label: its figures, its histogram and its cards by band."""

    anchor: str
    name: str
    label: LabelReport
    plot: Plot
    bands: tuple[tuple[str, tuple[Card[Specimen], ...]], ...]
    is_open: bool


def render_page(data: ReportData, gallery: Gallery) -> str:
    """The page, UTF-8 text below 10 MB for a gallery made with the default limits."""
    filters: Filters = {"count": format_count, "score": format_score, "moment": _moment, "visible": make_visible}
    sections = [_section(number, name, data, gallery) for number, name in enumerate(data.labels)]
    return load_template("report.html.j2", filters).render(
        data=data,
        run=data.run,
        parts=split_parts(data),
        sections=sections,
        faults=_faults(data),
        facts=_facts(data),
        bins=BINS,
    )


def split_parts(data: ReportData) -> list[Part]:
    """The planned images in disjoint parts; every planned image is in one of them."""
    to_review = data.fault_actions.get("review", 0)
    rows = [
        ("pass", data.actions["pass"], "no label at its threshold"),
        ("review", data.actions["review"], "for people to decide"),
        ("block", data.actions["block"], "over a block threshold"),
        ("undecided", data.undecided, "observed, no verdict of this release yet"),
        ("fault", sum(data.faults.values()), f"could not be observed; {to_review:,} of them sent to review"),
        ("not reached", data.unseen, "planned, not observed yet"),
    ]
    shares = share_out([images for _, images, _ in rows])
    parts = [Part(name, images, share, note) for (name, images, note), share in zip(rows, shares, strict=True)]
    return [part for part in parts if part.images or part.name in ("pass", "review", "block", "fault")]


def share_out(counts: list[int]) -> list[float]:
    """Percentages to two decimals that sum to exactly 100 (largest remainder); all zero if there is nothing."""
    total = sum(counts)
    if not total:
        return [0.0] * len(counts)
    floors = [count * 10_000 // total for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda place: -(counts[place] * 10_000 % total))
    for place in by_remainder[: 10_000 - sum(floors)]:
        floors[place] += 1
    return [floor / 100 for floor in floors]


def plot_scores(label: LabelReport) -> Plot:
    """Bars of log(1 + count), so that a handful of flagged images is seen beside a million others."""
    peak = max(label.histogram, default=0)
    scale = 100 / math.log1p(peak) if peak else 0.0
    marks = [(name, at) for name, at in (("review", label.review_at), ("block", label.block_at)) if at is not None]
    paths: dict[str, str] = {}
    for place, count in enumerate(label.histogram):
        if count:
            action = ([""] + [name for name, at in marks if (place + 0.5) / BINS >= at])[-1]
            bar = f"M{place} 100v{-math.log1p(count) * scale:.1f}h.86V100z"
            paths[action] = paths.get(action, "") + bar
    return Plot(tuple(paths.items()), peak, tuple(marks))


def make_card(specimen: T, picture: Picture, source: str, gallery: Gallery) -> Card[T]:
    """What a page shows of one look at one image; names begin at `source`."""
    uri, _, kind, time_s = picture
    thumbnail = gallery.get(picture, Thumbnail(b"", why="not made"))
    src = f"data:image/jpeg;base64,{b64encode(thumbnail.jpeg).decode()}" if thumbnail.jpeg else ""
    looks = {"tile": "one end of it", "on_black": "seen on black", "frame": f"frame at {time_s or 0:.2g} s"}
    return Card(specimen, show_name(uri, source), link_to(uri), src, thumbnail, looks.get(kind, ""))


def link_to(uri: str) -> str:
    """`uri` if a click on it can only open the source, else ""."""
    try:
        parts = urlsplit(uri)
    except ValueError:  # such as a broken IPv6 host: text, then
        return ""
    can_open = parts.scheme in LINKED and uri.startswith(f"{parts.scheme}://") and parse_member(uri) is None
    return uri if can_open else ""


def show_name(uri: str, source: str) -> str:
    """An object's name as a person may read it: from the source on, decoded, with nothing invisible in it."""
    name = relative_uri(uri, parse_uri(source).uri) if source else uri
    if uri.startswith("file://"):
        name = unquote_to_bytes(name).decode(errors="backslashreplace")
    return make_visible(name)


def make_visible(text: str) -> str:
    """`text` with escapes for what does not print: direction marks would let a name pass for another."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def _section(number: int, name: str, data: ReportData, gallery: Gallery) -> Section:
    label = data.labels[name]
    bands = []
    for band, title in BANDS.items():
        found = [
            make_card(one, picture_of(one), data.run.source, gallery) for one in label.specimens if one.band is band
        ]
        if found and not label.no_evidence:
            bands.append((title, tuple(found)))
    is_open = number < OPEN_LABELS and label.flagged > 0
    return Section(f"label-{number}", name, label, plot_scores(label), tuple(bands), is_open)


def _faults(data: ReportData) -> list[tuple[str, int, FaultFacts, list[tuple[str, str]]]]:
    """Kinds of fault with counts, facts and examples, most frequent first. A kind of a newer Assay has no facts."""
    unknown = FaultFacts(False, "a kind of fault this version does not know", "read the report of the newer version")
    known: Mapping[str, FaultFacts] = {kind.value: FAULTS[kind] for kind in FaultKind}
    return [
        (
            kind,
            count,
            known.get(kind, unknown),
            [(show_name(one.uri, data.run.source), one.detail) for one in data.fault_examples.get(kind, ())],
        )
        for kind, count in sorted(data.faults.items(), key=lambda item: (-item[1], item[0]))
    ]


def _facts(data: ReportData) -> list[tuple[str, str]]:
    run, host = data.run, data.run.host
    machine = [f"{host[key]} {unit}" for key, unit in (("cpus", "CPUs"), ("gpus", "GPUs")) if host.get(key) is not None]
    if host.get("memory_gib") is not None:
        machine.append(f"{host['memory_gib']:.0f} GiB memory")
    rows: list[tuple[str, Any]] = [
        ("Run", run.run),
        ("Source", run.source),
        ("Store", run.store),
        ("Release", data.release),
        ("Policy", data.policy),
        ("Started", run.started and _moment(run.started)),
        ("Finished", (run.finished and _moment(run.finished)) or "still running when this was written"),
        ("Took", data.seconds is not None and _duration(data.seconds)),
        ("Throughput", data.images_per_second and f"{data.images_per_second:,.1f} images per second"),
        ("First commit after", run.first_commit_s is not None and _duration(run.first_commit_s)),
        ("Done before this run", run.already_done and f"{run.already_done:,} images"),
        ("Machine", ", ".join(machine)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
    ]
    return [(name, str(value)) for name, value in rows if value]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 90 else f"{minutes} min {rest} s"


def _moment(text: str) -> str:
    try:
        return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%S %Z").strip()
    except ValueError:
        return text
