"""A planted concept that no phrase speaks of, one picture in a hundred: found first, or nearly."""

import numpy as np
import numpy.typing as npt
import pytest

from assay.platform.hash_encoder import HashEncoder, HashSpec
from assay.platform.library import SemanticLibrary
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.release import bundled_release
from assay.platform.uncovered import UncoveredSpec, find_uncovered, name_groups

LIBRARY = SemanticLibrary.load(bundled_release() / "library.yaml")
ENCODER = HashEncoder(HashSpec(), "0" * 64)
VECTORS = PromptVectors.compile(LIBRARY, ENCODER)

Rows = npt.NDArray[np.float16]


def around(centres: npt.NDArray[np.float32], rng: np.random.Generator) -> Rows:
    """A picture near each centre: a cosine of about 0.7, as far as pictures of one thing are from one another."""
    noisy = centres + rng.normal(size=centres.shape) * (1 / np.sqrt(centres.shape[1]))
    unit: Rows = (noisy / np.linalg.norm(noisy, axis=1, keepdims=True)).astype(np.float16)
    return unit


def pictures(count: int, seed: int, planted: int = 0) -> Rows:
    """Pictures of what the phrases say, and last the planted ones, of something else."""
    rng = np.random.default_rng(seed)
    known = VECTORS.vectors[rng.integers(0, len(VECTORS.vectors), count - planted)]
    unseen = np.repeat(ENCODER.encode_texts(["zqx vbk jwf"]), planted, axis=0)
    return around(np.concatenate([known, unseen]), rng)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("has_before", [True, False])
def test_one_in_a_hundred_ranks_among_the_first_three(seed: int, has_before: bool) -> None:
    now = pictures(2000, seed, planted=20)
    before = pictures(2000, seed + 100) if has_before else None
    groups = find_uncovered(now, before, VECTORS, UncoveredSpec(seed=seed))
    shares = [float((group.members >= 1980).mean()) for group in groups[:3]]
    assert max(shares) > 0.5
    best = groups[int(np.argmax(shares))]
    assert (best.members >= 1980).sum() >= 7  # without a before, fine groups may part what was planted
    assert (best.growth is not None) == has_before


def test_nothing_new_grows_little() -> None:
    # Over 3.5 standard deviations is the greatest of 128 groups in 3 % of all cases; this one is seeded.
    groups = find_uncovered(pictures(2000, 1), pictures(2000, 51), VECTORS)
    assert max(group.growth or 0 for group in groups) < 3.5


def test_it_is_seeded() -> None:
    now = pictures(1000, 3, planted=10)
    once, twice = (find_uncovered(now, None, VECTORS, UncoveredSpec(groups=16)) for _ in range(2))
    assert [group.members.tolist() for group in once] == [group.members.tolist() for group in twice]


def test_too_few_pictures_make_no_group() -> None:
    assert find_uncovered(pictures(5, 0), None, VECTORS) == []
    assert find_uncovered(pictures(40, 0), None, VECTORS, UncoveredSpec(groups=8, least=39)) == []


def test_groups_are_named_by_what_is_their_own() -> None:
    rng = np.random.default_rng(0)
    words = ["zqx vbk jwf", "a rifle of steel", "hundreds of bees"]
    vectors = ENCODER.encode_texts(words)
    now = around(np.repeat(vectors, 40, axis=0), rng)
    groups = find_uncovered(now, None, VECTORS, UncoveredSpec(groups=3))
    named = {names[0] for names in name_groups(groups, words, vectors, count=1)}
    assert named == set(words)
    for group, names in zip(groups, name_groups(groups, words, vectors), strict=True):
        assert {place // 40 for place in group.members.tolist()} == {words.index(names[0])}
    assert name_groups(groups, [], vectors) == [(), (), ()]
