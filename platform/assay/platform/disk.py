"""A folder on disk as object storage: whole files, written under their final name or not at all.

Knows files, and which of the system's errors are none. Does not know what is stored; `bucket.py` is its counterpart.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from assay.platform.errors import StorageError
from assay.platform.refusals import job_error
from assay.platform.stored import StoredFile
from assay.platform.uris import Location


def write_file(path: Path, data: bytes, *, if_absent: bool) -> bool:
    """Write aside, flush to the disk, then name it: a crash leaves no half file under the final name.

    With `if_absent`, False when something is there.

    Raises:
        StorageError: the disk is full, or may not be written.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            return _name_file(aside, path, if_absent=if_absent)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            "cannot write",
            where=str(path),
            why=error.strerror or str(error),
            fix="free space or grant write access, then run again",
        ) from error


def _name_file(aside: Path, path: Path, *, if_absent: bool) -> bool:
    if not if_absent:
        aside.replace(path)
        return True
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    return True


def list_files(root: Path, after: str = "") -> Iterator[StoredFile]:
    """Every regular file below a folder whose name there is greater than `after`, in no order; none without a folder.

    Raises:
        StorageError: a folder may not be listed.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a folder may be removed meanwhile
            why = error.strerror or str(error)
            raise StorageError(
                "cannot list a folder", where=str(error.filename), why=why, fix="grant read access"
            ) from error

    for folder, _, names in os.walk(root, onerror=refuse):
        for name in names:
            path = Path(folder, name)
            inside = path.relative_to(root).as_posix()
            found = file_facts(path, inside) if inside > after else None
            if found is not None:
                yield found


def file_facts(path: Path, name: str = "") -> StoredFile | None:
    """Size and time of a regular file; None when there is none.

    Raises:
        StorageError: the file may not be looked at.
    """
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise job_error(error, Location("", str(path))) from error
    return StoredFile(name, facts.st_size, facts.st_mtime) if stat.S_ISREG(facts.st_mode) else None


def read_file(path: Path) -> bytes | None:
    """A whole file, or None when it is not there.

    Raises:
        StorageError: it may not be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise job_error(error, Location("", str(path))) from error


def remove_file(path: Path) -> None:
    """Remove a file; nothing happens when it is not there.

    Raises:
        StorageError: it may not be removed.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise job_error(error, Location("", str(path))) from error
