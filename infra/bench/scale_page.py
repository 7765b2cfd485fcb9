"""The page on scale, computed: `python -m infra.bench.scale_page` writes `infra/docs/scale.md`.

Knows what an image costs of each thing there is a limit to, and which limit binds. Measures nothing: its numbers are
`scale_inputs.py`'s, or the bench's where it has measured them.
"""

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.jobs.datafile import NEIGHBOURS
from infra.bench.scale_inputs import Input, inputs_of

LATEST = Path(__file__).parent / "latest.json"
PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
MODELS = ("ViT-B/32", "ViT-B/16", "ViT-L/14")
HOUR, DAY_H, MILLION = 3600.0, 24.0, 1e6


@dataclass(frozen=True, slots=True)
class Case:
    """One model over images that lie loose, one object each, or packed, many in one."""

    given: Mapping[str, Input]
    model: str
    packed: bool

    def of(self, name: str) -> float:
        """The value of an input."""
        return self.given[name].value

    @property
    def name(self) -> str:
        """As the tables have it."""
        return f"{self.model}, {'packed' if self.packed else 'loose'}"

    @property
    def gpu_rate(self) -> float:
        """Images a second of one GPU that is kept busy."""
        return self.of(f"{self.model} on a GPU") * self.of("GPU kept busy")

    @property
    def cpu_rate(self) -> float:
        """Images a second that a vCPU fetches, decodes and writes."""
        return self.of("fetch, decode and write on two vCPUs") / 2

    @property
    def gets(self) -> float:
        """Requests for the images: each, or each shard as one range."""
        return self.of("images") / (self.of("images in a shard") if self.packed else 1)

    def hours(self) -> dict[str, float]:
        """What one GPU node needs for each limit alone, the longest of which binds."""
        images = self.of("images")
        return {
            "GPU": images / self.gpu_rate / HOUR,
            "vCPUs": images / (self.of("vCPUs of a GPU node") * self.cpu_rate) / HOUR,
            "GETs": self.gets / (self.of("prefixes") * self.of("GETs of a prefix")) / HOUR,
            "network": images * self.of("size of an image") * 8 / self.of("network of a node") / HOUR,
        }

    @property
    def bound_by(self) -> str:
        """The limit that binds on one GPU node."""
        hours = self.hours()
        return max(hours, key=hours.__getitem__)

    @property
    def vcpus(self) -> int:
        """vCPUs that keep one GPU busy."""
        return math.ceil(self.gpu_rate / self.cpu_rate)

    def dollars(self) -> dict[str, float]:
        """What it costs with as many vCPUs as keep the GPU busy."""
        hours, images = self.hours(), self.of("images")
        shards = images / self.of("images in a shard")
        reads = self.gets + 2 * shards  # of each written file its content, to compact it
        looks = 2 * shards / NEIGHBOURS  # listings, for the sizes of what was written
        writes = 2 * shards + looks + images / self.of("keys of a LIST")
        requests = (reads * self.of("a million GETs") + writes * self.of("a million PUTs")) / MILLION
        return {
            "GPU": hours["GPU"] * self.of("H100"),
            "vCPUs": hours["GPU"] * self.vcpus * self.of("vCPU"),
            "requests": requests,
        }


def page(latest: Mapping[str, object]) -> str:
    """The whole page, from what the bench has measured."""
    given = inputs_of(latest)
    cases = [Case(given, model, packed) for model in MODELS for packed in (False, True)]
    parts = (_intro(), _bounds(cases), _balance(cases), _without_gpu(given), _driver(given), _inputs(given))
    return "\n".join(parts)


def _intro() -> str:
    return """# A billion images

What 10^9 images take: hours, GPUs, vCPUs, requests and dollars. `python -m infra.bench.scale_page` computes this page
from the inputs at its end; each says whether it was measured, published or calculated. All other numbers here are
**calculated** from them. Nobody has run 10^9 images through Assay. Run the script again when a measurement changes; a
test holds that the page is what it computes.
"""


def _bounds(cases: list[Case]) -> str:
    rows = []
    for case in cases:
        hours = case.hours()
        rows.append([case.name, *(f"{one:,.1f}" for one in hours.values()), f"**{case.bound_by}**"])
    of = cases[0].of
    return f"""## One GPU node: what binds

Hours that one H100 with {of("vCPUs of a GPU node"):.0f} vCPUs needs for 10^9 images, by each limit alone. They overlap:
the longest binds. *Loose*: a GET for each image. *Packed*: tar or Parquet, one range for each shard of \
{of("images in a shard"):.0f}.

{_table(["model, images", "GPU", "vCPUs", "GETs", "network", "bound by"], rows)}
"""


def _balance(cases: list[Case]) -> str:
    rows = []
    for case in cases:
        dollars, hours = case.dollars(), case.hours()["GPU"]
        spent = [*dollars.values(), sum(dollars.values())]
        to_get = case.of("GETs of a prefix")
        prefixes = math.ceil(case.gets / case.of("images") * case.gpu_rate / to_get)
        nodes = math.ceil(hours / DAY_H)
        shown = [f"{case.vcpus}", f"{prefixes}", f"{hours:,.1f}", f"{nodes}", *(f"${one:,.0f}" for one in spent)]
        rows.append([case.name, *shown])
    head = ["model, images", "vCPUs for a GPU", "prefixes for a GPU", "GPU hours", "GPUs for a day"]
    gets = cases[0].of("a million GETs") * cases[0].of("images") / MILLION
    dearer = [case.model for case in cases if not case.packed and case.dollars()["GPU"] < gets]
    return f"""## In balance: the GPU always busy

With so many vCPUs beside each GPU (on its node, or on nodes without one) and so many prefixes, the GPU binds. The
requests have one listing in them, and the files that are written, two a shard: looked for by listing neighbours, and
read once to compact them.

{_table([*head, "GPU", "vCPUs", "requests", "all"], rows)}

Loose images cost ${gets:,.0f} for GETs alone, whatever the model; the GPU costs less than that for {_listed(dearer)}.
A client that asks HEAD before GET pays it twice; Assay does not.
"""


def _without_gpu(given: Mapping[str, Input]) -> str:
    case = Case(given, MODELS[0], packed=False)
    encode = case.of(f"{MODELS[0]} on a vCPU")
    hours = case.of("images") * (1 / encode + 1 / case.cpu_rate) / HOUR
    return f"""## Without a GPU

ViT-B/32 on vCPUs alone: {hours:,.0f} vCPU hours, ${hours * case.of("vCPU"):,.0f}, bound by the model \
({case.cpu_rate / encode:.0f} times dearer than the rest). A GPU is cheaper, and a re-audit needs neither.
"""


def _driver(given: Mapping[str, Input]) -> str:
    def of(name: str) -> float:
        return given[name].value

    images = of("images")
    rows = [
        ["list the bucket, one stream", f"{images / of('listing') / HOUR:.1f} h", "before the first image; not at all "
         "when the source is a manifest or an inventory"],
        ["merge the listing with what is known", f"{images * of('planning') / HOUR:.1f} h", "one core"],
        ["find what is left (resume)", f"{of('finding what is left'):.1f} s", "from the tables' logs"],
        ["hand each shard on and take its receipt", f"{images / of('images in a shard') * of('a shard') / HOUR:.1f} h",
         "Ray's loop, one core, the whole time; shards of 1,024 images (`--shard.images`): a quarter"],
        ["compaction", f"{images * of('compaction') / HOUR:.1f} CPU h", "while it runs, above 65,536 files"],
        ["files that are written", f"{2 * images / of('images in a shard') / MILLION:.1f} M", "before compaction"],
    ]  # fmt: skip
    return f"""## The driver

{_table(["step", "10^9 images", ""], rows)}

One driver hands on {of("images in a shard") / of("a shard"):,.0f} images a second in shards of
{of("images in a shard"):.0f}: more than one GPU takes with ViT-L/14, less than it takes with ViT-B/32. A start costs by
the file, not by the image: {of("start from 3.9 M files"):.1f} s with 3.9 M files a table (never compacted). So a
backfill compacts a table of more than 65,536 files by itself. A commit costs the same whatever the table.
"""


def _inputs(given: Mapping[str, Input]) -> str:
    rows = [[name, f"{one.value:,g} {one.unit}", str(one.mark), one.source] for name, one in given.items()]
    return f"""## Inputs

{_table(["what", "value", "how it is known", "from"], rows)}
"""


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "none of them"


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(json.loads(LATEST.read_text())))
    print(PAGE.read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
