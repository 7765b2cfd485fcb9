"""R8: judging again what is stored, beside what the machine can do at all, and beside encoding it again.

Knows the corpus (a synthetic store of a million observations at the width of ViT-B/32), and which loops are compared.
The loops run in processes of their own on one core each, interleaved; the whole command on all of them.
"""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from assay.jobs.release_copy import keep_release
from assay.platform.release import Release
from infra.bench.audit_releases import audit_release, few_prompts, production, reworded
from infra.bench.bench import Bench
from infra.bench.figure import Figure, Result
from infra.bench.memory import PeakMemory
from infra.bench.race import Race, SideError, race
from infra.bench.side import Task
from infra.bench.stored_corpus import make_stored

COMMAND = str(Path(sys.executable).with_name("assay"))
CONCEPTS = 64
TIMES = 5
"""How much larger the second store is, for memory."""
PART = 8
"""A lap of a loop takes one in so many images."""
SIDES = "infra.bench.reaudit_sides:"


def measure(bench: Bench) -> Result:
    """Loops first, then the commands, then the re-audit of a store five times as large."""
    corpus = _Corpus(bench, bench.spec.stored_images)
    loops = corpus.race(
        {
            "read column": ("ReadColumn", corpus.few),
            "read and score": ("ReadAndScore", corpus.few),
            "read to matrix": ("ReadMatrix", corpus.few),
            "read FixedSizeList": ("ReadFixedSizeList", corpus.few),
            "score 1,074": ("ScoreInMemory", corpus.all),
            "float32 product": ("PlainProduct", corpus.all),
        }
    )
    first = corpus.audit(corpus.old)
    judged = corpus.race({"all": ("Rejudge", corpus.new), "carried": ("RejudgeCarried", corpus.new)})
    seconds, carried = corpus.new_concept()
    larger = _Corpus(bench, TIMES * bench.spec.stored_images)
    many = larger.audit(larger.old)
    encoded = bench.race("real")
    return Result(
        title="read and score, 8 phrases ÷ pyarrow reading that column",
        figure=loops.ratio("read and score", "read column", 0.5),
        bound_by="widening float16 to float64, in which products are exact",
        more={
            "score, 1,074 phrases ÷ float32 product": loops.ratio("score 1,074", "float32 product", 0.5),
            "read to matrix ÷ FixedSizeList": loops.ratio("read to matrix", "read FixedSizeList", 2.5),
            "one concept of 64 ÷ all, time": _inverse(judged.ratio("carried", "all", None), 0.4),
            "re-audit, 64 concepts ÷ encoding again": _beside(first.rate, encoded, 3000),
            "new concept to diff page, s": Figure.of([seconds], 120, "at most"),
            f"peak memory({TIMES} N) ÷ (N)": Figure.of([many.peak / max(1, first.peak)], 1.05, "at most"),
        },
        facts={
            **loops.facts(),
            **judged.facts(),
            **first.told("N"),
            **many.told(f"{TIMES} N"),
            **carried.told("N, one concept"),
        },
    )


def _inverse(rate: Figure, target: float) -> Figure:
    values = [1 / value for value in (rate.low, rate.value, rate.high) if value]
    return Figure.of(values, target, "at most") if values else Figure.missing(rate.why, target, "at most")


def _beside(rate: float, encoded: Race, target: float) -> Figure:
    try:
        return Figure.of([rate / one for one in encoded.rates("encode, best batch")], target)
    except SideError as error:
        return Figure.missing(str(error), target)


@dataclass(frozen=True, slots=True)
class _Audited:
    """One `assay reaudit`, in a process of its own."""

    images: int
    seconds: float
    """From command to end."""
    rate: float
    """Images a second, from the first span's work to the end."""
    peak: int
    """Bytes of it and its Ray."""

    def told(self, name: str) -> dict[str, float | str]:
        """For the facts."""
        return {
            f"{name}: images": self.images,
            f"{name}: command s": round(self.seconds, 1),
            f"{name}: images/s": round(self.rate),
            f"{name}: peak MiB": round(self.peak / 2**20),
        }


class _Corpus:
    """A store, and the releases it is audited with."""

    def __init__(self, bench: Bench, images: int) -> None:
        self._bench, self._folder, self._images = bench, bench.scratch(), images
        bench.say(f"  making a store of {images} observations")
        tree = production(CONCEPTS)
        plain = audit_release(self._folder / "plain", "plain", tree)
        self.old = audit_release(self._folder / "old", "old", tree, plain)
        self.new = audit_release(self._folder / "new", "new", reworded(tree), plain)
        self.few = audit_release(self._folder / "few", "few", few_prompts())
        self.all = audit_release(self._folder / "all", "all", production())
        self._store = self._folder / "store"
        made = make_stored(self._store, images, self.old)
        for release in (self.old, self.new, self.few, self.all):
            keep_release(made, release)

    def race(self, sides: Mapping[str, tuple[str, Release]]) -> Race:
        """Loops over a part of the store, on one core each."""
        images = max(1, self._images // PART)
        task = Task(pictures="", images=images, release="", batch=1, threads=1, scratch=str(self._store))
        makes = {
            name: partial(self._bench.child, SIDES + side, task.model_copy(update={"release": str(release.directory)}))
            for name, (side, release) in sides.items()
        }
        return race(makes, self._bench.spec.rounds, lambda what: self._bench.say(f"  {what}"))

    def audit(self, release: Release, *flags: str) -> _Audited:
        """The whole store, as a user types it."""
        began = time.monotonic()
        typed = [COMMAND, "reaudit", str(self._store), "--release", str(release.directory), *flags, "--json"]
        with subprocess.Popen(typed, stdout=subprocess.PIPE, text=True) as process, PeakMemory(process.pid) as memory:
            told, _ = process.communicate()
        if process.returncode:
            raise SideError(f"assay reaudit ended with {process.returncode}")
        facts = json.loads(told)
        found = _Audited(facts["judged"], time.monotonic() - began, facts["images_per_second"], memory.peak)
        self._bench.say(f"  {found.images} images in {found.seconds:.1f} s, {found.rate:.0f} a second")
        return found

    def new_concept(self) -> tuple[float, _Audited]:
        """What a person waits for who says something new: the release, the re-audit, the page of what is different."""
        built, parts = self._folder / "built", self.new.directory
        began = time.monotonic()
        texts = ["--library", str(parts / "library.yaml"), "--policy", str(parts / "policies" / "strict.yaml")]
        encoder = ["--encoder", f"local-dir:{parts / 'encoder'}"]
        subprocess.run(
            [COMMAND, "release", "build", str(built), "--name", "new", *texts, *encoder],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        audited = self.audit(Release.load(built))
        page = ["--html", str(self._folder / "diff.html")]
        sides = ["--from", self.old.id, "--to", Release.load(built).id]
        subprocess.run([COMMAND, "diff", str(self._store), *sides, *page], check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began, audited
