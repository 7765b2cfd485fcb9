"""What the page on scale is computed from: numbers, and how each is known.

Where the bench has measured one (`latest.json`), that takes the place of what stands here. Knows no arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Mark(StrEnum):
    """How a number is known."""

    MEASURED = "measured"
    PUBLISHED = "published"
    UNVERIFIED = "published, not checked"
    """Said so often that nobody gives a source; research/performance.md found none."""
    CALCULATED = "calculated"
    CHOSEN = "chosen"
    """A size or a limit that is yours to change."""


@dataclass(frozen=True, slots=True)
class Input:
    """One number. `place` says where `latest.json` may have it: a result, and a name in it or among its facts."""

    value: float
    unit: str
    mark: Mark
    source: str
    place: tuple[str, str] | None = None


RESEARCH = "research/performance.md"
GEMM = "share to be expected of 798 TFLOP/s bf16, measured on an H100, and FLOPs of open_clip's model_profile.csv"
INPUTS: Mapping[str, Input] = {
    "images": Input(1e9, "images", Mark.CHOSEN, "the question"),
    "images in a shard": Input(256, "images", Mark.CHOSEN, "default of `--shard.images`"),
    "size of an image": Input(115_000, "bytes", Mark.PUBLISHED, "ImageNet, 147.8 GB in 1.28 M files"),
    "ViT-B/32 on a GPU": Input(31_700, "images/s", Mark.CALCULATED, f"35 %: {GEMM}", ("GPU", "ViT-B-32")),
    "ViT-B/16 on a GPU": Input(10_200, "images/s", Mark.CALCULATED, f"45 %: {GEMM}", ("GPU", "ViT-B-16")),
    "ViT-L/14 on a GPU": Input(2_700, "images/s", Mark.CALCULATED, f"55 %: {GEMM}", ("GPU", "ViT-L-14")),
    "GPU kept busy": Input(0.97, "share", Mark.CHOSEN, "the goal of issue 4, not yet measured"),
    "ViT-B/32 on a vCPU": Input(15.5, "images/s", Mark.MEASURED, "31 images/s in bf16 on the two cores of the bench"),
    "fetch, decode and write on two vCPUs": Input(
        856.6,
        "images/s",
        Mark.MEASURED,
        "R2 of the bench: the whole backfill without a model, demo pictures on disk",
        ("R2", "assay images/s"),
    ),
    "vCPUs of a GPU node": Input(16, "vCPUs", Mark.CHOSEN, "the H100 machine lent to this project"),
    "network of a node": Input(100e9, "bit/s", Mark.CHOSEN, "100 Gb/s"),
    "GETs of a prefix": Input(5_500, "requests/s", Mark.PUBLISHED, "AWS: at least, for each partitioned prefix"),
    "prefixes": Input(10, "prefixes", Mark.CHOSEN, "that the images are spread over"),
    "keys of a LIST": Input(1_000, "keys", Mark.PUBLISHED, "AWS"),
    "listing": Input(10_000, "keys/s", Mark.PUBLISHED, "one stream, p50 9.9 s for 100,000 keys (apache/hudi #4226)"),
    "planning": Input(
        4.4e-6, "CPU s/image", Mark.MEASURED, "`plan` over a Parquet manifest of 500,000 images, new or known"
    ),
    "compaction": Input(
        24e-6, "CPU s/image", Mark.MEASURED, "segments of 256 shards, 512 dimensions, 30 labels, both tables"
    ),
    "start from 3.9 M files": Input(
        31.5, "s", Mark.MEASURED, "R11's ledger, never compacted; nearly all of it delta-rs"
    ),
    "a shard": Input(
        0.0135, "CPU s", Mark.MEASURED, "Ray's scheduling loop, stages that do nothing; busy machine: 0.011 to 0.016"
    ),
    "finding what is left": Input(
        3.5, "s", Mark.MEASURED, "R11 of the bench, a thousand holes; busy machine: at most this", ("R11", "value")
    ),
    "H100": Input(2.67, "$/h", Mark.PUBLISHED, "tier-2 clouds, $2.49 to 2.85 (digiteria, first quarter of 2026)"),
    "vCPU": Input(0.04, "$/h", Mark.UNVERIFIED, RESEARCH),
    "a million GETs": Input(0.40, "$", Mark.UNVERIFIED, f"{RESEARCH}; HEAD costs the same"),
    "a million PUTs": Input(5.00, "$", Mark.UNVERIFIED, "S3 standard, from memory; LIST costs the same"),
}


def inputs_of(latest: Mapping[str, Any]) -> dict[str, Input]:
    """All inputs, those that were measured as `latest` has them."""
    found = dict(INPUTS)
    for name, given in INPUTS.items():
        value = _measured(latest, given.place)
        if value is not None and given.place is not None:
            source = given.source if given.mark is Mark.MEASURED else f"{given.place[0]} of the bench"
            found[name] = replace(given, value=value, mark=Mark.MEASURED, source=source)
    return found


def _measured(latest: Mapping[str, Any], place: tuple[str, str] | None) -> float | None:
    row = latest.get(place[0], {}) if place else {}
    value = (row | row.get("facts", {})).get(place[1]) if place else None
    return float(value) if isinstance(value, int | float) else None
