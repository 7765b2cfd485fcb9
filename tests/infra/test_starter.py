"""The bundled release's golden set: what is known of a composed picture, and how many it stands for."""

import numpy as np
import pytest

from assay.jobs.corpus import FLAGGED_SHARE
from assay.jobs.scene import Art
from assay.platform.release import Release, bundled_release
from infra.scripts.starter import DRAWN_FLAGGED, LABELS, NARROWER, UNSURE, truth, weight

LIBRARY = Release.load(bundled_release()).library()


@pytest.mark.parametrize(
    ("objects", "present", "unsure"),
    [
        (("dagger", "apple"), {"blades", "weapons"}, set()),
        (("bomb",), {"explosives", "weapons"}, set()),
        (("beer-mug",), {"alcohol"}, set()),
        (("church",), set(), {"religious_symbols"}),
        (("firecracker",), set(), {"explosives"}),
        ((), set(), set()),
    ],
)
def test_truth(objects: tuple[str, ...], present: set[str], unsure: set[str]) -> None:
    art = Art.load()
    known = tuple(name for name in objects if name in art.topics)
    said = truth(known, tuple(LIBRARY.labels))
    assert {label for label, word in said.items() if word == "present"} == present
    assert {label for label, word in said.items() if word == "unsure"} == unsure
    assert set(said) == set(LIBRARY.labels)


def test_names_are_those_of_the_art_and_the_library() -> None:
    art = Art.load()
    assert set(LABELS) == set(art.flags)
    assert set(LABELS.values()) | set(NARROWER.values()) | set(UNSURE.values()) <= set(LIBRARY.labels)
    assert set(NARROWER) | set(UNSURE) <= set(art.topics)
    for name, label in NARROWER.items():
        assert LIBRARY.labels[label].parent == LABELS[art.topics[name]]


def test_weights_restore_the_population() -> None:
    rng = np.random.default_rng(0)
    art = Art.load()
    flagged, benign = (art.of_topic("alcohol")[0],), (art.of_topic("")[0],)
    drawn = rng.random(20_000) < DRAWN_FLAGGED
    weights = np.array([weight(flagged if one else benign) for one in drawn])
    assert weights[drawn].sum() / weights.sum() == pytest.approx(FLAGGED_SHARE, abs=0.01)
    assert weights.mean() == pytest.approx(1, abs=0.01)
