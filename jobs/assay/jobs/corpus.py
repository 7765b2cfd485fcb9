"""The demo corpus: a bucket of scenes and photographs in local files, as bad and as good as real buckets are.

Knows what share of which kind it holds and what can be seen where (`truth.json`, written beside the bucket,
for golden sets). Does not know how pictures are drawn (`scene.py`, `oddities.py`), nor libraries, policies
or encoders.
"""

import io
import json
import os
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.oddities import Oddity, encode_picture, list_oddities
from assay.jobs.scene import SIZES, Art, compose_photograph, compose_scene
from assay.platform.errors import SpecError
from assay.platform.faults import FaultKind
from assay.platform.spec import Spec
from assay.platform.uris import file_uri

FLAGGED_SHARE = 0.23
"""Of the scenes: how many hold a concept with a topic."""

PHOTO_SHARE, CORRUPT_SHARE, DUPLICATE_SHARE = 0.15, 0.01, 0.02
"""Of all images."""

CHUNK = 50  # images made in one process's turn: progress moves at least every half second

Progress = Callable[[int, int], None]


class CorpusSpec(Spec):
    """How many images, and the seed that fixes every byte of them (for one version of Pillow)."""

    images: int = Field(default=2000, ge=100)
    seed: int = Field(default=7, ge=0)


class CorpusFacts(BaseModel):
    """What was composed: `kinds`, `topics` and `faults` count images; `skipped` are keys the file system
    refused.
    """

    model_config = ConfigDict(frozen=True)
    images: int
    stored_bytes: int
    kinds: dict[str, int]
    topics: dict[str, int]
    faults: dict[str, int]
    skipped: tuple[str, ...]
    truth: Path


@dataclass(frozen=True, slots=True)
class Member:
    """One object of the bucket, decided but not drawn. `like` is the number of the member a duplicate is
    made from.

    `key` is as `os.fsdecode` gives it: bytes that are not UTF-8 are surrogates.
    """

    number: int
    key: str
    kind: str
    objects: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    fault: FaultKind | None = None
    like: int | None = None


def compose_corpus(directory: Path, spec: CorpusSpec, progress: Progress | None = None) -> CorpusFacts:
    """Write the bucket `directory` and `truth.json` beside it, and say what they hold.

    The same spec gives the same bytes. Composing again leaves finished files untouched, so their etags
    stay, and fills what is missing. `progress(done, total)` counts images.

    Raises:
        SpecError: `directory` holds files that are not of this corpus.
    """
    members = plan_members(spec)
    _refuse_strangers(directory, members)
    sizes = _write_members(directory, spec, members, progress)
    stored = [member for member in members if member.number in sizes]
    truth = directory.parent / "truth.json"
    _write_truth(truth, spec, stored)
    return CorpusFacts(
        images=len(stored),
        stored_bytes=sum(sizes.values()),
        kinds=dict(sorted(Counter(member.kind for member in stored).items())),
        topics=dict(sorted(Counter(topic for member in stored for topic in member.topics).items())),
        faults=dict(sorted(Counter(member.fault.value for member in stored if member.fault).items())),
        skipped=tuple(member.key for member in members if member.number not in sizes),
        truth=truth,
    )


def _write_members(
    directory: Path, spec: CorpusSpec, members: list[Member], progress: Progress | None
) -> dict[int, int]:
    """Write all members in processes of their own; sizes in bytes by number, without the refused ones."""
    for folder in sorted({(directory / member.key).parent for member in members}):
        folder.mkdir(parents=True, exist_ok=True)
    chunks = [range(start, min(start + CHUNK, len(members))) for start in range(0, len(members), CHUNK)]
    sizes: dict[int, int] = {}
    # Spawned, not forked: the caller may run threads (Ray does), and a fork of those hangs.
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), get_context("spawn")) as pool:
        for chunk, written in zip(chunks, pool.map(partial(_write_chunk, directory, spec), chunks), strict=True):
            sizes |= written
            if progress is not None:
                progress(chunk.stop, len(members))
    return sizes


def plan_members(spec: CorpusSpec) -> list[Member]:
    """Every object of the corpus in order of number: oddities, corrupt files, photographs, scenes,
    duplicates.
    """
    rng = np.random.default_rng(spec.seed)
    art = _load_art()
    members = [
        Member(number, odd.key, odd.kind, odd.objects, _topics(art, odd.objects), odd.fault)
        for number, odd in enumerate(list_oddities())
    ]
    for turn in range(max(len(CORRUPTIONS), round(spec.images * CORRUPT_SHARE))):
        kind, fault = CORRUPTIONS[turn % len(CORRUPTIONS)]
        key = f"uploads/{rng.integers(16**6):06x}/IMG_{rng.integers(10_000):04d}-{turn}.jpg"
        members.append(Member(len(members), key, kind, fault=fault))
    for turn in range(round(spec.images * PHOTO_SHARE)):
        key = f"photos/2025/{1 + turn % 12:02d}/DSC_{turn:05d}.jpg"
        members.append(Member(len(members), key, "photograph"))
    num_duplicates = round(spec.images * DUPLICATE_SHARE)
    num_scenes = spec.images - num_duplicates - len(members)
    scenes = [_plan_scene(len(members) + turn, turn, art, rng) for turn in range(num_scenes)]
    members += scenes
    for turn in range(num_duplicates):
        like = scenes[int(rng.integers(num_scenes))]
        kind = "near_duplicate" if turn % 2 else "exact_duplicate"
        key = f"uploads/copies/{turn:03d}-{like.key.rpartition('/')[2]}"
        members.append(replace(like, number=len(members), key=key, kind=kind, like=like.number))
    return members


def _plan_scene(number: int, turn: int, art: Art, rng: np.random.Generator) -> Member:
    # The topic first: tobacco has one icon, religion seventeen, and each wants enough pictures to measure.
    objects = [str(rng.choice(art.of_topic(rng.choice(art.flags) if rng.random() < FLAGGED_SHARE else "")))]
    if rng.random() < 0.4:
        objects.append(str(rng.choice(art.of_topic(""))))
    rng.shuffle(objects)
    form = list(FORMS)[int(rng.choice(len(FORMS), p=(0.91, 0.04, 0.04, 0.01)))]
    folder = f"scenes/{turn // 250:02d}" if turn % 4 else f"uploads/{rng.integers(16**6):06x}"
    key = f"{folder}/scene-{turn:06d}.{form}"
    return Member(number, key, "scene", tuple(objects), _topics(art, objects))


FORMS: dict[str, dict[str, Any]] = {
    "jpg": {"form": "JPEG", "quality": 80},
    "png": {"form": "PNG", "compress_level": 3},
    "webp": {"form": "WEBP", "quality": 80, "method": 2},
    "avif": {"form": "AVIF", "quality": 60, "speed": 9},
}
"""How scenes are written, by extension."""


def _topics(art: Art, objects: tuple[str, ...] | list[str]) -> tuple[str, ...]:
    return tuple(sorted({art.topics[name] for name in objects} - {""}))


def _refuse_strangers(directory: Path, members: list[Member]) -> None:
    ours = {member.key for member in members}
    for path in sorted(directory.rglob("*")) if directory.exists() else ():
        if path.is_file() and str(path.relative_to(directory)) not in ours:
            raise SpecError(
                "The demo corpus goes into an empty folder",
                where=str(directory),
                why=f"{path.name!r} is not one of its files",
                fix="name another folder, or empty this one",
            )


def _write_truth(path: Path, spec: CorpusSpec, stored: list[Member]) -> None:
    """Keys are percent-encoded as in file uris: `relative_uri(uri, source)` of an image finds its row."""
    rows = [
        {
            "key": file_uri(os.fsencode("/" + member.key)).removeprefix("file:///"),
            "kind": member.kind,
            "objects": member.objects,
            "topics": member.topics,
            "fault": member.fault,
        }
        for member in stored
    ]
    path.write_text(json.dumps({"spec": spec.model_dump(), "images": rows}, indent=1))


def _write_chunk(directory: Path, spec: CorpusSpec, numbers: range) -> dict[int, int]:
    """Write some members; their sizes in bytes by number, without names the file system refuses."""
    members = _plan_once(spec)
    sizes = {}
    for number in numbers:
        content = draw_member(members, number, spec.seed)
        path = directory / members[number].key
        try:
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)
            sizes[number] = len(content)
        except (OSError, UnicodeError):  # a name that is not UTF-8, or too long, on a stricter file system
            if members[number].kind != "odd_name":
                raise
    return sizes


@cache
def _load_art() -> Art:
    return Art.load()


@cache
def _plan_once(spec: CorpusSpec) -> list[Member]:
    return plan_members(spec)


@cache
def _oddities() -> dict[str, Oddity]:
    return {odd.key: odd for odd in list_oddities()}


def draw_member(members: list[Member], number: int, seed: int) -> bytes:
    """The bytes of one member. Depends on the plan and the seed only, never on the order of drawing."""
    member, art = members[number], _load_art()
    rng = np.random.default_rng([seed, number])
    if member.like is not None:
        original = draw_member(members, member.like, seed)
        return original if member.kind == "exact_duplicate" else _alter(original, rng)
    if member.key in _oddities():
        return _oddities()[member.key].make(art, rng)
    size = SIZES[int(rng.integers(len(SIZES)))]
    if member.kind == "photograph":
        return encode_picture(compose_photograph(art, size, rng), quality=int(rng.integers(70, 92)))
    if member.fault is not None:
        whole = compose_scene(art, (art.of_topic("")[number],), size, rng)
        return _corrupt(member.kind, encode_picture(whole), rng)
    scene = compose_scene(art, member.objects, size, rng)
    return encode_picture(scene, **FORMS[member.key.rpartition(".")[2]])


def _alter(original: bytes, rng: np.random.Generator) -> bytes:
    """A near duplicate: cropped by a few pixels, scaled and compressed again."""
    picture = Image.open(io.BytesIO(original)).convert("RGB")
    trim = int(rng.integers(1, 6))
    picture = picture.crop((trim, trim, picture.width - trim, picture.height - trim))
    picture = picture.resize((picture.width * 9 // 10, picture.height * 9 // 10))
    return encode_picture(picture, quality=60)


CORRUPTIONS: tuple[tuple[str, FaultKind], ...] = (
    ("truncated", FaultKind.TRUNCATED),
    ("truncated", FaultKind.TRUNCATED),
    ("garbage", FaultKind.UNSUPPORTED_FORMAT),
    ("broken_table", FaultKind.CORRUPT),
    ("no_bytes", FaultKind.EMPTY),
)
"""Kinds of corrupt files, taken in turn, and what an honest reader says of each."""


def _corrupt(kind: str, jpeg: bytes, rng: np.random.Generator) -> bytes:
    if kind == "truncated":
        return jpeg[: int(len(jpeg) * rng.uniform(0.3, 0.8))]
    if kind == "broken_table":
        table = jpeg.index(b"\xff\xc4") + 5  # code counts of the first Huffman table: more codes than there are
        return jpeg[:table] + b"\xff" * 16 + jpeg[table + 16 :]
    return rng.bytes(int(rng.integers(500, 5000))) if kind == "garbage" else b""
