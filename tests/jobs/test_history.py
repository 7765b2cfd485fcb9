"""A log whose history is cut off: old versions cannot be read, nor written after, and ids are known still."""

from pathlib import Path

import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from assay.jobs.history import cut_history
from assay.platform.errors import FencedError
from tests.audited_corpus import Corpus, audited
from tests.store_doubles import tree


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return audited(tmp_path)


def test_a_driver_from_before_can_neither_commit_nor_read_on(corpus: Corpus) -> None:
    paused, reader = corpus.store(), corpus.store()
    with paused.hold("a driver that is paused now"):
        known = paused.observations.files()
        version = reader.observations.version
    corpus.forget(corpus.uri("a/2.jpg"))
    with pytest.raises(FencedError):
        paused.observations.commit([], [known[0]])
    assert corpus.verify().sound
    where = f"{corpus.where}/observations"
    for old in (0, 3, version):
        with pytest.raises(DeltaError):
            DeltaTable(where, version=old)
    reader.observations.log.advance()
    assert {file.path for file in reader.observations.files()} == {
        file.path for file in corpus.store().observations.files()
    }


def test_a_transaction_that_was_emptied_is_still_known_by_its_id(corpus: Corpus) -> None:
    log = corpus.store().observations.log
    before = [log.note_of(version) for version in range(log.version() + 1)]
    for _ in range(2):
        corpus.forget(corpus.uri("a/2.jpg"))
        corpus.put("a/2.jpg", content=str(_).encode())
        corpus.audit()
    after = [log.note_of(version) for version in range(log.version() + 1)]
    ids = [(note or {}).get("assay.commit") for note in before]
    assert any(ids)
    assert [(note or {}).get("assay.commit") for note in after] == ids
    fresh = corpus.store().observations.log
    assert fresh.number("assay") >= sum(one is not None for one in ids)
    assert fresh.number("assay.epoch") == 6


def test_history_is_not_cut_by_who_lost_the_table(corpus: Corpus) -> None:
    before = tree(Path(corpus.where, "observations", "_delta_log"))

    def lost() -> None:
        raise FencedError("another driver has this store")

    with pytest.raises(FencedError):
        cut_history(corpus.store().observations.log, lost)
    after = tree(Path(corpus.where, "observations", "_delta_log"))
    assert {name: after[name] for name in before} == before
