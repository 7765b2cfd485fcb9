"""What a corpus shows and a library says nothing of: groups of pictures far from every phrase, and growing.

Knows embeddings of now and of before, and phrases' vectors. Does not know where pictures are from, nor whether a group
matters: a person decides.

    coverage(picture) = greatest cosine to any phrase: prompts, counter-prompts and background
    farness(group)    = 1 - the mean rank of its pictures' coverage among all, 0 to 1
    growth(group)     = (n - s m) / sqrt(n + s^2 m): n pictures of now, m of before, s = pictures of now / of before
    rank(group)       = farness * growth, or farness * sqrt(n) where there is no before

Growth is a difference of Poisson counts in its standard deviations: of groups that do not grow one in forty is over 2.
Pictures of now and of before are grouped together, or groups fitted to those of now alone would seem to grow.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from assay.platform.prompt_vectors import PromptVectors
from assay.platform.spec import Spec

Matrix = npt.NDArray[np.float32]  # [n, dim], rows of unit length
Places = npt.NDArray[np.int64]


class UncoveredSpec(Spec):
    """How finely to look."""

    groups: int = Field(256, ge=2, description="groups the pictures are put into; more groups find smaller things")
    proposals: int = Field(10, ge=1, description="groups that are proposed, at most")
    least: int = Field(10, ge=1, description="pictures that make a group worth a look")
    seed: int = Field(0, description="of the grouping")


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that are near one another, far from every phrase, and more than before."""

    centre: Matrix  # [1, dim]
    members: Places  # rows of the pictures of now, the most typical first
    before: int  # how many pictures of before are in it
    farness: float
    growth: float | None  # None without pictures of before
    nearest: int  # place of the nearest phrase


def find_uncovered(
    now: npt.NDArray[np.float16],
    before: npt.NDArray[np.float16] | None,
    vectors: PromptVectors,
    spec: UncoveredSpec | None = None,
) -> list[Group]:
    """The groups of now[n, dim] that most deserve a look, first the one that deserves it most. Seeded."""
    # Imported here: scikit-learn is heavy, and a command's flags are read from this module's Spec.
    from sklearn.cluster import KMeans

    spec = spec or UncoveredSpec()
    pictures = now.astype(np.float32)
    if len(pictures) < spec.least:
        return []
    every = pictures if before is None else np.concatenate([pictures, before.astype(np.float32)])
    means = KMeans(min(spec.groups, len(every)), n_init=3, random_state=spec.seed).fit(every)
    ranks = _ranks((pictures @ vectors.vectors.T).max(axis=1))
    of_now, of_before = means.labels_[: len(pictures)], means.labels_[len(pictures) :]
    found = []
    for number in range(means.n_clusters):
        members = np.flatnonzero(of_now == number)
        known = int((of_before == number).sum())
        if len(members) >= spec.least:
            growth = None if before is None else _growth(len(members), known, len(of_now), len(of_before))
            found.append(_group(pictures, members, ranks, vectors, known, growth))
    return sorted(found, key=_importance, reverse=True)[: spec.proposals]


def name_groups(groups: list[Group], words: list[str], vectors: Matrix, count: int = 5) -> list[tuple[str, ...]]:
    """For each group the nearest of some words, given their vectors[words, dim].

    A word that is near to every group says nothing: what counts is how much nearer it is to this one than to the mean
    of all, so with one group alone it is plain nearness.
    """
    if not groups or not words:
        return [() for _ in groups]
    near = np.concatenate([group.centre for group in groups]) @ vectors.T
    if len(groups) > 1:
        near = near - near.mean(axis=0, keepdims=True)
    return [tuple(words[place] for place in np.argsort(-row, kind="stable")[:count]) for row in near]


def _group(
    pictures: Matrix, members: Places, ranks: Matrix, vectors: PromptVectors, known: int, growth: float | None
) -> Group:
    mean = pictures[members].mean(axis=0, keepdims=True)
    centre: Matrix = mean / (np.linalg.norm(mean) or 1.0)
    near = (pictures[members] @ centre.T)[:, 0]
    return Group(
        centre=centre,
        members=members[np.argsort(-near, kind="stable")],
        before=known,
        farness=float(1 - ranks[members].mean()),
        growth=growth,
        nearest=int((vectors.vectors @ centre[0]).argmax()),
    )


def _growth(count: int, known: int, pictures: int, pictures_before: int) -> float:
    """See the module; `count` is at least 1."""
    scale = pictures / max(pictures_before, 1)
    return float((count - scale * known) / np.sqrt(count + scale**2 * known))


def _importance(group: Group) -> float:
    return group.farness * (np.sqrt(len(group.members)) if group.growth is None else group.growth)


def _ranks(values: Matrix) -> Matrix:
    """Each value's place among all, 0 (least) to 1."""
    order = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return (order / max(len(values) - 1, 1)).astype(np.float32)
