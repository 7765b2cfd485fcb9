"""The bench's own machinery: order, medians, failing sides, ONLY, the shape of latest.json. No speed is tested here."""

import io
import json
import os
import re
import socketserver
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from assay.jobs.work import Receipt, Task
from assay.platform.budget import Budget
from assay.platform.faults import Fault
from assay.platform.hash_encoder import HashEncoder, HashSpec
from assay.platform.images import decode
from infra.bench import decoders, run
from infra.bench.bench import CHILDREN
from infra.bench.decoders import find_fastest, plain_pillow, product
from infra.bench.encoder_efficiency import tower_flops, tower_shapes
from infra.bench.figure import Figure, Result
from infra.bench.memory import family, family_bytes
from infra.bench.object_store import COUNT, _delayed
from infra.bench.parts import PARTS, Part, choose, sides_of
from infra.bench.pictures import LARGE, TRUNCATED, PicturesSpec, compose_pictures, link_pictures, plan_kinds, renumber
from infra.bench.product import Stopwatch
from infra.bench.race import Lap, SideError, order, race
from infra.bench.run import run_parts
from infra.bench.side import ChildSide
from infra.bench.side import Task as SideTask
from infra.bench.spec import BenchSpec
from infra.bench.table import as_table, merge

ROOT = Path(__file__).parent.parent.parent
PREPROCESS = HashEncoder(HashSpec(size=64), "test").preprocess


class Scripted:
    """A side that notes its turns, and does what its script says in each: a rate, or an error."""

    def __init__(self, name: str, turns: list[str], *script: float | Exception, lost: int = 0) -> None:
        self.name, self.turns, self.script, self.lost = name, turns, list(script), lost
        self.closed = False

    def lap(self) -> Lap:
        self.turns.append(self.name)
        told = self.script.pop(0)
        if isinstance(told, Exception):
            raise told
        return Lap(100 - self.lost, 100, 100 / told)

    def close(self) -> None:
        self.closed = True


def test_rounds_begin_with_another_side_each() -> None:
    assert [order(["a", "b", "c"], turn) for turn in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]
    assert order([], 3) == []


def test_sides_are_interleaved_and_the_first_round_does_not_count() -> None:
    turns: list[str] = []
    one, other = Scripted("one", turns, 1, 10, 20), Scripted("other", turns, 1, 5, 5)
    found = race({"one": lambda: one, "other": lambda: other}, 2)
    assert turns == ["one", "other", "one", "other", "other", "one"]
    assert found.rates("one") == pytest.approx([10, 20])
    ratio = found.ratio("one", "other", 2.5)
    assert (ratio.value, ratio.low, ratio.high, ratio.is_met) == (3.0, 2.0, 4.0, True)
    assert one.closed
    assert other.closed


def test_a_side_that_fails_is_told_and_the_others_go_on() -> None:
    def refuse() -> Scripted:
        raise ModuleNotFoundError("No module named 'daft'")

    turns: list[str] = []
    sides = {
        "good": lambda: Scripted("good", turns, 1, 1, 1),
        "absent": refuse,
        "broken": lambda: Scripted("broken", turns, 1, RuntimeError("it broke\nat last")),
        "lossy": lambda: Scripted("lossy", turns, 1, lost=1),
    }
    found = race(sides, 2)
    assert turns.count("good") == 3
    assert turns.count("broken") == 2, "not asked again"
    assert found.failures == {
        "absent": "ModuleNotFoundError: No module named 'daft'",
        "broken": "RuntimeError: at last",
        "lossy": "99 of 100 images came out",
    }
    for name in (*found.failures, "nobody"):
        ratio = found.ratio("good", name, 2.0)
        assert ratio.value is None
        assert ratio.target == 2.0
        assert name in ratio.why
    with pytest.raises(SideError, match="lossy"):
        found.rates("lossy")
    assert "absent failed" in found.facts()


def test_a_figure_is_a_median_with_its_spread() -> None:
    figure = Figure.of([3.0, 1.0, 2.0, 100.0, 2.5], 2.0)
    assert (figure.value, figure.low, figure.high) == (2.5, 1.0, 100.0)
    assert figure.is_met
    assert not Figure.of([2.5], 2.0, "at most").is_met
    assert Figure.of([0], 0, "at most").is_met
    assert Figure.of([1.0]).is_met is None
    assert Figure.of([], 2.0).why
    assert Figure.missing("why", 2.0).is_met is None


def test_the_first_result_may_start_the_clock() -> None:
    assert Lap(100, 100, 4.0, timed=80).rate == 20.0
    watch = Stopwatch()
    for images in (10, 30):
        watch.received(Receipt(shard=images, task=Task.OBSERVE, rows=images, seconds={"look": 1.0, "encode": 4.0}))
    first = watch.first[0]
    assert watch.clock(from_first_result=True) == (first, 30)
    assert watch.clock(from_first_result=False) == (first - 5.0, 40)
    alone = Stopwatch()
    alone.received(Receipt(shard=1, task=Task.OBSERVE, rows=10))
    assert alone.clock(from_first_result=True)[1] == 10, "one result: there is nothing after it"


def test_only_names_parts() -> None:
    assert choose("") == list(PARTS)
    assert choose("r6, R2,") == ["R2", "R6"]
    with pytest.raises(ValueError, match="no part 'r99'; there are R1, R2"):
        choose("R99")


def test_parts_share_races() -> None:
    assert sides_of(["R2", "R6"]) == {
        "null": {"assay", "decode", "DataLoader"},
        "real": {"assay", "DataLoader"},
    }
    assert sides_of(["R13"]) == {"null": frozenset(), "real": frozenset()}
    assert sides_of(list(PARTS))["real"] == {*CHILDREN, "assay", "Ray Data"}


def test_a_part_that_fails_is_told_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_bench: object) -> Result:
        raise OSError("no compiler here")

    good = Result(title="good", figure=Figure.of([1.0]), bound_by="nothing")
    monkeypatch.setattr(run, "PARTS", {"bad": Part(fail), "good": Part(lambda _bench: good)})
    monkeypatch.setattr(run, "sides_of", lambda _names: {})
    said: list[str] = []
    found = run_parts(["bad", "good"], BenchSpec(), said.append)
    assert found["bad"].figure == Figure.missing("OSError: no compiler here")
    assert found["good"] == good
    assert "  bad failed: OSError: no compiler here" in said


def test_latest_json_keeps_what_was_not_run(tmp_path: Path) -> None:
    out = tmp_path / "latest.json"
    first = Result(title="one", figure=Figure.of([1.0, 2.0, 3.0], 1.5), bound_by="decoding", facts={"rate": 7.0})
    merge(out, {"R2": first, "R1": first}, ["R1", "R2"], {"measured": "today"})
    failed = Result.failed("one", "not installed")
    merge(out, {"R1": failed}, ["R1", "R2"], {"measured": "tomorrow"})
    rows = json.loads(out.read_text())
    assert list(rows) == ["R1", "R2"]
    wanted = {"value": 2.0, "target": 1.5, "low": 1.0, "high": 3.0, "bound_by": "decoding", "measured": "today"}
    assert wanted.items() <= rows["R2"].items()
    assert Result.of_row(rows["R2"]) == first
    assert rows["R1"]["value"] is None
    assert rows["R1"]["why"] == "not installed"


def test_the_table_tells_targets_and_reasons() -> None:
    more = {"real": Figure.missing("Daft is not installed", 1.15)}
    result = Result(title="ours ÷ theirs", figure=Figure.of([2.0, 4.0, 3.0], 3.5), bound_by="decoding", more=more)
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(as_table({"R4": result}))
    shown = console.export_text()
    assert all(word in shown for word in ("R4", "3", "2 to 4", "≥ 3.5", "decoding", "Daft is not installed", "none"))


def _task(folder: Path) -> SideTask:
    return SideTask(pictures=str(folder), images=5, release="", batch=1, threads=1, scratch=str(folder))


def test_a_side_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    side = ChildSide("tests.infra.bench_sides:Steady", _task(tmp_path), tmp_path / "log")
    try:
        assert side.pid != os.getpid()
        assert [side.lap().rate, side.lap().rate] == [10.0, 10.0]
        assert dict(side.lap().facts) == {"threads": 1}
    finally:
        side.close()
    assert "working" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("kind", "why"), [("Unloadable", "ModuleNotFoundError: No module named 'something'"), ("Dying", "out of luck")]
)
def test_a_childs_failure_is_told_in_its_own_words(kind: str, why: str, tmp_path: Path) -> None:
    def make() -> ChildSide:
        return ChildSide(f"tests.infra.bench_sides:{kind}", _task(tmp_path), tmp_path / "log")

    assert why in race({"child": make}, 1).failures["child"]


def test_every_child_is_there() -> None:
    for name in CHILDREN.values():
        module, _, kind = name.partition(":")
        source = ROOT / f"{module.replace('.', '/')}.py"
        assert re.search(rf"^class {kind}\b", source.read_text(), re.MULTILINE), name


def test_pictures_are_of_the_promised_kinds(tmp_path: Path) -> None:
    spec = PicturesSpec(images=100, distinct=6)
    kinds = plan_kinds(spec)
    assert (kinds.count(LARGE), kinds.count(TRUNCATED), len(kinds)) == (5, 1, 100)
    small = PicturesSpec(images=50, distinct=6)
    kinds = [kind if kind != LARGE else "plain" for kind in plan_kinds(small)]
    paths = compose_pictures(tmp_path / "pictures", small)
    contents = [path.read_bytes() for path in paths]
    assert len(set(contents)) == len(contents)
    faults = [isinstance(decode(data, PREPROCESS, Budget()), Fault) for data in contents]
    assert faults == [kind == TRUNCATED for kind in kinds]
    linked = link_pictures(paths, tmp_path / "links", 120)
    assert len(list(linked.rglob("*.jpg"))) == 120


def test_the_fastest_decoder_must_give_the_products_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = compose_pictures(tmp_path, PicturesSpec(images=1, distinct=1))
    data = renumber(path.read_bytes(), 9)
    seen, plain = product(data, PREPROCESS), plain_pillow(data, PREPROCESS)
    assert seen is not None
    assert plain is not None
    assert float(np.abs(seen.astype(int) - plain).mean()) < 2

    def missing() -> decoders.Decode:
        raise ModuleNotFoundError("No module named 'simplejpeg'")

    planted = {
        "product": lambda: product,
        "wrong": lambda: lambda _data, _preprocess: 255 - seen,
        "quick": lambda: lambda _data, _preprocess: seen,
        "missing": missing,
    }
    monkeypatch.setattr(decoders, "CANDIDATES", planted)
    assert find_fastest([data] * 4, PREPROCESS, 1)[0] == "quick"


def test_a_towers_arithmetic_is_that_of_open_clips_own_table() -> None:
    vision = {"image_size": 224, "layers": 12, "width": 768, "patch_size": 32}
    assert tower_flops(vision, 512) == pytest.approx(8.82e9, rel=0.02)
    assert len(tower_shapes(vision, 512, 8)) == 6


def test_memory_is_of_a_process_and_its_children() -> None:
    assert os.getpid() in family(os.getppid())
    assert family_bytes(os.getpid()) > 10 * 2**20


def test_the_servers_own_count_is_read() -> None:
    told = 'SeaweedFS_s3_request_total{bucket="images",code="200",type="GET"} 7\n# else\n'
    assert COUNT.findall(told) == [("images", "200", "GET", "7")]


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello" * 50_000)

    def log_message(self, *_: object) -> None: ...


def test_late_answers_are_whole() -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Hello) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with _delayed(f"http://127.0.0.1:{server.server_address[1]}", 0.05) as endpoint:
            assert urllib.request.urlopen(endpoint).read() == b"hello" * 50_000
        server.shutdown()


def test_the_benchs_lock_agrees_with_the_projects() -> None:
    pin = re.compile(r"^([a-z0-9._-]+)==(\S+)", re.MULTILINE)
    ours = dict(pin.findall((ROOT / "requirements.lock").read_text()))
    text = (ROOT / "infra" / "bench" / "requirements.lock").read_text()
    locked = dict(pin.findall(text))
    assert "daft" in locked
    assert all(ours.get(name, version) == version for name, version in locked.items())
    assert "://" not in text
