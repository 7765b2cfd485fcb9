"""What a release must get right before it answers: a golden image, by the same road as a request's.

Knows a bundled picture, and the golden images an operator names. Does not know the registry's golden sets, which
measure quality; this shows that decoder, encoder and library are whole and fit each other on this very machine.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from assay.platform.batch import ImageBatch, Looked
from assay.platform.errors import AssayError, ReleaseError
from assay.platform.faults import Fault
from assay.platform.images import Decoded
from assay.platform.moderator import embeddings_of
from assay.platform.policy import Action
from assay.platform.rows import ImageRef
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec
from assay.serving.champion import Champion

GOLDEN = Path(__file__).parent / "data" / "golden.jpg"
NEIGHBOURS = 3
"""Noise that is encoded beside the golden image: who stands next to it must not matter."""
AGREES = 0.999
"""Cosine of an image's embeddings alone and in company; half precision gives 0.9999."""


class GoldenImage(Spec):
    """A stored image whose verdict is known."""

    uri: str
    action: Action
    policy: str | None = None


def read_golden(golden: Sequence[GoldenImage], storage: StorageSpec) -> list[tuple[GoldenImage, bytes]]:
    """The golden images' bytes.

    Raises:
        ReleaseError: one is not there.
        StorageError: the store refuses.
    """
    reader = Storage(storage)
    found = []
    for one in golden:
        data = reader.read(one.uri)
        if data is None:
            raise ReleaseError("a golden image is not there", where=one.uri, fix="name another one, or none")
        found.append((one, data))
    return found


def prove(champion: Champion, golden: Sequence[tuple[GoldenImage, bytes]]) -> None:
    """Judge the golden images.

    Raises:
        AssayError: what comes out is not what must.
    """
    looked = look(champion, GOLDEN.read_bytes())
    if isinstance(looked.seen, Fault):
        raise AssayError("the golden image cannot be decoded", where=str(GOLDEN), why=str(looked.seen))
    _prove_encoder(champion, looked, looked.seen)
    for one, data in golden:
        seen = look(champion, data)
        moderator = champion.moderator(one.policy)
        verdict = moderator.judge(ImageBatch.of(0, [seen], moderator.preprocess.size)).verdicts.to_pylist()[0]
        if verdict["action"] != one.action:
            why = f"{verdict['action']} ({verdict['outcome']}), and must be {one.action} under {moderator.policy.name}"
            fix = "find out which of the two is right before this release is promoted"
            raise ReleaseError("a golden image is judged otherwise", where=one.uri, why=why, fix=fix)


def _prove_encoder(champion: Champion, looked: Looked, seen: Decoded) -> None:
    moderator = champion.moderator(None)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (NEIGHBOURS, *seen.pixels.shape[1:]), np.uint8)
    alone = moderator.encoder.encode_images(seen.pixels).astype(np.float32)
    crowd = moderator.encoder.encode_images(np.concatenate([noise, seen.pixels])).astype(np.float32)[NEIGHBOURS:]
    worst = float(_cosines(alone, crowd).min())
    if not worst >= AGREES:  # also when it is no number
        why = f"its embeddings alone and in company have a cosine of {worst:.4f}, and must have {AGREES}"
        raise AssayError("the encoder does not work on this machine", where=champion.release.id, why=why)
    judged = moderator.judge(ImageBatch.of(0, [looked], moderator.preprocess.size))
    kept = embeddings_of(judged.observations["embedding"], alone.shape[1]).astype(np.float32)
    scored = judged.verdicts["scores"][0].as_py()
    if float(_cosines(alone, kept).min()) < AGREES or len(scored) != len(moderator.labels):
        raise AssayError("the golden image's row is not what was encoded", where=champion.release.id)


def _cosines(left: npt.NDArray[np.float32], right: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    lengths = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    found: npt.NDArray[np.float32] = (left * right).sum(axis=1) / lengths
    return found


def look(champion: Champion, data: bytes) -> Looked:
    """Decode one posted image in a guarded child; blocks for as long as that takes."""
    digest = hashlib.sha256(data)
    return Looked(ImageRef("", digest.hexdigest(), len(data)), champion.guard.decode(data), digest.digest())
