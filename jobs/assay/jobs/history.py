"""The history of a table's log, cut off: what earlier versions said of files that are gone is said no more.

Delta keeps every transaction, and with it the least and greatest uri of each file that ever was. Knows the files of a
log. Does not know what is erased, nor why.

Transactions are not deleted but emptied. A driver that was paused since an old version would find that version's
successor missing, write its own there, and believe that it had committed. In what is left of a transaction stands its
id, so that drivers go on recognising their own and others', and a demand that no reader knows: who looks for an old
version is refused, never shown a table with holes.
"""

import json
import re
from collections.abc import Callable, Iterator

from assay.jobs.delta_entry import entry_name
from assay.jobs.delta_log import DeltaLog
from assay.platform.errors import StorageError

_KEPT = ("commitInfo", "txn")
_REFUSAL = {
    "protocol": {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": ["assayForgotten"],
        "writerFeatures": ["assayForgotten"],
    }
}
_VERSION = re.compile(r"(\d{20})\.json$")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.[^/]*$")


def cut_history(log: DeltaLog, still_ours: Callable[[], None]) -> None:
    """Leave nothing of a log but its current version. Can be repeated; an end half way harms nobody.

    `still_ours` must raise if another driver may have the table. All that is taken away was there when it was asked
    last, so that nothing of another driver's can be among it.

    Raises:
        StorageError: the log cannot be written.
    """
    version, folder = log.version(), f"{log.where}/_delta_log"
    if version < 0:
        return
    log.checkpoint()
    names = [file.name for file in log.storage.list(folder)]
    checkpoints = {name: int(found[1]) for name in names if (found := _CHECKPOINT.match(name))}
    if version not in checkpoints.values():
        raise StorageError(
            "a table's checkpoint was not kept", where=folder, why=f"none of version {version}", fix="run it again"
        )
    numbered = sorted(int(found[1]) for name in names if (found := _VERSION.match(name)))
    still_ours()
    # Version 0 goes last: while it is whole, nothing before the oldest checkpoint is known to be emptied.
    done = min(checkpoints.values()) if _is_empty(log, 0) else 0
    for one in [*(number for number in numbered if max(done, 1) <= number < version), 0]:
        if one < version and not _is_empty(log, one):
            _empty(log, one)
    for name in _leftovers(names, checkpoints, version):
        log.storage.remove(f"{folder}/{name}")


def _leftovers(names: list[str], checkpoints: dict[str, int], version: int) -> Iterator[str]:
    """Old checkpoints, and files that were to become versions when their writer was killed."""
    for name in names:
        is_old = checkpoints.get(name, version) < version
        if is_old or not (name in checkpoints or _VERSION.match(name) or name == "_last_checkpoint"):
            yield name


def _read(log: DeltaLog, version: int) -> list[dict[str, object]]:
    data = log.storage.read(_place(log, version)) or b""
    return [json.loads(line) for line in data.splitlines() if line.strip()]


def _is_empty(log: DeltaLog, version: int) -> bool:
    """Whether a transaction names no file, and makes no table."""
    actions = {action for line in _read(log, version) for action in line}
    return not actions & {"add", "remove", "metaData"}


def _empty(log: DeltaLog, version: int) -> None:
    kept = [line for line in _read(log, version) if set(line) & set(_KEPT)]
    text = "\n".join(json.dumps(line) for line in [*kept, _REFUSAL])
    log.storage.write(_place(log, version), text.encode())


def _place(log: DeltaLog, version: int) -> str:
    return f"{log.where}/{entry_name(version)}"
