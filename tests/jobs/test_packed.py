"""Packs through the whole job, on a real S3 server and on disk: the same verdicts as loose images for a hundredth of
the requests, and all that is done to a store afterwards works for what lies in packs, too."""

import json
import shutil
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assay.jobs.backfill import BackfillSpec, backfill
from assay.jobs.cli import main
from assay.jobs.forget import ForgetSpec, forget
from assay.jobs.gallery import SMALL
from assay.jobs.plan import PlanSpec, plan
from assay.jobs.repair import RepairSpec, repair
from assay.jobs.run import BackfillFacts
from assay.jobs.stages import LookSpec, LookStage
from assay.jobs.store import Store
from assay.jobs.verify import VerifyFacts, VerifySpec, verify
from assay.jobs.work import Task, Work
from assay.platform.errors import BucketError, Interrupted
from assay.platform.images import Budget
from assay.platform.members import Member, Slice, parse_member
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage, StorageSpec
from tests.conftest import S3Server, Silent, write_pictures
from tests.fault_proxy import fault_proxy
from tests.pack_files import parquet_of, tar_of
from tests.serial_backfill import ForkServer
from tests.storage_doubles import Answer, told_server
from tests.store_doubles import tree

IMAGES, IN_A_TAR = 2000, 500


def settings_for(source: Path | str, store: Path | str, release: Path, **more: object) -> dict[str, Any]:
    return {"source": str(source), "store": str(store), "release": str(release), "packed": True, **more}


def audit(source: Path | str, store: Path | str, release: Path, **more: object) -> BackfillFacts:
    """A whole backfill in a process of its own, without Ray; what it says it did."""
    settings = settings_for(source, store, release, **more)
    ForkServer().finish(settings, Path(store).with_suffix(".told"))
    return BackfillFacts.model_validate(Store.open(Storage(), str(store)).run() or {}, extra="ignore")


def with_ray(settings: dict[str, Any], watcher: Silent, stop: threading.Event) -> BackfillFacts:
    return backfill(BackfillSpec.model_validate(settings), watcher, stop, "assay backfill …")


def proof(store: Path | str, storage: StorageSpec | None = None) -> VerifyFacts:
    return verify(VerifySpec(store=str(store), storage=storage or StorageSpec()))


def rows(store: Path | str, table: str = "observations", options: dict[str, str] | None = None) -> list[dict[str, Any]]:
    return list(pl.scan_delta(f"{store}/{table}", storage_options=options).collect().iter_rows(named=True))


def outcomes(store: Path | str) -> dict[str, list[str]]:
    """Outcomes by the names of packs."""
    found: dict[str, list[str]] = {}
    for row in sorted(rows(store), key=lambda row: str(row["uri"])):
        member = parse_member(row["uri"])
        found.setdefault((member.pack if member else row["uri"]).rpartition("/")[2], []).append(row["outcome"])
    return found


def decisions(store: str, s3: S3Server) -> list[tuple[object, ...]]:
    """What was seen and decided of each image, by its own name alone."""
    options = {"AWS_ALLOW_HTTP": "true", **s3.environment()}
    seen = {
        row["uri"]: (row["sha256"], row["width"], row["height"], row["size"]) for row in rows(store, options=options)
    }
    return sorted(
        (row["uri"].rpartition("/")[2], *seen[row["uri"]], row["outcome"], row["action"], str(row["scores"]))
        for row in rows(store, "verdicts", options)
    )


@pytest.mark.usefixtures("ray_session")
def test_packed_images_have_the_verdicts_of_loose_ones_for_a_hundredth_of_the_requests(
    s3: S3Server, s3_place: str, tmp_path: Path, release_dir: Path
) -> None:
    pictures = write_pictures(tmp_path / "pictures", IMAGES)
    (tmp_path / "pictures" / "zz-cut.jpg").write_bytes(pictures[0].read_bytes()[:400])
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    bucket = s3.bucket("packs")
    for first in range(0, len(names), IN_A_TAR):
        some = [(name, (tmp_path / "pictures" / name).read_bytes()) for name in names[first : first + IN_A_TAR]]
        labels = [(f"{name}.json", b"{}") for name, _ in some]
        s3.put(f"{bucket}/tars/{first:06d}.tar", tar_of(sorted([*some, *labels])))
    loose_store, packed_store = f"{s3_place}/loose", f"{s3_place}/packed"
    settings = settings_for(tmp_path / "pictures", loose_store, release_dir, packed=False, storage=s3.spec())
    loose = with_ray(settings, Silent(), threading.Event())
    with fault_proxy(s3.endpoint) as proxy:
        storage = s3.spec().model_copy(update={"endpoint": proxy.endpoint})
        settings = settings_for(f"{bucket}/tars", packed_store, release_dir, storage=storage)
        packed = with_ray(settings, Silent(), threading.Event())
        asked = Counter(method for method, path in proxy.asked if path.startswith("/packs"))
    assert (packed.planned, packed.ok, packed.faulted) == (loose.planned, loose.ok, loose.faulted) == (2001, 2000, 1)
    told = f"{asked.total()} requests for {packed.planned} images in packs: {dict(asked)}"
    print(told)
    assert asked.total() / packed.planned <= 0.01, told
    assert s3.gets("packs") >= 4 + 8, "the server itself counts a read of each tar by plan and by each shard"
    assert s3.gets("packs") / packed.planned <= 0.01
    for store in (loose_store, packed_store):
        found = proof(store, s3.spec())
        assert (found.sound, found.planned, found.missing, found.duplicated) == (True, 2001, 0, 0)
    assert decisions(packed_store, s3) == decisions(loose_store, s3)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return [path.read_bytes() for path in write_pictures(tmp_path_factory.mktemp("pictures"), 30)]


@pytest.fixture
def source(tmp_path: Path, pictures: list[bytes]) -> Path:
    """Tars and a Parquet file, with what is odd in them."""
    folder = tmp_path / "source"
    folder.mkdir()
    odd = [
        ("twice.jpg", pictures[0]),
        ("é ü\n<b>.jpg", pictures[1]),
        ("twice.jpg", pictures[2]),
        ("x" * 150, pictures[3]),
    ]
    (folder / "odd.tar").write_bytes(tar_of([*odd, ("none.jpg", b""), ("page.html", b"<html>"), ("a.json", b"{}")]))
    (folder / "plain.tar").write_bytes(tar_of([(f"{n}.jpg", pictures[n]) for n in range(4, 16)]))
    (folder / "rows.parquet").write_bytes(parquet_of([*pictures[16:20], None, *pictures[20:24]], rows=3))
    whole = tar_of([(f"{n}.jpg", pictures[n]) for n in (24, 25, 26)])
    (folder / "short.tar").write_bytes(whole[: whole.index(pictures[26]) + 100])
    return folder


OUTCOMES = {
    "odd.tar": ["ok"] * 4 + ["EMPTY", "UNSUPPORTED_FORMAT"],
    "plain.tar": ["ok"] * 12,
    "rows.parquet": ["ok"] * 4 + ["EMPTY"] + ["ok"] * 4,
    "short.tar": ["ok", "ok", "TRUNCATED"],
}


@pytest.fixture
def store(source: Path, tmp_path: Path, release_dir: Path) -> Path:
    facts = audit(source, tmp_path / "store", release_dir, shard={"images": 4})
    assert (facts.planned, facts.ok, facts.faulted) == (30, 26, 4)
    return tmp_path / "store"


def test_everything_in_odd_packs_ends_as_a_row(store: Path, source: Path, release_dir: Path) -> None:
    assert outcomes(store) == OUTCOMES
    assert proof(store).sound
    seen = {row["uri"]: row for row in rows(store)}
    assert all((row["width"], row["height"]) == (96, 72) for row in seen.values() if row["outcome"] == "ok")
    before = tree(store)
    audit(source, store, release_dir, shard={"images": 4})
    assert tree(store) == before, "there was nothing to do"
    shutil.copy(source / "plain.tar", source / "more.tar")
    grown = audit(source, store, release_dir, shard={"images": 4})
    assert (grown.fetched, grown.ok, grown.planned) == (12, 12, 42)
    assert proof(store).sound


@pytest.mark.usefixtures("ray_session")
def test_a_stopped_run_goes_on_to_the_same_digest(store: Path, source: Path, tmp_path: Path, release_dir: Path) -> None:
    stop = threading.Event()

    class Stopping(Silent):
        def committed(self, receipts: object) -> None:  # noqa: ARG002  # whatever they are
            stop.set()

    settings = settings_for(source, tmp_path / "halved", release_dir, shard={"images": 4})
    with pytest.raises(Interrupted):
        with_ray(settings, Stopping(), stop)
    facts = audit(source, tmp_path / "halved", release_dir, shard={"images": 4})
    assert 0 < facts.already_done < 30
    assert proof(tmp_path / "halved").digest == proof(store).digest


def test_a_tar_that_changes_between_plan_and_look(source: Path, tmp_path: Path, release_dir: Path) -> None:
    store = tmp_path / "store"
    plan(Store.attach(Storage(), str(store)), str(source), PlanSpec(packed=True))
    shutil.copy(source / "plain.tar", source / "odd.tar")
    facts = audit(source, store, release_dir)
    assert facts.faults["CHANGED"] == 6
    found = outcomes(store)
    assert Counter(found["odd.tar"]) == {"CHANGED": 6, "ok": 12}, "the old ones, and the new ones under another etag"
    assert proof(store).sound


def test_members_are_fetched_again_when_their_pack_is_back(source: Path, tmp_path: Path, release_dir: Path) -> None:
    store, aside = tmp_path / "store", tmp_path / "aside"
    plan(Store.attach(Storage(), str(store)), str(source), PlanSpec(packed=True))
    aside.mkdir()
    for name in ("plain.tar", "rows.parquet"):
        (source / name).rename(aside / name)
    facts = audit(source, store, release_dir)
    assert facts.faults["GONE"] == 12 + 9
    for name in ("plain.tar", "rows.parquet"):
        (aside / name).rename(source / name)  # the same inode and time: the same etag
    retried = audit(source, store, release_dir, retry_faults=True)
    assert (retried.retried, retried.fetched, retried.planned) == (21, 21, 30)
    assert outcomes(store) == OUTCOMES
    assert proof(store).sound


def test_what_was_lost_is_made_again(store: Path, source: Path, release_dir: Path) -> None:
    digest = proof(store).digest
    for path in sorted((store / "observations" / "data").rglob("*.parquet"))[::2]:
        path.unlink()
    assert not proof(store).sound
    assert repair(RepairSpec(store=str(store))).observations > 0
    audit(source, store, release_dir, shard={"images": 4})
    assert proof(store).sound
    assert proof(store).digest == digest


def test_members_and_packs_are_forgotten(store: Path, source: Path, release_dir: Path) -> None:
    uris = sorted(str(row["uri"]) for row in rows(store))
    [one, *_] = [uri for uri in uris if "plain.tar" in uri]
    assert forget(ForgetSpec(place=one, store=str(store))).counts.images == 1
    assert forget(ForgetSpec(place=str(source / "odd.tar"), store=str(store))).counts.images == 6
    assert forget(ForgetSpec(place=(source / "rows.parquet").as_uri(), store=str(store))).counts.images == 9
    left = {name: found for name, found in OUTCOMES.items() if name in {"plain.tar", "short.tar"}}
    assert outcomes(store) == left | {"plain.tar": ["ok"] * 11}
    before = tree(store)
    audit(source, store, release_dir, shard={"images": 4})
    assert tree(store) == before, "neither a known pack nor one that is opened again brings them back"
    assert proof(store).sound
    for name, data in tree(store).items():
        assert b"odd.tar" not in data, name
        assert b"rows.parquet" not in data, name


def test_the_report_shows_members_and_links_to_none(store: Path, source: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert main(["report", str(store), "--out", str(page), "--json"]) == 0
    html = page.read_text()
    specimens = [
        one
        for label in json.loads(page.with_suffix(".json").read_text())["labels"].values()
        for one in label["specimens"]
    ]
    assert {parse_member(one["uri"]) is not None for one in specimens} == {True}
    assert {one["uri"].partition("!/")[0].rpartition("/")[2] for one in specimens} >= {"plain.tar", "rows.parquet"}
    assert html.count("data:image/jpeg") >= len({(one["uri"], one["view"]) for one in specimens})
    assert "gone or" not in html
    assert 'href="file:' not in html
    (source / "plain.tar").unlink()
    assert main(["report", str(store), "--out", str(page), "--json"]) == 0
    assert "gone or" in page.read_text()


def test_the_command_line(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = str(tmp_path / "store")
    assert main(["plan", str(source), "--store", store]) == 2
    assert "--packed" in capsys.readouterr().err
    assert main(["plan", str(source), "--store", store, "--packed", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["images"], facts["left_out"]) == (30, 1)


def pack_work(pack: int, images: int = 20) -> Work:
    members = [Member(f"s3://bucket/{pack}.tar", Slice(512 * number, 7), b"x.jpg") for number in range(images)]
    refs = tuple(ImageRef(member.uri, "e", 7) for member in members)
    return Work(shard=pack, task=Task.OBSERVE, rows=images, refs=refs)


def look_stage(storage: StorageSpec) -> LookStage:
    return LookStage(LookSpec(storage, SMALL, Budget(), 2))


def test_one_denied_pack_is_one_object_and_eight_in_a_row_are_the_store() -> None:
    with told_server(Answer.error(403, "AccessDenied")) as told:
        look = look_stage(told.storage().spec)
        for pack in range(7):
            assert set(look.look(pack_work(pack)).rows["outcome"].to_pylist()) == {"FORBIDDEN"}
            assert set(look.look(pack_work(pack)).rows["outcome"].to_pylist()) == {"FORBIDDEN"}, "another shard of it"
        with pytest.raises(BucketError, match="forbidden"):
            look.look(pack_work(7))


def test_a_pack_that_can_be_read_says_that_the_store_is_well() -> None:
    denied, gone = Answer.error(403, "AccessDenied"), Answer.error(404, "NoSuchKey")
    with told_server(*[denied] * 7, gone, denied) as told:
        look = look_stage(told.storage().spec)
        found = [set(look.look(pack_work(pack)).rows["outcome"].to_pylist()) for pack in range(15)]
    assert found == [{"FORBIDDEN"}] * 7 + [{"GONE"}] + [{"FORBIDDEN"}] * 7
