"""What a store keeps of what it forgot: enough for planners and for whoever finds an erasure half done."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from assay.jobs.erasure import finish_erasure
from assay.jobs.forgotten import DIGEST_BYTES, Forgotten, Key
from assay.jobs.source import SourceSpec, read_source
from assay.platform.errors import CommitError, StorageError
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.audited_corpus import Corpus, audited, needles, traces


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return audited(tmp_path)


def test_a_planner_under_way_loses_its_place(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def slowly(storage: Storage, source: str, spec: SourceSpec) -> Iterator[ImageRef]:
        listing = list(read_source(storage, source, spec))
        corpus.forget(corpus.uri("a/2.jpg"))
        yield from listing

    corpus.put("new/0.jpg")
    monkeypatch.setattr("assay.jobs.plan.read_source", slowly)
    with pytest.raises(CommitError, match="at the same time"):
        corpus.plan()
    monkeypatch.undo()
    assert traces(corpus.store(), needles(corpus, "new/0.jpg", "a/2.jpg")) == []
    facts = corpus.plan()
    assert (facts.new_images, facts.forgotten) == (1, 1)


def test_a_store_that_forgot_nothing_asks_nothing(corpus: Corpus) -> None:
    assert Forgotten.of(corpus.store()) is None


def test_an_erasure_is_an_error_of_the_job_until_it_is_done(corpus: Corpus) -> None:
    corpus.store().storage.write(corpus.store().path("forgotten", "intent.json"), b"{}")
    with pytest.raises(CommitError) as refused:
        corpus.verify()
    assert refused.value.exit_code == 5
    assert f"assay forget --store {corpus.where}" in refused.value.fix
    with pytest.raises(StorageError, match="intent cannot be read"):
        finish_erasure(corpus.store())


def test_digests_are_compared_whole() -> None:
    """Sorted search over fixed-width digests finds those that end in zero bytes, too."""

    class Last(Key):
        def digest(self, *parts: str) -> bytes:
            return parts[0].encode().ljust(DIGEST_BYTES, b"\0")

    kept = np.unique(np.array([b"a".ljust(DIGEST_BYTES, b"\0"), b"c".ljust(DIGEST_BYTES, b"\0")], f"S{DIGEST_BYTES}"))
    forgotten = Forgotten(Last(b""), kept)
    assert forgotten.are_in([ImageRef(name, "", 0) for name in "abcd"]) == [True, False, True, False]
