"""Stores without pictures that several releases judged: embeddings near colours, verdicts as the product makes them."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from assay.jobs.binding import Binding, bind
from assay.jobs.datafile import JUDGED, FileWriter, write_observations
from assay.jobs.release_copy import keep_release
from assay.jobs.store import Store
from assay.platform.encoder import EncoderSpec
from assay.platform.hash_encoder import HASH_FILE, HashSpec
from assay.platform.moderator import Moderator
from assay.platform.release import Release
from assay.platform.release_build import ReleaseSpec, build_release
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.jobs.colour_releases import COLOURS, NOISE, unit
from tests.store_doubles import data_file, new_store, observed_rows

SHARD = 10
"""Images of a shard."""


def release_of(folder: Path, library: str, *policies: str, dim: int = 64) -> Release:
    """A release around the hash encoder; another `dim` is another encoder."""
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / HASH_FILE).write_text(HashSpec(dim=dim).model_dump_json())
    (folder / "library.txt").write_text(library)
    files = [folder / f"policy-{number}.txt" for number in range(len(policies))]
    for file, policy in zip(files, policies, strict=True):
        file.write_text(policy)
    encoder = EncoderSpec(model=f"local-dir:{folder / 'encoder'}")
    spec = ReleaseSpec(name=folder.name, encoder=encoder, library=folder / "library.txt", policies=tuple(files))
    return build_release(folder / "release", spec)


def observed_store(place: Path, release: Release, images: int, faults: Sequence[int] = ()) -> Store:
    """A store of images of all colours in turn, in shards of `SHARD`; some of them cannot be read."""
    store = new_store(Storage(), place)
    pinned = release.manifest.encoder
    preprocess = release.preprocess.model_dump(mode="json")
    bind(store, Binding(encoder=pinned.digest, dim=pinned.dim, preprocess=preprocess))
    rng, centres = np.random.default_rng(0), release.encoder().encode_texts(list(COLOURS))
    for shard in range(-(-images // SHARD)):
        numbers = range(shard * SHARD, min(images, (shard + 1) * SHARD))
        refs = [ImageRef(f"file:///gone/{number:04d}.png", f"e{number}", number) for number in numbers]
        outcomes = ["CORRUPT" if number in faults else "ok" for number in numbers]
        rows = observed_rows(shard, refs, outcomes)
        cells = []
        for number, outcome in zip(numbers, outcomes, strict=True):
            colour = centres[number % len(COLOURS)]
            noisy = unit(colour + rng.normal(0, NOISE, colour.shape)).tobytes()
            cells.append(noisy if outcome == "ok" else b"")
        at = rows.schema.get_field_index("embedding")
        rows = rows.set_column(at, rows.schema.field(at), pa.array(cells, pa.binary()))
        written = write_observations(store.storage, store.uri, shard, rows)
        store.observations.commit([data_file(written, len(refs), [shard])])
    return store


def judge_by(
    store: Store,
    release: Release,
    policy: str | None = None,
    *,
    cut: int = 1,
    without: Collection[int] = (),
    lost: Collection[int] = (),
    shuffled: bool = False,
) -> pa.Table:
    """Judge what is stored, `cut` shards to a file, but for shards left out and images lost; returns the verdicts."""
    keep_release(store, release)
    moderator = Moderator(release, policy)
    rows = store.observations.dataset().to_table().sort_by([("shard", "ascending"), ("uri", "ascending")])
    kept = ~np.isin(rows["shard"].to_numpy(), [*without]) & ~np.isin(rows["size"].to_numpy(), [*lost])
    verdicts = moderator.decide(rows.filter(pa.array(kept)))
    shards = verdicts["shard"].to_numpy()
    rng = np.random.default_rng(0)
    by_shard = {int(shard): np.flatnonzero(shards == shard) for shard in np.unique(shards)}
    parts = {
        shard: verdicts.take(pa.array(rng.permutation(places) if shuffled else places))
        for shard, places in by_shard.items()
    }
    numbers = list(parts)
    for start in range(0, len(numbers), cut):
        some = numbers[start : start + cut]
        commit_verdicts(store, release, moderator.policy.name, {shard: parts[shard] for shard in some})
    return verdicts


def commit_verdicts(store: Store, release: Release, policy: str, shards: Mapping[int, pa.Table]) -> None:
    """Commit one file of verdicts, shard by shard."""
    file = FileWriter(JUDGED)
    for rows in shards.values():
        file.add(rows)
    written = file.write(store.storage, store.uri, min(shards))
    store.verdicts.commit([data_file(written, file.rows, shards, {"release": release.id, "policy": policy})])
