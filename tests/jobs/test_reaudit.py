"""Judging again what is stored: the same verdicts as a fresh backfill, with less work, and no picture touched."""

import shutil
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from assay.jobs import judge_stage, stored_rows
from assay.jobs.compact import CompactSpec, compact
from assay.jobs.reaudit import ReauditFacts, ReauditSpec, reaudit
from assay.jobs.store import Store
from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from assay.platform.errors import AssayError, Interrupted, ReleaseError, SpecError, StoreVersionError
from assay.platform.hash_encoder import HashSpec, write_hash_encoder
from assay.platform.moderator import Carried
from assay.platform.release import Release
from assay.platform.storage import Storage
from tests.audit_text import other_release, reworded
from tests.conftest import Silent, write_pictures
from tests.serial_backfill import reaudit_alone, run_alone

PICTURES = 40


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return other_release(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory, release_dir: Path) -> Path:
    """A folder with a bucket and a store after a backfill; copy it before changing it."""
    folder = tmp_path_factory.mktemp("audited")
    write_pictures(folder / "bucket", PICTURES)
    (folder / "bucket" / "notes.txt").write_text("no picture")
    (folder / "bucket" / "empty.jpg").write_bytes(b"")
    with pytest.MonkeyPatch.context() as patch:
        run_alone(backfill_of(folder, release_dir), patch)
    return folder


def backfill_of(folder: Path, release: Path, store: str = "store") -> dict[str, object]:
    places = {"source": str(folder / "bucket"), "store": str(folder / store), "release": str(release)}
    return {**places, "shard": {"images": 8}, "max_fault_rate": 1.0}


@pytest.fixture
def place(audited: Path, tmp_path: Path) -> Path:
    """A store to change, whose bucket is gone."""
    shutil.copytree(audited / "store", tmp_path / "store")
    return tmp_path


def again(place: Path, release: Path, patch: pytest.MonkeyPatch, **how: object) -> ReauditFacts:
    return reaudit_alone({"store": str(place / "store"), "release": str(release), **how}, patch)


def proof(store: Path, release: Path, policy: str = "strict") -> VerifyFacts:
    spec = {"store": str(store), "release": Release.load(release).id, "policy": policy}
    return verify(VerifySpec.model_validate(spec))


def verdicts(store: Path, release: Path, policy: str = "strict") -> pa.Table:
    """All of them, in order of names, which do not say where the bucket was."""
    mine = (pc.field("release") == Release.load(release).id) & (pc.field("policy") == policy)
    rows = Store.open(Storage(), str(store)).verdicts.dataset().to_table(filter=mine)
    return rows.sort_by([("uri", "ascending"), ("etag", "ascending")])


@pytest.mark.parametrize("carry", [True, False])
@pytest.mark.parametrize("compacted", [True, False])
def test_a_reaudit_is_a_fresh_backfill(
    place: Path, audited: Path, other: Path, monkeypatch: pytest.MonkeyPatch, carry: bool, compacted: bool
) -> None:
    if compacted:
        compact(CompactSpec(store=str(place / "store"), segment_shards=2))
    facts = again(place, other, monkeypatch, carry=carry)
    assert (facts.observed, facts.judged, facts.already_judged, facts.unobserved) == (PICTURES + 2, PICTURES + 2, 0, 0)
    assert facts.carried == (PICTURES + 2 if carry else 0)
    assert set(facts.labels_scored) == ({"firearms", "weapons"} if carry else set(Release.load(other).library().labels))
    assert not set(facts.labels_scored) & set(facts.labels_carried)
    fresh = audited / f"fresh-{carry}-{compacted}"
    run_alone(backfill_of(audited, other, fresh.name), monkeypatch)
    assert verdicts(place / "store", other).equals(verdicts(fresh, other))
    assert proof(place / "store", other).sound
    assert proof(place / "store", other).digest == proof(fresh, other).digest


def test_older_verdicts_stay_as_they_are(
    place: Path, other: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = verdicts(place / "store", release_dir)
    again(place, other, monkeypatch)
    assert verdicts(place / "store", release_dir).equals(before)
    assert proof(place / "store", release_dir).sound


def test_another_policy_scores_nothing(place: Path, release_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = again(place, release_dir, monkeypatch, policy="lenient")
    assert facts.labels_scored == ()
    assert facts.carried == PICTURES + 2
    assert facts.base.endswith("/strict")
    scratch = again(place, release_dir, monkeypatch, policy="lenient")
    assert (scratch.judged, scratch.already_judged) == (0, PICTURES + 2)
    carried = verdicts(place / "store", release_dir, "lenient")
    assert carried["scores"].equals(verdicts(place / "store", release_dir)["scores"])
    assert proof(place / "store", release_dir, "lenient").sound


def test_carried_scores_are_held_against_the_embeddings(
    place: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stored_rows.carried_scores

    def wrong(*given: object) -> Carried | None:
        found = real(*given)  # type: ignore[arg-type]  # as it was called
        assert found is not None
        found.scores[0, 0] += 1e-3
        return found

    monkeypatch.setattr(judge_stage, "carried_scores", wrong)
    with pytest.raises(ReleaseError, match="scores carried over are not what this release gives"):
        again(place, other, monkeypatch)
    monkeypatch.undo()
    assert again(place, other, monkeypatch).judged == PICTURES + 2
    assert proof(place / "store", other).sound


def test_a_reaudit_that_was_stopped_goes_on(place: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = threading.Event()

    class Stopper(Silent):
        def received(self, _receipt: object) -> None:
            stop.set()

    monkeypatch.setattr("assay.jobs.spans.SPAN", 2)
    settings = {"store": str(place / "store"), "release": str(other)}
    with pytest.raises(Interrupted):
        reaudit_alone(settings, monkeypatch, Stopper(), stop)
    half = verdicts(place / "store", other).num_rows
    assert 0 < half < PICTURES + 2
    facts = reaudit_alone(settings, monkeypatch)
    assert (facts.already_judged, facts.judged) == (half, PICTURES + 2 - half)
    assert proof(place / "store", other).sound


def test_what_is_not_observed_is_told_and_left(
    tmp_path: Path, release_dir: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pictures(tmp_path / "bucket", 24)
    spec = backfill_of(tmp_path, release_dir)

    class Stopper(Silent):
        def received(self, _receipt: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_alone(spec, monkeypatch, Stopper())
    with pytest.raises(SpecError, match="nothing to judge again") as caught:
        again(tmp_path, other, monkeypatch)
    assert caught.value.fix == "run `assay backfill` first"


def test_another_encoder_is_refused_and_priced(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_hash_encoder(tmp_path / "encoder", HashSpec(dim=32))
    strange = reworded(tmp_path, "strange", lambda text: text, f"local-dir:{tmp_path / 'encoder'}")
    with pytest.raises(StoreVersionError, match="another encoder, dim") as caught:
        again(place, strange, monkeypatch)
    assert "42 images would have to be fetched and encoded again: " in caught.value.why
    assert "42 requests, 0.0 hours at the last backfill's rate" in caught.value.why
    assert "assay migrate" in caught.value.fix


def test_no_store_and_no_such_policy(place: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="no store here"):
        again(tmp_path / "nowhere", other, monkeypatch)
    with pytest.raises(AssayError, match="did you mean 'strict'"):
        again(place, other, monkeypatch, policy="strickt")


def test_a_release_that_changes_meanwhile_is_not_seen(
    place: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving = tmp_path / "moving"
    shutil.copytree(other, moving)
    pinned = Release.load(moving).id

    class Mover(Silent):
        def started(self, _cluster: object, _pools: object) -> None:
            shutil.rmtree(moving)

    settings = {"store": str(place / "store"), "release": str(moving)}
    facts = reaudit_alone(settings, monkeypatch, Mover())
    assert facts.release == pinned
    assert proof(place / "store", other).sound


def test_on_a_cluster(place: Path, other: Path, ray_session: str) -> None:
    facts = reaudit(
        ReauditSpec.model_validate({"store": str(place / "store"), "release": str(other)}), Silent(), threading.Event()
    )
    assert facts.judged == PICTURES + 2
    assert proof(place / "store", other).sound
