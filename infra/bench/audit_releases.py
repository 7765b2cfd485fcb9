"""The releases that re-audits are measured with: the hash encoder at the width of ViT-B/32, and libraries of some size.

Knows how the production library is cut to so many concepts, and how one of them is reworded. What a score means plays
no part; policies ask for review above a score that some in a thousand of random embeddings reach.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from assay.platform.encoder import EncoderSpec
from assay.platform.hash_encoder import HashSpec, write_hash_encoder
from assay.platform.release import Release, bundled_release
from assay.platform.release_build import ReleaseSpec, build_release
from infra.bench.stored_corpus import random_embeddings

DIM = 512
PRODUCTION = bundled_release().parent / "production" / "library.yaml"
FLAGGED = 0.001
"""Share of images over the threshold of each label."""
SAMPLE = 4096


def production(concepts: int | None = None) -> dict[str, Any]:
    """The production library as a tree, or its first labels up to so many concepts; the last label may be cut."""
    tree: dict[str, Any] = yaml.safe_load(PRODUCTION.read_text())
    left = 10**9 if concepts is None else concepts
    for category in tree["categories"].values():
        labels = {}
        for name, label in category["labels"].items():
            kept = dict(list(label.get("concepts", {}).items())[:left])
            left -= len(kept)
            if kept:
                labels[name] = {**label, "concepts": kept}
        category["labels"] = labels
    tree["categories"] = {name: category for name, category in tree["categories"].items() if category["labels"]}
    known = {name for category in tree["categories"].values() for name in category["labels"]}
    for category in tree["categories"].values():
        for label in category["labels"].values():
            if label.get("parent") not in known:
                label.pop("parent", None)
    return tree


def few_prompts() -> dict[str, Any]:
    """Eight phrases in all: a label of two concepts, of two prompts each, against four."""
    concepts = {"one": {"prompts": {"en": ["a rifle", "a gun"]}}, "two": {"prompts": {"en": ["a knife", "a sword"]}}}
    label = {"concepts": concepts, "counter_prompts": {"en": ["a toy", "a tool", "a broom"]}}
    categories = {"violence": {"labels": {"weapons": label}}}
    return {"assay_library": 1, "name": "few", "background": {"en": ["a tree"]}, "categories": categories}


def reworded(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same with one more prompt in the last concept of the last label that stands alone: neither under another nor
    above one, as most do. In others the labels above and below are scored anew, too."""
    changed: dict[str, Any] = yaml.safe_load(yaml.safe_dump(dict(tree), allow_unicode=True))
    labels = {name: label for part in changed["categories"].values() for name, label in part["labels"].items()}
    parents = {label.get("parent") for label in labels.values()}
    alone = [label for name, label in labels.items() if name not in parents and not label.get("parent")][-1]
    list(alone["concepts"].values())[-1]["prompts"]["en"].append("something that was not said before")
    return changed


def audit_release(directory: Path, name: str, tree: Mapping[str, Any], thresholds: Release | None = None) -> Release:
    """A release around a library given as a tree; with the thresholds of another release, if there is one."""
    directory.mkdir(parents=True)
    encoder, library, policy = (directory / part for part in ("hash", "text.yaml", "rules.yaml"))
    write_hash_encoder(encoder, HashSpec(dim=DIM))
    library.write_text(yaml.safe_dump(dict(tree), allow_unicode=True, sort_keys=False), encoding="utf-8")
    rules: dict[str, Any] = {"default": {"review": 1.0}}
    if thresholds is not None:
        rules = {"labels": _rules(thresholds), **rules}
    policy.write_text(yaml.safe_dump({"assay_policy": 1, "name": "strict", **rules}))
    spec = ReleaseSpec(
        name=name, encoder=EncoderSpec(model=f"local-dir:{encoder}"), library=library, policies=(policy,)
    )
    return build_release(directory / "release", spec)


def _rules(release: Release) -> dict[str, Any]:
    """Thresholds that `FLAGGED` of random embeddings reach."""
    scorer = release.scorer()
    scores = scorer.score_labels(random_embeddings(SAMPLE, DIM, seed=11))
    edges = np.quantile(scores, 1 - FLAGGED, axis=0)
    return {label: {"review": float(min(1.0, edge))} for label, edge in zip(scorer.labels, edges, strict=True)}
