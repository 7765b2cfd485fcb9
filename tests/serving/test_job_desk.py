"""The desk: one job for each key, a tenant's own jobs only, a release that is pinned. What runs is in
`test_job_server.py`."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from assay.registry.place import RegistrySpec
from assay.serving.job_desk import LISTED, JobDesk
from assay.serving.job_places import JobsSpec
from assay.serving.job_schemas import BackfillRequest, JobKind, JobState, ReauditRequest
from assay.serving.problem import Code, Problem
from tests.job_desk_doubles import Remembering, Who
from tests.small_registry import move, small_registry

SPEC = JobsSpec.model_validate(
    {
        "sources": [{"name": "uploads", "uri": "s3://b/acme/", "tenants": ["acme"]}],
        "stores": [{"name": "audit", "uri": "s3://b/stores/", "tenants": ["acme", "rival"]}],
        "per_tenant": 1000,
    }
)
ACME, RIVAL = Who("acme"), Who("rival")
OURS = "models:/assay-release/4"


def backfill(**fields: Any) -> BackfillRequest:
    asked = {"kind": "backfill", "source": {"name": "uploads"}, "store": {"name": "audit"}, **fields}
    return BackfillRequest.model_validate(asked)


REAUDIT = ReauditRequest.model_validate({"kind": "reaudit", "store": {"name": "audit"}})


@pytest.fixture
def server() -> Remembering:
    return Remembering()


@pytest.fixture
def desk(server: Remembering) -> JobDesk:
    return JobDesk(SPEC, server, RegistrySpec(uri="http://127.0.0.1:9", retries=0, timeout_s=1))


def test_one_key_is_one_job_whatever_is_champion_meanwhile(desk: JobDesk, server: Remembering) -> None:
    first = desk.submit(ACME, backfill(), "k", OURS)
    again = desk.submit(Who("acme", id="key-2"), backfill(), "k", "models:/assay-release/5")
    assert (first.is_new, again.is_new) == (True, False)
    assert again.job.id == first.job.id
    assert again.job.release == OURS
    assert len(server.commands) == 1
    assert f"--release={OURS}" in shlex.split(server.commands[0])


def test_another_request_with_the_key_is_a_conflict(desk: JobDesk, server: Remembering) -> None:
    first = desk.submit(ACME, backfill(), "k", OURS)
    for other in (
        backfill(packed=True),
        backfill(release=OURS),
        backfill(store={"name": "audit", "path": "x"}),
        REAUDIT,
    ):
        with pytest.raises(Problem, match="another request") as caught:
            desk.submit(ACME, other, "k", OURS)
        assert caught.value.code is Code.CONFLICT
        assert first.job.id in caught.value.why
    assert len(server.jobs) == 1


def test_keys_are_of_a_tenant_and_without_one_each_is_new(desk: JobDesk, server: Remembering) -> None:
    mine = desk.submit(ACME, REAUDIT, "k", OURS)
    theirs = desk.submit(RIVAL, REAUDIT, "k", OURS)
    assert (mine.is_new, theirs.is_new) == (True, True)
    assert len({mine.job.id, theirs.job.id, *(desk.submit(ACME, REAUDIT, None, OURS).job.id for _ in range(3))}) == 5
    assert len(server.jobs) == 5


def test_another_tenants_job_is_like_one_that_does_not_exist(desk: JobDesk, server: Remembering) -> None:
    job = desk.submit(ACME, backfill(), None, OURS).job
    assert desk.job(ACME, job.id).id == job.id
    assert [one.id for one in desk.jobs(ACME)] == [job.id]
    assert desk.jobs(RIVAL) == []
    told = set()
    for asked in (job.id, "assay-" + "0" * 32, "", "../../api/version", f"{job.id}/logs", job.id + "\n"):
        for ask in (desk.job, desk.stop):
            with pytest.raises(Problem) as caught:
                ask(RIVAL, asked)
            told.add((caught.value.code, str(caught.value)))
    assert len(told) == 1
    assert told.pop()[0] is Code.NOT_FOUND
    assert not server.stopped


def test_ids_that_are_none_never_reach_the_server(desk: JobDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.server, "find", lambda job_id: pytest.fail(f"asked for {job_id}"))
    for asked in ("", "raysubmit_1", "assay-" + "A" * 32, "assay-" + "0" * 33, "../" + "assay-" + "0" * 32):
        with pytest.raises(Problem):
            desk.job(ACME, asked)


def test_a_foreign_source_or_store_is_refused_before_anything_is_asked(desk: JobDesk, server: Remembering) -> None:
    for who, request in (
        (RIVAL, backfill()),
        (ACME, backfill(source={"name": "uploads", "path": "../rival"})),
        (ACME, backfill(store={"name": "else"})),
        (Who("nobody"), REAUDIT),
    ):
        with pytest.raises(Problem) as caught:
            desk.submit(who, request, "k", OURS)
        assert caught.value.code is Code.PLACE_REFUSED
    assert not server.jobs


def test_the_key_chooses_the_policy(desk: JobDesk, server: Remembering) -> None:
    bound = Who("acme", policies=("strict", "lenient"))
    assert desk.submit(bound, backfill(), None, OURS).job.policy == "strict"
    assert desk.submit(bound, backfill(policy="lenient"), None, OURS).job.policy == "lenient"
    assert ["--policy=strict" in one for one in server.commands] == [True, False]
    with pytest.raises(Problem) as caught:
        desk.submit(bound, backfill(policy="other"), None, OURS)
    assert caught.value.code is Code.FORBIDDEN
    assert desk.submit(ACME, backfill(), None, OURS).job.policy is None


def test_a_tenant_may_have_so_many_under_way(server: Remembering) -> None:
    desk = JobDesk(SPEC.model_copy(update={"per_tenant": 2}), server)
    jobs = [desk.submit(ACME, backfill(), key, OURS).job for key in ("a", "b")]
    with pytest.raises(Problem) as caught:
        desk.submit(ACME, backfill(), "c", OURS)
    assert caught.value.code is Code.RATE_LIMITED
    assert "retry-after" in caught.value.headers
    assert not desk.submit(ACME, backfill(), "a", OURS).is_new  # what was asked for before is no more work
    assert desk.submit(RIVAL, REAUDIT, "c", OURS).is_new
    server.finish(jobs[0].id, JobState.SUCCEEDED)
    assert desk.submit(ACME, backfill(), "c", OURS).is_new


def test_a_list_has_the_newest_first_and_an_end(desk: JobDesk, server: Remembering) -> None:
    made = [desk.submit(ACME, backfill(), None, OURS).job.id for _ in range(LISTED + 5)]
    assert [job.id for job in desk.jobs(ACME)] == made[::-1][:LISTED]


def test_only_what_runs_is_stopped(desk: JobDesk, server: Remembering) -> None:
    job = desk.submit(ACME, backfill(), None, OURS).job
    desk.stop(ACME, job.id)
    server.finish(job.id, JobState.STOPPED, None)
    assert desk.stop(ACME, job.id).state is JobState.STOPPED
    assert server.stopped == [job.id]


def test_how_a_job_ended(desk: JobDesk, server: Remembering) -> None:
    job = desk.submit(ACME, backfill(), None, "/releases/mine").job
    assert (job.release, job.state, job.kind) == ("mine", JobState.PENDING, JobKind.BACKFILL)
    server.outputs[job.id] = ["s3://b/secret", "BucketError no such bucket", "  where: s3://b/x", "  fix: check it"]
    server.finish(job.id, JobState.FAILED, 5)
    told = desk.job(ACME, job.id)
    assert (told.state, told.exit_code, told.message, told.fix) == (JobState.FAILED, 5, "no such bucket", "check it")
    assert "s3://" not in told.model_dump_json()
    server.finish(job.id, JobState.FAILED, 4)  # somebody else told the command to end
    assert desk.job(ACME, job.id).state is JobState.STOPPED
    server.finish(job.id, JobState.FAILED, 3)
    assert "finished: every image" in str(desk.job(ACME, job.id).message)


def test_a_release_is_pinned_when_it_is_asked_for(server: Remembering, tmp_path: Path) -> None:
    registry = small_registry(tmp_path, registered=2, promoted=1)
    desk = JobDesk(SPEC, server, registry)
    assert desk.submit(ACME, backfill(release="models:/assay-release@champion"), "a", OURS).job.release.endswith("/1")
    move(registry, 2)
    assert desk.submit(ACME, backfill(release="models:/assay-release@champion"), "b", OURS).job.release.endswith("/2")
    assert not desk.submit(ACME, backfill(release="models:/assay-release@champion"), "a", OURS).is_new
    assert f"--registry.uri=sqlite:///{tmp_path}/mlflow.db" in shlex.split(server.commands[-1])
    for named in ("models:/assay-release/3", "models:/assay-release@challenger", "models:/other-release/1"):
        with pytest.raises(Problem, match="there is no release") as caught:
            desk.submit(ACME, backfill(release=named), None, OURS)
        assert (caught.value.code, caught.value.where) == (Code.INVALID, "release")
    assert len(server.jobs) == 2


def test_a_registry_that_does_not_answer(desk: JobDesk, server: Remembering) -> None:
    with pytest.raises(Problem) as caught:
        desk.submit(ACME, backfill(release="models:/assay-release/1"), None, OURS)
    assert caught.value.code is Code.UNAVAILABLE
    assert not server.jobs
