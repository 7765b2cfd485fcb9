"""An erasure has no step too many, may be killed at any of them, and leaves nobody a half-erased store."""

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from assay.jobs import erasure
from assay.jobs import verify as verify_job
from assay.jobs.erasure import STEPS, finish_erasure
from assay.jobs.forget import ForgetSpec, forget
from assay.jobs.forgotten import erasures
from assay.jobs.ledger import Ledger
from assay.jobs.store import Store
from assay.jobs.verify import VerifySpec, verify
from assay.platform.errors import CommitError
from assay.platform.storage import Storage
from tests.audited_corpus import Corpus, audited, needles, traces
from tests.conftest import S3Server, Silent
from tests.store_doubles import PARTITION


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    return audited(tmp_path)


SKIPPED = {
    "_redact_verdicts": "verdicts/",
    "_redact_observations": "observations/",
    "_redact_manifests": "manifests/",
    "_remove_leftovers": "data/",
    "_cut_histories": "_delta_log/",
}


@pytest.mark.parametrize("step", SKIPPED)
def test_the_search_finds_what_a_step_would_have_left(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    left = tuple(one for one in STEPS if one.__name__ != step)
    assert len(left) == len(STEPS) - 1
    monkeypatch.setattr(erasure, "STEPS", left)
    corpus.forget(corpus.uri("a/2.jpg"))
    found = traces(corpus.store(), needles(corpus, "a/2.jpg"))
    assert any(SKIPPED[step] in line for line in found)


class Killed(BaseException):
    """The process ends here."""


class Killer:
    """Ends the process before or after its k-th change of the store."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, self.at, self.late, self.counting = 0, -1, False, threading.Lock()
        for owner, name in ((Storage, "write"), (Storage, "remove"), (Ledger, "commit")):
            monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name)))

    def _guarded(self, change: Callable[..., object]) -> Callable[..., object]:
        def guarded(*given: object, **named: object) -> object:
            if threading.current_thread().name == "lease" or (len(given) > 1 and "/lease/" in str(given[1])):
                return change(*given, **named)
            with self.counting:  # files are rewritten in threads
                self.count += 1
                is_now = self.count == self.at
            if is_now and not self.late:
                raise Killed
            done = change(*given, **named)
            if is_now:
                raise Killed
            return done

        return guarded


def killed_at_every_change(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, late: bool
) -> Iterator[int]:
    """Yields after each kill, the corpus as it was before put back each time."""
    kept = tmp_path / "kept"
    shutil.copytree(corpus.where, kept)
    killer = Killer(monkeypatch)
    corpus.forget(corpus.uri("a/2.jpg"))
    changes = killer.count
    assert changes > 20
    for moment in range(1, changes + 1):
        shutil.rmtree(corpus.where)
        shutil.copytree(kept, corpus.where)
        killer.count, killer.at, killer.late = 0, moment, late
        with pytest.raises(Killed):
            corpus.forget(corpus.uri("a/2.jpg"))
        killer.at = -1
        yield moment


@pytest.mark.parametrize("late", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_an_erasure_killed_at_any_change_is_finished_by_the_next_command(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, late: bool
) -> None:
    """Killed before each change or, nightly, after it: when it is stored, but was never acknowledged."""
    proof = Corpus(corpus.storage, str(tmp_path / "reference"))
    proof.source = corpus.source
    proof.audit(exclude=("a/2.jpg",))
    wanted, digest = needles(corpus, "a/2.jpg"), proof.verify().digest
    open_ends = 0
    for moment in killed_at_every_change(corpus, monkeypatch, tmp_path, late=late):
        if corpus.store().is_half_erased():
            open_ends += 1
            with pytest.raises(CommitError, match="made to forget"):
                corpus.verify()
            with pytest.raises(CommitError, match="made to forget"):
                corpus.plan()
            with pytest.raises(CommitError, match="made to forget"), corpus.store().hold("a backfill"):
                pass
            if moment % 3:
                assert corpus.forget(corpus.uri("a/2.jpg")).counts.images == 1, "the same command goes on"
            else:
                assert finish_erasure(corpus.store()) is not None
        elif corpus.verify().planned == 10:
            corpus.forget(corpus.uri("a/2.jpg"))  # nothing had been begun
        assert traces(corpus.store(), wanted) == [], moment
        found = corpus.verify()
        assert (found.planned, found.sound, found.digest, found.orphans) == (9, True, digest, 0), moment
        assert len(erasures(corpus.store())) == 1
    assert corpus.plan().forgotten == 1
    assert open_ends > 20


def test_run_records_and_leases_do_not_keep_the_name(s3: S3Server, s3_place: str) -> None:
    corpus = Corpus(s3.storage, f"{s3_place}/records")
    corpus.put("only.jpg", "two.jpg")
    whole, corpus.source = corpus.source, f"{corpus.source}/only.jpg"
    corpus.plan()
    corpus.source = whole
    store = corpus.audit()
    uri = corpus.uri("only.jpg")
    command = f"assay backfill {uri} --store {corpus.where} --cluster.address=auto"
    store.write_run("run-2", {"run": "run-2", "source": uri, "command": command, "planned": 2, **PARTITION})
    with store.hold(command):
        pass
    corpus.forget(uri)
    assert traces(corpus.store(), {"uri": uri.encode()}) == []
    record = corpus.store().run("run-2")
    assert record is not None
    assert record["source"] == "(forgotten)"
    assert record["command"] == f"assay backfill '(forgotten)' --store {corpus.where} --cluster.address=auto"
    assert corpus.verify().sound


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_erasure_while_rows_are_compared_is_told(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    real = verify_job._planned_twice

    def meanwhile(*given: object) -> int:
        found = int(real(*given)) if when == "after" else 0  # type: ignore[arg-type]  # passed through
        corpus.forget(corpus.uri("a/2.jpg"))
        return found if when == "after" else int(real(*given))  # type: ignore[arg-type]  # fails: parts are gone

    monkeypatch.setattr(verify_job, "_planned_twice", meanwhile)
    with pytest.raises(CommitError, match="erased while the rows were read"):
        corpus.verify()


def test_a_backfill_finishes_an_erasure_that_was_cut_off(
    ray_session: str, judged_store: Path, tmp_path: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.jobs.backfill import BackfillSpec, backfill  # imports Ray, which the other tests never need

    store = shutil.copytree(judged_store, tmp_path / "store")
    source = judged_store.parent / "bucket"
    gone = source / "picture-00003.jpg"

    def killed(_work: object) -> None:
        raise Killed

    monkeypatch.setattr(erasure, "STEPS", (*STEPS[:4], killed))
    with pytest.raises(Killed):
        forget(ForgetSpec(place=str(gone), store=str(store)))
    monkeypatch.undo()
    spec = BackfillSpec.model_validate({"source": str(source), "store": str(store), "release": str(release_dir)})
    facts = backfill(spec, Silent(), threading.Event(), "assay backfill …")
    assert (facts.planned, facts.fetched) == (31, 0)
    assert not Store.open(Storage(), str(store)).is_half_erased()
    assert verify(VerifySpec(store=str(store))).sound
    found = subprocess.run(["grep", "-rl", "picture-00003", str(store)], capture_output=True, text=True, check=False)
    assert found.stdout == ""
