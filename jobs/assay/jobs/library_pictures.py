"""The pictures that a library is checked on: its exemplars, and a golden set.

Knows where their embeddings come from (`golden_embeddings.py`), under one release's encoder. Judges nothing itself.
"""

import datetime
from pathlib import Path

from pydantic import Field

from assay.jobs.golden_embeddings import embed_golden
from assay.platform.errors import SpecError
from assay.platform.finding import Finding
from assay.platform.golden import GoldenSet
from assay.platform.golden_rows import GoldenRow, Reviews
from assay.platform.library_text import LibraryText
from assay.platform.picture_lint import PictureLimits, Pictures, lint_exemplars, lint_golden
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.release import Release
from assay.platform.scoring import Scorer
from assay.platform.spec import Spec
from assay.platform.storage import Storage, StorageSpec

_LONG_AGO = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class PicturesSpec(Spec):
    """Which pictures to check a library on, and where to look for them."""

    golden: Path | None = Field(None, description="golden set, Parquet; needs --release")
    store: str | None = Field(None, description="a store whose observations spare fetching and encoding its pictures")
    allow_missing: bool = Field(False, description="go on without golden pictures that cannot be had")
    weak: PictureLimits = Field(PictureLimits(), description="when a concept counts as weak")
    storage: StorageSpec = Field(StorageSpec(), description="object storage")


def lint_pictures(spec: PicturesSpec, text: LibraryText, release: Release, vectors: PromptVectors) -> list[Finding]:
    """What a library's exemplars and the golden set show; `vectors`: its phrases under the release's encoder.

    Raises:
        GoldenError: a golden set that cannot be read, names labels that the library does not have, or lacks pictures.
        StorageError: what fails for every picture alike.
    """
    scorer = Scorer(text.library, vectors, release.manifest.scoring.temperature)
    found = _on_exemplars(spec, text, release, scorer)
    if spec.golden is not None:
        golden = GoldenSet.read(spec.golden, text.library.labels)
        embedded = embed_golden(golden, release, Storage(spec.storage), spec.store)
        if not spec.allow_missing:
            embedded.refuse_missing()
        seen = embedded.seen
        if len(seen):
            pictures = Pictures(embedded.embeddings, embedded.starts[seen])
            found += lint_golden(text, scorer, pictures, golden.truth(scorer.labels)[seen], spec.weak)
    return found


def needs_release(spec: PicturesSpec) -> SpecError:
    """Pictures are compared with a release's encoder, prepared as it prepares them."""
    why = "pictures are prepared and encoded as a release says"
    return SpecError(
        "a golden set is given and no release", where=f"--golden {spec.golden}", why=why, fix="add --release"
    )


def _on_exemplars(spec: PicturesSpec, text: LibraryText, release: Release, scorer: Scorer) -> list[Finding]:
    owners = {
        uri: concept
        for concept, (_, body) in text.library.concepts.items()
        for uri in (*body.exemplars.positive, *body.exemplars.negative)
    }
    if not owners:
        return []
    rows = tuple(GoldenRow(uri=uri, time=_LONG_AGO) for uri in owners)
    exemplars = GoldenSet.of(Reviews(rows))
    embedded = embed_golden(exemplars, release, Storage(spec.storage), spec.store)
    found = [
        text.finding("exemplar-gone", owners[uri], f"{uri}: {why}", text.line(owners[uri], "exemplars"))
        for uri, why in zip(embedded.missing, embedded.reasons, strict=True)
    ]
    seen = embedded.seen
    if len(seen):
        pictures = Pictures(embedded.embeddings, embedded.starts[seen])
        found += lint_exemplars(text, scorer, pictures, [exemplars.uris[row] for row in seen], spec.weak)
    return found
