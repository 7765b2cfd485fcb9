"""The desk where jobs are asked for: who may ask for what, once for each idempotency key, and who is told of it.

Knows tenants, places and releases. Does not know HTTP (`job_routes.py`), nor Ray (`job_server.py`). All of it blocks:
call it in a thread.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from assay.platform.errors import AssayError, SpecError
from assay.registry.lookup import find_version
from assay.registry.place import RegistrySpec
from assay.registry.registry import Registry
from assay.serving.job_command import Order, command_line
from assay.serving.job_places import JobsSpec, locate
from assay.serving.job_record import Note, Record
from assay.serving.job_schemas import BackfillRequest, JobDocument, ReauditRequest
from assay.serving.problem import Code, Problem

LISTED = 200
"""Jobs that a list has at most, the newest."""
_ID = re.compile(r"assay-[0-9a-f]{32}")


class Signer(Protocol):
    """Who asks: a key of a tenant. `keys.Key` is one."""

    @property
    def id(self) -> str:
        """The key's name."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    def policy(self, asked: str | None) -> str | None:
        """The policy to judge by, None for the release's default; refuses one that the key may not use."""


class Server(Protocol):
    """Where jobs run; `job_server.JobServer` is one. It knows jobs of ours only."""

    @property
    def cluster(self) -> str | None:
        """The address by which a command joins its cluster; None when it need not be told."""

    def submit(self, job_id: str, command: str, note: Note) -> bool:
        """Run a command under an id; False when the id is taken."""

    def find(self, job_id: str) -> Record | None:
        """A job by its id."""

    def all(self) -> Sequence[Record]:
        """All jobs."""

    def output(self, job_id: str) -> list[str] | None:
        """The lines a job has written so far; None when they cannot be read."""

    def stop(self, job_id: str) -> None:
        """Ask a job to commit and end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A job that was asked for, and whether it was made now, or had been before."""

    job: JobDocument
    is_new: bool


class JobDesk:
    """Takes requests for jobs, and tells what becomes of them."""

    def __init__(self, spec: JobsSpec, server: Server, registry: RegistrySpec | None = None) -> None:
        self.spec, self.server, self.registry = spec, server, registry or RegistrySpec()

    def submit(
        self, signer: Signer, request: BackfillRequest | ReauditRequest, idempotency_key: str | None, release: str
    ) -> Answer:
        """Submit a job, once for each tenant and key; `release`, pinned, judges if the request names none.

        Raises:
            Problem: PLACE_REFUSED, FORBIDDEN (a policy), INVALID (a release), CONFLICT (the key came with another
                request before), RATE_LIMITED (too many jobs under way), UNAVAILABLE.
        """
        note, order = self._settle(signer, request)
        job_id = _job_id(signer.tenant, idempotency_key)
        before = self.server.find(job_id) if idempotency_key is not None else None
        if before is not None:
            return self._again(before, note)
        self._refuse_crowd(signer)
        # Pinned only now: the same request means the same job, also when another release is champion since.
        pinned = self._pin(request.release) if request.release else release
        order = replace(order, release=pinned, cluster=self.server.cluster)
        command = command_line(order, self.spec, self.registry)
        note = note.model_copy(update={"release": pinned})
        is_new = self.server.submit(job_id, command, note)
        made = self._found(signer, job_id)
        return Answer(made.document(None), True) if is_new else self._again(made, note)

    def job(self, signer: Signer, job_id: str) -> JobDocument:
        """One job of the signer's tenant.

        Raises:
            Problem: NOT_FOUND, also for another tenant's; UNAVAILABLE.
        """
        return self._told(self._found(signer, job_id))

    def jobs(self, signer: Signer) -> list[JobDocument]:
        """The jobs of the signer's tenant, the newest first, without what is told in their output.

        Raises:
            Problem: UNAVAILABLE.
        """
        newest = sorted(self._of_tenant(signer), key=lambda job: (job.submitted_ms, job.id), reverse=True)
        return [job.document(None) for job in newest[:LISTED]]

    def stop(self, signer: Signer, job_id: str) -> JobDocument:
        """Ask a job to commit and end; the job as it is then, which may still be running. One that is over stays so.

        Raises:
            Problem: as `job`.
        """
        if not self._found(signer, job_id).is_over:
            self.server.stop(job_id)
        return self.job(signer, job_id)

    def _settle(self, signer: Signer, request: BackfillRequest | ReauditRequest) -> tuple[Note, Order]:
        """What a request means for who asks; its release is settled later."""
        source = request.source if isinstance(request, BackfillRequest) else None
        source_uri = None if source is None else locate(self.spec.sources, source, signer.tenant, "source")
        store_uri = locate(self.spec.stores, request.store, signer.tenant, "store")
        policy = signer.policy(request.policy)
        note = Note(
            tenant=signer.tenant,
            key=signer.id,
            digest=_digest(request),
            kind=request.kind,
            source=source,
            store=request.store,
            release="",
            policy=policy,
        )
        return note, Order(request, source_uri, store_uri, "", policy)

    def _again(self, before: Record, asked: Note) -> Answer:
        if before.note.digest != asked.digest:
            raise Problem(
                Code.CONFLICT,
                "another request came with this Idempotency-Key before",
                where="Idempotency-Key",
                why=f"it made job {before.id}",
                fix="send a new key with a new request",
            )
        return Answer(self._told(before), False)

    def _told(self, job: Record) -> JobDocument:
        return job.document(self.server.output(job.id))

    def _of_tenant(self, signer: Signer) -> list[Record]:
        return [job for job in self.server.all() if job.note.tenant == signer.tenant]

    def _found(self, signer: Signer, job_id: str) -> Record:
        # An id goes into the address of a request to the job server: nothing else than one may.
        job = self.server.find(job_id) if _ID.fullmatch(job_id) else None
        if job is None or job.note.tenant != signer.tenant:
            raise Problem(Code.NOT_FOUND, "no such job", where="id", fix="ask for the list of your jobs")
        return job

    def _refuse_crowd(self, signer: Signer) -> None:
        """Two requests at the same moment may both pass: this keeps a cluster usable, it is no account."""
        under_way = sum(not job.is_over for job in self._of_tenant(signer))
        if under_way >= self.spec.per_tenant:
            raise Problem(
                Code.RATE_LIMITED,
                f"{under_way} jobs of your tenant are waiting or running",
                why=f"{self.spec.per_tenant} may be",
                fix="wait for one to end, or stop one",
                retry_after_s=60,
            )

    def _pin(self, named: str) -> str:
        """The version that a caller's reference means now."""
        ours = f"models:/{self.registry.name}-release"
        if not named.startswith((f"{ours}/", f"{ours}@")):
            raise _no_release(named, f"this service has releases of {ours} only")
        try:
            return f"{ours}/{find_version(Registry(self.registry), named).number}"
        except SpecError as error:
            raise _no_release(named, error.why) from error
        except AssayError as error:
            why = "the registry does not answer"
            raise Problem(Code.UNAVAILABLE, "releases cannot be looked up now", why=why, retry_after_s=10) from error


def _no_release(named: str, why: str) -> Problem:
    fix = "name one that is registered, or none: then it is the service's own"
    return Problem(Code.INVALID, f"there is no release {named}", where="release", why=why, fix=fix)


def _digest(request: BackfillRequest | ReauditRequest) -> str:
    said = json.dumps(request.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()


def _job_id(tenant: str, idempotency_key: str | None) -> str:
    """An id that the same key of the same tenant always has, so that the job server itself refuses to make it twice."""
    if idempotency_key is None:
        return f"assay-{secrets.token_hex(16)}"
    said = json.dumps([tenant, idempotency_key])
    return f"assay-{hashlib.sha256(said.encode()).hexdigest()[:32]}"
