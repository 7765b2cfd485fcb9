"""Which images are near-duplicates of one another, by their embeddings.

Knows cosines and connected components: copies of copies are in one group. Does not know images. Memory: a block of
`BLOCK` rows of cosines.
"""

import numpy as np
import numpy.typing as npt

BLOCK = 1024

Groups = npt.NDArray[np.int64]


def group_duplicates(embeddings: npt.NDArray[np.float16], cosine: float) -> Groups:
    """For each of embeddings[n, dim] (unit length, or zero for one not known) the place of the first of its group.

    Two are in one group if their cosine is at least `cosine`, or if a chain of such pairs leads from one to the other.
    A zero embedding is alone.
    """
    wide = embeddings.astype(np.float32)
    groups = np.arange(len(wide))
    for start in range(0, len(wide), BLOCK):
        near = wide[start : start + BLOCK] @ wide[: start + BLOCK].T >= cosine
        for row, is_near in enumerate(near, start):
            joined = np.unique(groups[: row + 1][is_near[: row + 1]])
            if len(joined) > 1:
                groups[: row + 1][np.isin(groups[: row + 1], joined)] = joined[0]
    return groups
