"""A map finds the relation between two spaces where there is one, and does not make one up where there is none."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.embedding_map import EmbeddingMap, fit_map
from assay.platform.errors import StorageError

Doubles = npt.NDArray[np.float64]
Halves = npt.NDArray[np.float16]


def unit(rows: Doubles) -> Halves:
    found: Halves = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    return found


def cone(count: int, dim: int, rng: np.random.Generator) -> Halves:
    """Embeddings as encoders make them: a common direction, and some directions wider than others."""
    return unit(rng.normal(size=dim) + rng.normal(size=(count, dim)) * np.linspace(2, 0.2, dim))


def rotation(dim: int, rng: np.random.Generator) -> Doubles:
    found: Doubles = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    return found


def cosines(one: Halves, other: Halves) -> Doubles:
    a, b = one.astype(np.float64), other.astype(np.float64)
    found: Doubles = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    return found


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 24), st.integers(60, 200))
def test_a_rotation_is_found_whatever_it_is(seed: int, dim: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    turn = rotation(dim, rng)
    old, more = cone(count, dim, rng), cone(50, dim, rng)
    found = fit_map(old, unit(old @ turn), np.arange(count))
    assert cosines(found.map.apply(more), unit(more @ turn)).min() > 0.9999
    assert found.error < 1e-4


def test_another_width_is_no_matter() -> None:
    rng = np.random.default_rng(1)
    old, matrix = cone(2000, 24, rng), rng.normal(size=(24, 40))
    found = fit_map(old[:1000], unit(old[:1000] @ matrix), np.arange(1000))
    assert found.kind == "ridge"
    assert found.map.apply(old[1000:]).shape == (1000, 40)
    assert cosines(found.map.apply(old[1000:]), unit(old[1000:] @ matrix)).mean() > 0.98


def test_few_images_and_noise_take_the_rotation_many_and_more_than_a_rotation_the_ridge() -> None:
    rng = np.random.default_rng(2)
    old, turn = cone(4000, 32, rng), rotation(32, rng)
    noise = rng.normal(size=old.shape) * 0.05
    assert fit_map(old[:40], unit(old[:40] @ turn + noise[:40]), np.arange(40)).kind == "rotation"
    oblique = unit(old @ (turn * np.linspace(1, 0.4, 32)) + noise)
    assert fit_map(old, oblique, np.arange(len(old))).kind == "ridge"


def test_what_is_unrelated_stays_far() -> None:
    rng = np.random.default_rng(3)
    old, new = cone(400, 32, rng), unit(rng.normal(size=(400, 32)))
    found = fit_map(old[:300], new[:300], np.arange(300))
    assert abs(cosines(found.map.apply(old[300:]), new[300:]).mean()) < 0.1
    assert found.error > 1.8


def test_the_error_told_is_the_error_on_images_left_out() -> None:
    """Fewer images than dimensions: what was learnt from fits by itself, what was left out does not."""
    rng = np.random.default_rng(4)
    old, new = cone(60, 64, rng), unit(rng.normal(size=(60, 64)))
    found = fit_map(old, new, np.arange(60))
    left_out = found.apply_without(old, np.arange(60))
    assert found.error == pytest.approx((2 - 2 * cosines(left_out, new)).mean(), rel=0.01)
    assert cosines(left_out, new).mean() < 0.3 < cosines(found.map.apply(old), new).mean()


def test_copies_do_not_help_each_other() -> None:
    """Each image four times: with copies in one group, a copy tells nothing of the others."""
    rng = np.random.default_rng(5)
    old, new = cone(40, 48, rng), unit(rng.normal(size=(40, 48)))
    groups = np.tile(np.arange(40), 4)
    apart = fit_map(np.tile(old, (4, 1)), np.tile(new, (4, 1)), groups)
    mixed = fit_map(np.tile(old, (4, 1)), np.tile(new, (4, 1)), np.arange(160))
    assert apart.error > 1.5 > 0.5 > mixed.error


def test_groups_without_a_pair_can_be_asked_about() -> None:
    rng = np.random.default_rng(6)
    old = cone(50, 8, rng)
    found = fit_map(old, old, np.arange(50), also=np.array([3, 900]))
    assert found.apply_without(old[:2], np.array([900, 3])).shape == (2, 8)
    assert found.apply_without(old[:0], np.array([], np.int64)).shape == (0, 8)


def test_one_group_is_refused() -> None:
    old = cone(5, 8, np.random.default_rng(7))
    with pytest.raises(ValueError, match="two groups"):
        fit_map(old, old, np.zeros(5, np.int64))


def test_it_is_kept_bit_by_bit() -> None:
    rng = np.random.default_rng(8)
    old = cone(80, 8, rng)
    found = fit_map(old, unit(old @ rotation(8, rng)), np.arange(80)).map
    again = EmbeddingMap.of_bytes(found.to_bytes(), "here")
    assert np.array_equal(again.apply(old), found.apply(old))
    assert again.to_bytes() == found.to_bytes()
    for damaged in (found.to_bytes()[:100], b"", b"not a map"):
        with pytest.raises(StorageError, match="cannot be read"):
            EmbeddingMap.of_bytes(damaged, "here")


def test_nothing_is_mapped_to_nothing() -> None:
    found = EmbeddingMap(np.zeros((4, 3), np.float32), np.zeros(4, np.float32), np.zeros(3, np.float32))
    assert found.apply(np.ones((2, 4), np.float16)).tolist() == [[0, 0, 0], [0, 0, 0]]
    assert found.apply(np.empty((0, 4), np.float16)).shape == (0, 3)
