import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.errors import ReleaseError
from assay.platform.hash_encoder import HashEncoder, HashSpec
from assay.platform.library import SemanticLibrary
from assay.platform.plain_scoring import score_plainly
from assay.platform.prompt_vectors import PromptVectors, Role
from assay.platform.scoring import MAX_TEMPERATURE, Embeddings, Scorer

LIBRARY = SemanticLibrary.load("""\
assay_library: 1
name: small
background: {en: [a tree, a cloud, white], zh: [树]}
categories:
  violence:
    labels:
      weapons:
        counter_prompts: {en: [a water pistol, black]}
        concepts:
          bow: {prompts: {en: [a bow, blue]}}
      firearms:
        parent: weapons
        counter_prompts: {en: [a hair dryer], zh: [吹风机]}
        concepts:
          pistol:
            prompts: {en: [a pistol, red], zh: [手枪]}
            counter_prompts: {en: [a toy, green]}
      blades:
        parent: weapons
        counter_prompts: {en: [scissors]}
        concepts:
          knife: {prompts: {en: [a knife]}}
""")
ENCODER = HashEncoder(HashSpec(), "0" * 64)
VECTORS = PromptVectors.compile(LIBRARY, ENCODER)


def embeddings(seed: int, n: int) -> Embeddings:
    wide = np.random.default_rng(seed).normal(size=(n, 64))
    unit: Embeddings = (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float16)
    return unit


@pytest.mark.parametrize("temperature", [1.0, 20.0, MAX_TEMPERATURE])
def test_equals_the_plain_formula(temperature: float) -> None:
    found = Scorer(LIBRARY, VECTORS, temperature)
    some = np.concatenate([embeddings(0, 30), VECTORS.vectors.astype(np.float16), np.zeros((1, 64), np.float16)])
    scores = found.score(some).labels
    for row, one in enumerate(some):
        plain = score_plainly(LIBRARY, VECTORS, temperature, one.astype(np.float32))
        np.testing.assert_allclose(scores[row], [plain[label] for label in found.labels], atol=2e-5 * temperature**0.5)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 600), st.integers(1, 300))
def test_scores_are_bit_identical_in_any_split_and_order(seed: int, n: int, size: int) -> None:
    scorer = Scorer(LIBRARY, VECTORS, 20.0)
    some = embeddings(seed, n)
    whole = scorer.score(some)
    order = np.random.default_rng(seed).permutation(n)
    shuffled = scorer.score(some[order])
    parts = [scorer.score(some[start : start + size]) for start in range(0, n, size)]
    assert (shuffled.labels == whole.labels[order]).all()
    assert (np.concatenate([part.labels for part in parts]) == whole.labels).all()
    assert (np.concatenate([part.concepts for part in parts]) == whole.concepts).all()


def test_products_are_exact_at_real_width() -> None:
    # OpenBLAS rounds a float32 row by its place in the tile; these must not be rounded at all.
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(len(VECTORS.texts), 512)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    some = rng.normal(size=(700, 512))
    some = (some / np.linalg.norm(some, axis=1, keepdims=True)).astype(np.float16)
    scorer = Scorer(LIBRARY, replace(VECTORS, vectors=vectors), 100.0)
    order = rng.permutation(700)
    assert (scorer.score(some[order]).labels == scorer.score(some).labels[order]).all()
    assert (scorer.score(some[-1:]).labels == scorer.score(some).labels[-1:]).all()


@settings(derandomize=True, max_examples=25, deadline=None)
@given(st.integers(0, 2**31))
def test_scores_are_shares_and_parents_are_never_below_children(seed: int) -> None:
    scorer = Scorer(LIBRARY, VECTORS, 20.0)
    scores = dict(zip(scorer.labels, scorer.score(embeddings(seed, 50)).labels.T, strict=True))
    assert all(((part >= 0) & (part <= 1)).all() for part in scores.values())
    assert (scores["weapons"] >= np.maximum(scores["firearms"], scores["blades"])).all()


def test_zero_rows_and_no_rows() -> None:
    scorer = Scorer(LIBRARY, VECTORS, 20.0)
    assert np.isfinite(scorer.score(np.zeros((3, 64), np.float16)).labels).all()
    assert scorer.score(np.zeros((0, 64), np.float16)).labels.shape == (0, 3)


def test_a_counter_prompt_lowers_only_its_own() -> None:
    scorer = Scorer(LIBRARY, VECTORS, 20.0)
    green = ENCODER.encode_texts(["green"]).astype(np.float16)
    without = [row for row, text in enumerate(VECTORS.texts) if text != "green"]
    fewer = PromptVectors(
        tuple(VECTORS.texts[row] for row in without),
        tuple(VECTORS.languages[row] for row in without),
        tuple(VECTORS.roles[row] for row in without),
        tuple(VECTORS.owners[row] for row in without),
        VECTORS.vectors[without],
    )
    before, after = Scorer(LIBRARY, fewer, 20.0).score(green), scorer.score(green)
    column = scorer.labels.index("firearms")
    assert after.labels[0, column] < before.labels[0, column] / 2
    assert after.labels[0, scorer.labels.index("blades")] == before.labels[0, scorer.labels.index("blades")]


def test_a_phrase_said_twice_weighs_once() -> None:
    text = json.loads(LIBRARY.canonical())
    text["categories"]["violence"]["labels"]["firearms"]["counter_prompts"]["en"] += ["a tree", "white"]
    twice = PromptVectors.compile(SemanticLibrary.model_validate(text), ENCODER)
    assert twice.texts == VECTORS.texts


def test_evidence_names_the_phrases() -> None:
    scorer = Scorer(LIBRARY, VECTORS, 20.0)
    red = ENCODER.encode_texts(["red"]).astype(np.float16)
    scores = scorer.score(red)
    concept = scores.concepts[:, scorer.labels.index("weapons")]
    assert scorer.concepts[concept[0]] == "pistol"
    prompt, counter = scorer.evidence(red, concept)
    assert VECTORS.texts[prompt[0]] == "red"
    against = {"a toy", "green", "a hair dryer", "吹风机", "a tree", "a cloud", "white", "树"}
    assert VECTORS.texts[counter[0]] in against


def test_vectors_round_trip_and_are_the_same_bytes(tmp_path: Path) -> None:
    VECTORS.save(tmp_path / "a", {"encoder": "e", "library": "l"})
    VECTORS.save(tmp_path / "b", {"library": "l", "encoder": "e"})
    found, bound_to = PromptVectors.load(tmp_path / "a")
    assert (found.texts, found.roles, bound_to) == (VECTORS.texts, VECTORS.roles, {"encoder": "e", "library": "l"})
    assert (found.vectors == VECTORS.vectors).all()
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert VECTORS.roles.count(Role.BACKGROUND) == 4


def test_damaged_vectors(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"no tensors")
    with pytest.raises(ReleaseError, match="cannot be read"):
        PromptVectors.load(tmp_path / "a")
