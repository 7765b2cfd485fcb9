"""Concepts that a library lacks: what a store's pictures show, no phrase speaks of, and is growing.

Knows where pictures of now and of before come from, and how a proposal is said. Proposes drafts only: a person looks at
the examples and accepts, renames or drops each. Writes nothing.

Memory: two samples of embeddings, and a batch of observations, whatever the size of the store.
"""

import heapq
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from assay.jobs.binding import Binding, check_binding
from assay.jobs.forgotten import unerased
from assay.jobs.generation import generations
from assay.jobs.release_choice import choose_release, origins_of
from assay.jobs.report import READING
from assay.jobs.store import Store
from assay.jobs.suggestion import SuggestFacts, Suggestion, SuggestSpec
from assay.platform.encoder import Encoder
from assay.platform.errors import SpecError
from assay.platform.faults import OK
from assay.platform.prompt_vectors import PromptVectors, Role
from assay.platform.release import Release
from assay.platform.storage import Storage
from assay.platform.uncovered import Group, find_uncovered, name_groups


def suggest(spec: SuggestSpec) -> SuggestFacts:
    """Look for what a library says nothing of.

    Raises:
        SpecError: no such store, nothing to look at, or a word list that cannot be read.
        StoreVersionError: a store was observed with another encoder.
        StorageError: committed rows cannot be read.
    """
    chosen, storage = choose_release(spec.release, spec.registry), Storage(spec.storage)
    release = chosen.release
    words = None if spec.words is None else _read_words(spec.words)
    store = Store.open(storage, spec.store)
    start = _newest(store) if spec.before is None else 0
    uris, now = _sample(store, release, spec, first_shard=start)
    if not uris:
        raise SpecError("there is nothing to look at", where=spec.store, why="no readable image", fix="run a backfill")
    before = _before(store, release, spec, start)
    vectors, _ = PromptVectors.load(release.directory / release.manifest.vectors)
    groups = find_uncovered(now, before, vectors, spec.look)
    encoder = release.encoder() if words else None
    names = _names(groups, words, encoder, vectors)
    return SuggestFacts(
        store=spec.store,
        release=release.id,
        origins=origins_of(release=chosen),
        sampled=len(uris),
        sampled_before=0 if before is None else len(before),
        suggestions=tuple(
            _said(group, said, uris, vectors, spec.examples) for group, said in zip(groups, names, strict=True)
        ),
    )


def _newest(store: Store) -> int:
    """The first shard of the newest generation."""
    known = generations(store)
    return known[-1].first_shard if known else 0


def _before(store: Store, release: Release, spec: SuggestSpec, start: int) -> npt.NDArray[np.float16] | None:
    if spec.before is not None:
        return _sample(Store.open(store.storage, spec.before), release, spec)[1]
    return _sample(store, release, spec, end_shard=start)[1] if start else None


def _sample(
    store: Store, release: Release, spec: SuggestSpec, first_shard: int = 0, end_shard: int | None = None
) -> tuple[list[str], npt.NDArray[np.float16]]:
    """Uris and first views (the whole picture) of a seeded, even sample of a store's readable images."""
    dim = release.manifest.encoder.dim
    check_binding(store, Binding.of(release))
    kept: list[tuple[float, str, bytes]] = []
    rng = np.random.default_rng(spec.look.seed)
    with unerased(store):
        for uri, embedding in _observed(store, first_shard, end_shard):
            entry = (float(rng.random()), uri, embedding[: 2 * dim])
            if len(kept) < spec.images:
                heapq.heappush(kept, entry)
            else:
                heapq.heappushpop(kept, entry)
    rows = [np.frombuffer(embedding, "<f2") for _, _, embedding in kept]
    return [uri for _, uri, _ in kept], np.array(rows, np.float16).reshape(len(rows), dim)


def _observed(store: Store, first_shard: int, end_shard: int | None) -> Iterator[tuple[str, bytes]]:
    mine = (pc.field("outcome") == OK) & (pc.field("shard") >= first_shard)
    if end_shard is not None:
        mine &= pc.field("shard") < end_shard
    scanner = store.observations.dataset().filter(mine).scanner(columns=["uri", "embedding"], **READING)
    for batch in scanner.to_batches():
        yield from zip(batch["uri"].to_pylist(), batch["embedding"].to_pylist(), strict=True)


def _names(
    groups: list[Group], words: list[str] | None, encoder: Encoder | None, vectors: PromptVectors
) -> list[tuple[str, ...]]:
    if words and encoder is not None:
        return name_groups(groups, words, encoder.encode_texts(words))
    english = [row for row, language in enumerate(vectors.languages) if language == "en"]
    firsts = {vectors.texts[row]: row for row in reversed(english)}
    return name_groups(groups, list(firsts), vectors.vectors[list(firsts.values())])


def _said(group: Group, names: tuple[str, ...], uris: list[str], vectors: PromptVectors, examples: int) -> Suggestion:
    is_background = vectors.roles[group.nearest] is Role.BACKGROUND
    return Suggestion(
        names=names,
        images=len(group.members),
        share=len(group.members) / len(uris),
        images_before=group.before,
        growth=group.growth,
        farness=group.farness,
        nearest_phrase=vectors.texts[group.nearest],
        nearest_owner="background" if is_background else vectors.owners[group.nearest],
        examples=tuple(uris[place] for place in group.members[:examples].tolist()),
    )


def _read_words(path: Path) -> list[str]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            "the word list cannot be read", where=str(path), why=str(error), fix="check the path"
        ) from error
    words = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not words:
        raise SpecError("the word list is empty", where=str(path), why="no line has a word", fix="write one a line")
    return words
