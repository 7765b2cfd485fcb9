"""The traces of reports (and of samples drawn for people): which files were written where, so that an erasure can find
those that name an image.

    STORE/reports/TRACE.json            one report: its files, their digests, and keyed digests of the uris it names

Knows reports as files. Does not know what is in them beyond the uris, and keeps none of these.
"""

import hashlib
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from assay.jobs.forgotten import Key
from assay.jobs.report_data import ReportData
from assay.jobs.store import Store, new_run, now
from assay.platform.disk import read_file, remove_file

FOLDER = "reports"
P = TypeVar("P", bound=Path | str)


class Trace(BaseModel):
    """One report that was written."""

    model_config = ConfigDict(frozen=True)

    host: str
    written: str
    files: dict[str, str]
    """SHA-256 of each file, by its absolute path on the host."""
    uris: tuple[str, ...]
    """Keyed digests of the uris the report names."""


def leave_trace(store: Store, data: ReportData, files: dict[Path, bytes]) -> None:
    """Say in the store which files a report is about to become. Before they are written: no report without a trace."""
    leave_trace_of(store, _named(data), files)


def leave_trace_of(store: Store, uris: Iterable[str], files: Mapping[P, bytes]) -> None:
    """The same for files that name some uris. One that is no path lies on another machine: an erasure tells of it."""
    key = Key.of(store)
    trace = Trace(
        host=socket.gethostname(),
        written=now(),
        files={_named_place(path): hashlib.sha256(content).hexdigest() for path, content in files.items()},
        uris=tuple(sorted({key.digest(uri).hex() for uri in uris})),
    )
    store.storage.write(store.path(FOLDER, f"{new_run()}.json"), trace.model_dump_json(indent=1).encode())


def _named_place(path: Path | str) -> str:
    return os.fspath(path.absolute()) if isinstance(path, Path) else path


def _named(data: ReportData) -> Iterator[str]:
    yield from (specimen.uri for label in data.labels.values() for specimen in label.specimens)
    yield from (example.uri for examples in data.fault_examples.values() for example in examples)


def traces_of(store: Store, uris: frozenset[bytes]) -> Iterator[tuple[str, Trace]]:
    """The traces, with their places, of reports that name one of the uris (given as keyed digests)."""
    wanted = {uri.hex() for uri in uris}
    for file in store.storage.list(store.path(FOLDER)):
        where = store.path(FOLDER, file.name)
        data = None if file.name.startswith(".") else store.storage.read(where)
        if data is not None and not wanted.isdisjoint((trace := Trace.model_validate_json(data)).uris):
            yield where, trace


def remove_reports(traces: Iterable[Trace]) -> tuple[int, list[str]]:
    """Remove the files of reports, if they still are what was written; how many, and those out of reach."""
    removed, missed = 0, []
    for trace in traces:
        for name, digest in trace.files.items():
            content = read_file(Path(name))
            if content is not None and hashlib.sha256(content).hexdigest() == digest:
                remove_file(Path(name))
                removed += 1
            else:
                missed.append(f"{trace.host}:{name}")
    return removed, missed
