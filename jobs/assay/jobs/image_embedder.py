"""Some images of a source, fetched, decoded and encoded here, as a backfill does it.

Knows how images become embeddings in this process. Does not know what for. Without Ray: for thousands of images, not
billions.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np

from assay.platform.encoder import Encoder
from assay.platform.faults import OK, Fault
from assay.platform.feeder import Embedded, FeederSpec, embed_images
from assay.platform.fetch import refuse_blanket_denial
from assay.platform.guard import Guard
from assay.platform.images import Budget
from assay.platform.packs import PackReader
from assay.platform.release import Release
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage

FETCHED_AHEAD = 32
"""Images fetched before they are decoded: their bytes are in memory."""
NO_BUDGET = Budget()


class ImageEmbedder:
    """Makes embeddings under a release's encoder, which is loaded when first needed."""

    def __init__(self, storage: Storage, release: Release, budget: Budget = NO_BUDGET, device: str = "auto") -> None:
        self.release, self.budget, self.device = release, budget, device
        self.packs = PackReader(storage, budget.max_bytes)
        self.decoders = os.cpu_count() or 1

    @cached_property
    def encoder(self) -> Encoder:
        """The release's encoder."""
        return self.release.encoder(self.device)

    def embed(self, refs: Sequence[ImageRef], tell: Callable[[int], None]) -> list[Embedded]:
        """Each image with its views and embeddings, or its fault, in order; `tell` hears how many were looked at.

        Raises:
            BucketError, StorageError: all of many images are forbidden, or unreachable.
        """
        nothing = np.empty((0, self.release.manifest.encoder.dim), np.float16)
        made: list[Embedded | None] = [None] * len(refs)
        fetched: list[int] = []

        def contents() -> Iterator[bytes]:
            for place, content in enumerate(self._fetch(refs)):
                if isinstance(content, Fault):
                    made[place] = Embedded((), nothing, content)
                else:
                    fetched.append(place)
                    yield content

        with Guard(self.release.preprocess, self.budget, self.decoders) as guard:
            found = embed_images(contents(), guard.decode, self.encoder, FeederSpec(decoders=self.decoders))
            for count, image in enumerate(found):
                made[fetched[count]] = image
                tell(fetched[count] + 1)
        whole = [one for one in made if one is not None]
        refuse_blanket_denial([one.fault.kind.value if one.fault else OK for one in whole], where=refs[0].uri)
        return whole

    def _fetch(self, refs: Sequence[ImageRef]) -> Iterator[bytes | Fault]:
        with ThreadPoolExecutor(FETCHED_AHEAD, thread_name_prefix="fetch") as pool:
            for start in range(0, len(refs), FETCHED_AHEAD):
                yield from pool.map(self.packs.fetch, refs[start : start + FETCHED_AHEAD])
