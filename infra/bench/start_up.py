"""R13: how long a person waits. From command to help, and from command to the first committed image.

Knows the command as it is typed. The machine is warm: everything is started once before it counts.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from infra.bench.bench import Bench
from infra.bench.figure import Figure, Result
from infra.bench.race import SideError

COMMAND = str(Path(sys.executable).with_name("assay"))
IMAGES = 512
LOOK_S, LIMIT_S = 0.02, 300.0


def measure(bench: Bench) -> Result:
    """Start it again and again."""
    helps = [_help_s() for _ in range(bench.spec.starts + 1)][1:]
    bench.say(f"  help: {min(helps):.2f} to {max(helps):.2f} s")
    source = bench.pictures(min(IMAGES, bench.spec.null_images))
    first = []
    for turn in range(bench.spec.starts + 1):
        seconds = _first_commit_s(source, bench.scratch() / "store")
        bench.say(f"  first committed image: {seconds:.1f} s{'' if turn else ', not counted'}")
        first += [seconds] if turn else []
    shutil.rmtree(source)
    return Result(
        title="`assay --help`, s",
        figure=Figure.of(helps, 0.6, "at most"),
        bound_by="Python's imports; the first commit: Ray's start, then that of actors and encoder",
        more={"command to first committed image, s": Figure.of(first, 25.0, "at most")},
        facts={"images": len(list(bench.paths[:IMAGES])), "release": "starter"},
    )


def _help_s() -> float:
    began = time.monotonic()
    subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
    return time.monotonic() - began


def _first_commit_s(source: Path, store: Path) -> float:
    """Seconds until a transaction names verdicts, with the settings a user has who sets none."""
    with tempfile.TemporaryFile() as said:
        typed = [COMMAND, "backfill", str(source), "--store", str(store), "--max-fault-rate", "1", "--json"]
        began = time.monotonic()
        process = subprocess.Popen(typed, stdout=said, stderr=said)
        try:
            while not _has_verdicts(store):
                if process.poll() is not None or time.monotonic() - began > LIMIT_S:
                    said.seek(0)
                    raise SideError(f"no image was committed: {said.read()[-300:].decode(errors='replace')}")
                time.sleep(LOOK_S)
            return time.monotonic() - began
        finally:
            process.wait()


def _has_verdicts(store: Path) -> bool:
    return any('"add"' in entry.read_text() for entry in store.glob("verdicts/_delta_log/*.json"))
