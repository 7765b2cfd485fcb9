"""No secret is anywhere afterwards: not in a log, a table, a report, a run record, nor in what commands print.

The canary is the secret key of the tests' own S3 server, given on the command line (the worst place) and in the
environment.
"""

import gzip
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow.fs
import pyarrow.parquet as pq

from assay.platform.other_clients import arrow_place
from tests.conftest import S3Server, write_pictures

ASSAY = str(Path(sys.executable).with_name("assay"))


class Shell:
    """Runs commands and keeps what they printed."""

    def __init__(self, s3: S3Server, ray: str, folder: Path) -> None:
        self.s3, self.folder, self.printed = s3, folder, list[bytes]()
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ASSAY_"))}
        self.environment = {**clean, "RAY_ADDRESS": ray, "RAY_AUTH_MODE": "token"}

    def run(self, *typed: str, by: str) -> int:
        """One command, with the secret in its flags or its environment."""
        flags, environment = list[str](), dict[str, str]()
        for name, value in self.s3.settings().items():
            if by == "flags":
                flags += [f"--storage.{name.lower().replace('_', '-')}", value]
            else:
                environment[f"ASSAY_STORAGE_{name}"] = value
        done = subprocess.run(
            [ASSAY, *typed, *flags], env={**self.environment, **environment}, capture_output=True, check=False
        )
        self.printed += [done.stdout, done.stderr]
        return done.returncode


def ray_logs() -> Iterator[Path]:
    """Every file of the session's Ray, of drivers, workers and daemons."""
    import ray  # the session has it loaded

    folder = Path(str(ray._private.worker._global_node.get_session_dir_path()))  # type: ignore[attr-defined]  # it runs
    yield from (path for path in (folder / "logs").rglob("*") if path.is_file())


def contents(s3: S3Server, place: str) -> Iterator[tuple[str, bytes]]:
    """Every object below a place as it lies there, and Parquet also as its values."""
    fs, base = arrow_place(s3.storage, place)
    for info in fs.get_file_info(pyarrow.fs.FileSelector(base, recursive=True)):
        if not info.is_file:
            continue
        data = fs.open_input_stream(info.path, compression=None).readall()
        yield info.path, data
        if info.path.endswith(".parquet"):
            yield info.path, str(pq.read_table(info.path, filesystem=fs).to_pylist()).encode()


def test_no_secret_is_left_anywhere(
    s3: S3Server, s3_place: str, ray_session: str, release_dir: Path, tmp_path: Path
) -> None:
    shell, place = Shell(s3, ray_session, tmp_path), f"{s3_place}/{uuid.uuid4().hex}"
    for path in write_pictures(tmp_path / "pictures", 12):
        s3.put(f"{place}/pictures/{path.name}", path.read_bytes())
    store = f"{place}/store"
    run = ["backfill", f"{place}/pictures", "--store", store, "--release", str(release_dir), "--shard.images", "4"]
    assert shell.run(*run, by="flags") == 0
    assert shell.run("status", store, "--json", by="environment") == 0
    assert shell.run("verify", store, "--json", by="environment") == 0
    assert shell.run("report", store, "--out", str(tmp_path / "report.html"), by="environment") == 0
    assert shell.run("plan", "s3://no-such-bucket-here/x", "--store", store, by="flags") == 5
    assert shell.run("plan", "s3://no such bucket/x", "--store", store, by="environment") != 0

    canary = s3.secret_key.encode()
    searched = 0
    for printed in shell.printed:
        assert canary not in printed
    for path in [*ray_logs(), *(one for one in tmp_path.glob("report*"))]:
        data = path.read_bytes()
        assert canary not in (gzip.decompress(data) if path.suffix == ".gz" else data), path
        searched += 1
    for where, data in contents(s3, store):
        assert canary not in data, where
        searched += 1
    print(f"searched {searched} files and objects, and {sum(map(len, shell.printed))} bytes of output")
    assert searched > 30
    assert (tmp_path / "report.html").exists()


def test_the_search_can_fail(s3: S3Server, s3_place: str) -> None:
    s3.put(f"{s3_place}/planted/run.json", f'{{"secret": "{s3.secret_key}"}}'.encode())
    assert any(s3.secret_key.encode() in data for _, data in contents(s3, f"{s3_place}/planted"))
