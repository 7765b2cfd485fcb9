"""The sizes of files just written, asked of the store in as few requests as may be.

Knows that a commit's files are neighbours: their names lie close together in few folders (`datafile.py`). Does not know
what the sizes should be (`committer.py`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import takewhile

from assay.jobs.store import Store
from assay.platform.uris import parse_uri

LISTED_FROM = 4
"""Files of one folder from which on it is listed: one answer tells of a thousand."""
LOOKS_AT_ONCE = 16
"""Files asked for together: an answer of S3 takes 20 ms to come."""


def written_sizes(store: Store, names: Sequence[str]) -> list[int | None]:
    """The size of each of `names` below the store; None where nothing lies.

    Raises:
        StorageError, CredentialsError: the store does not tell.
    """
    known = dict[str, int]()
    if parse_uri(store.uri).is_s3:
        for folder, inside in _crowded(names):
            known |= _listed(store, folder, inside)
    left = [name for name in names if name not in known]  # also what no listing showed: asked for by name, to be sure
    with ThreadPoolExecutor(LOOKS_AT_ONCE, thread_name_prefix="sizes") as pool:
        asked = dict(zip(left, pool.map(store.size_of, left), strict=True))
    return [known[name] if name in known else asked[name] for name in names]


def _crowded(names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders with many of the files, and the files' names there."""
    found = defaultdict[str, list[str]](list)
    for name in names:
        folder, _, inside = name.rpartition("/")
        found[folder].append(inside)
    yield from ((folder, inside) for folder, inside in found.items() if len(inside) >= LISTED_FROM)


def _listed(store: Store, folder: str, inside: list[str]) -> dict[str, int]:
    first, last = min(inside), max(inside)
    # Listings of one flat folder come in the order of names, and start after the name they are given.
    files = store.storage.list(store.path(folder), after=first[:-1])
    return {f"{folder}/{file.name}": file.size for file in takewhile(lambda file: file.name <= last, files)}
