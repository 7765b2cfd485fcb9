"""Rows are taken out of the files that hold them: what is left is numbered as before, and read before anything goes."""

from pathlib import Path

import pytest

from assay.jobs.backlog import find_backlog
from assay.jobs.generation import emptied_shards, generations
from assay.jobs.store import Store
from assay.platform.errors import StorageError
from tests.audited_corpus import Corpus, audited
from tests.store_doubles import PARTITION


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return audited(tmp_path)


def test_shards_left_without_images_are_not_open_for_ever(corpus: Corpus) -> None:
    corpus.put("c/0.jpg", "c/1.jpg")
    corpus.plan()  # never observed
    corpus.forget(f"{corpus.uri('c')}/")
    corpus.forget(corpus.uri("a"))
    store = corpus.store()
    assert emptied_shards(generations(store)) == frozenset({0, 1, 4})
    assert [one.first_shard for one in generations(store) if one.shards] == [0, 2, 4]
    for partition in (PARTITION, {"release": "release-3", "policy": "strict"}):
        left = plan_backlog(store, partition)
        assert left <= {2, 3}, "emptied shards are neither observed nor judged"
    corpus.put("d/0.jpg")
    assert corpus.audit().observations.files()[-1].first_shard >= 0
    assert max(file.last_shard for file in corpus.store().observations.files()) == 5, "numbers go on"
    assert corpus.verify().sound


def plan_backlog(store: Store, partition: dict[str, str]) -> frozenset[int]:
    left = find_backlog(store, generations(store), partition, retry_faults=True)
    return left.observe | left.judge | left.retry.keys()


def test_a_file_that_cannot_be_read_is_told_before_anything_is_erased(corpus: Corpus) -> None:
    [broken] = [file for file in corpus.store().observations.files() if file.first_shard == 0]
    Path(corpus.where, "observations", broken.path).unlink()
    with pytest.raises(StorageError):
        corpus.forget(corpus.uri("a/2.jpg"))
    assert not corpus.store().is_half_erased()
