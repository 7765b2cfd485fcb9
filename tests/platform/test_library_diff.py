"""What changed, and whose scores: the words say it, and the scorer agrees for each concept of the starter library."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from assay.platform.hash_encoder import HashEncoder, HashSpec
from assay.platform.library import SemanticLibrary
from assay.platform.library_diff import Change, compare
from assay.platform.prompt_vectors import PromptVectors, Role
from assay.platform.release import bundled_release
from assay.platform.scoring import Scorer
from tests.platform.clean_library import CLEAN

STARTER = SemanticLibrary.load(bundled_release() / "library.yaml")
RAW = STARTER.canonical()
Edit = Callable[[dict[str, Any], str], None]


class KeptEncoder(HashEncoder):
    """A hash encoder that remembers: the same phrases are compiled again and again here."""

    def __init__(self) -> None:
        super().__init__(HashSpec(), "0" * 64)
        self.known: dict[str, npt.NDArray[np.float32]] = {}

    def encode_texts(self, texts: list[str]) -> npt.NDArray[np.float32]:
        fresh = [text for text in texts if text not in self.known]
        self.known.update(zip(fresh, super().encode_texts(fresh), strict=True))
        return np.stack([self.known[text] for text in texts])


ENCODER = KeptEncoder()


def scores(library: SemanticLibrary, probes: npt.NDArray[np.float16]) -> dict[str, npt.NDArray[np.float32]]:
    scorer = Scorer(library, PromptVectors.compile(library, ENCODER), 20.0)
    return dict(zip(scorer.labels, scorer.score(probes).labels.T, strict=True))


def probes() -> npt.NDArray[np.float16]:
    """Embeddings at every prompt of the library and of the edits, and some anywhere: each concept wins somewhere."""
    vectors = PromptVectors.compile(STARTER, ENCODER)
    prompts = vectors.vectors[[row for row, role in enumerate(vectors.roles) if role is Role.PROMPT]]
    anywhere = np.random.default_rng(0).normal(size=(20, ENCODER.dim))
    anywhere /= np.linalg.norm(anywhere, axis=1, keepdims=True)
    return np.concatenate([prompts, ENCODER.encode_texts([NEW, WORD]), anywhere]).astype(np.float16)


NEW, WORD = "a thing that was never seen", "quite another word"
PROBES = probes()
BEFORE = scores(STARTER, PROBES)


def add(label: dict[str, Any], concept: str) -> None:
    """A new concept beside this one."""
    label["concepts"][f"beside_{concept}"] = {"prompts": {"en": [NEW]}}


def retire(label: dict[str, Any], concept: str) -> None:
    """Retire this one, and its label where nothing is left to score for it."""
    label["concepts"][concept]["status"] = "retired"
    if all(one.get("status") == "retired" for one in label["concepts"].values()):
        label["status"] = "retired"


def reword(label: dict[str, Any], concept: str) -> None:
    """Say this one in other words."""
    label["concepts"][concept]["prompts"]["en"] = [WORD]


@pytest.mark.parametrize("edit", [add, retire, reword])
def test_one_concept_changes_its_own_label_and_those_above_only(edit: Edit) -> None:
    for concept, (owner, _) in STARTER.concepts.items():
        raw = json.loads(RAW)
        (label,) = (shelf["labels"][owner] for shelf in raw["categories"].values() if owner in shelf["labels"])
        edit(label, concept)
        after = SemanticLibrary.model_validate(raw)
        found, family = scores(after, PROBES), {owner}
        while (parent := STARTER.labels[owner].parent) is not None:
            family.add(owner := parent)
        both = set(BEFORE) & set(found)
        changed = {key for key in both if not np.array_equal(BEFORE[key], found[key])}
        assert changed == family & both, concept
        diff = compare(STARTER, after)
        assert set(diff.rescored) == changed
        assert set(diff.scored_no_more) == set(BEFORE) - set(found)


@pytest.mark.parametrize(
    ("written", "planted", "changes", "rescored"),
    [
        ("a rifle", "a carbine", [(Change.REWORDED, "rifle")], ["firearms", "weapons"]),
        ("rifle: {", "carbine: {", [(Change.ADDED, "carbine"), (Change.REMOVED, "rifle")], []),
        ("rifle: {", "rifle: {status: retired, ", [(Change.RETIRED, "rifle")], ["firearms", "weapons"]),
        ("musket: {status: retired, ", "musket: {", [(Change.ACTIVATED, "musket")], ["firearms", "weapons"]),
        ("rifle: {", "rifle: {owner: Mei, ", [(Change.EDITED, "rifle")], []),
        ("description: Guns", "description: Firearms", [(Change.EDITED, "firearms")], []),
        ("a hair dryer, ", "", [(Change.REWORDED, "firearms")], ["firearms", "weapons"]),
        ("a pistol, a revolver", "a revolver, a pistol", [], []),
        ("name: clean", "name: clean\nowner: Mei", [(Change.EDITED, "clean")], []),
        ("        parent: weapons\n", "", [(Change.MOVED, "firearms")], ["weapons"]),
        ("[a tree, a cloud", "[a tree, a lake", [(Change.REWORDED, "clean")], ["alcohol", "firearms", "weapons"]),
        ("status: draft", "status: active", [(Change.ACTIVATED, "tobacco")], []),
        ("  substances:\n", "  drugs:\n", [(Change.ADDED, "drugs"), (Change.REMOVED, "substances")], []),
    ],
)
def test_changes_have_names(written: str, planted: str, changes: list[tuple[Change, str]], rescored: list[str]) -> None:
    diff = compare(SemanticLibrary.load(CLEAN), SemanticLibrary.load(CLEAN.replace(written, planted)))
    moved = [(Change.MOVED, "alcohol"), (Change.MOVED, "tobacco")] if "drugs" in planted else []
    assert [(one.change, one.id) for one in diff.changes] == changes + moved
    assert list(diff.rescored) == rescored


def test_what_comes_and_goes() -> None:
    drafts, active = CLEAN, CLEAN.replace("status: draft", "status: active")
    diff = compare(SemanticLibrary.load(drafts), SemanticLibrary.load(active))
    assert (diff.scored_now, diff.scored_no_more) == (("tobacco",), ())
    diff = compare(SemanticLibrary.load(active), SemanticLibrary.load(drafts))
    assert (diff.scored_now, diff.scored_no_more) == ((), ("tobacco",))


def test_a_concept_that_moves_changes_both_labels() -> None:
    rifle = "          rifle: {prompts: {en: [a rifle], zh: [步枪]}}\n"
    text = CLEAN.replace(rifle, "").replace(
        "        concepts:\n          beer", f"        concepts:\n{rifle}          beer"
    )
    diff = compare(SemanticLibrary.load(CLEAN), SemanticLibrary.load(text))
    (moved,) = diff.changes
    assert (moved.change, moved.id, moved.detail) == (Change.MOVED, "rifle", "from firearms to alcohol")
    assert diff.rescored == ("alcohol", "firearms", "weapons")
