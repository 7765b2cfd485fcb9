"""Ray's job server: commands submitted to a cluster, looked up, read and stopped.

Knows Ray Jobs, and translates what goes wrong there. Does not know whose a job is, nor what it does.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ray
from ray.dashboard.modules.dashboard_sdk import SubmissionClient
from ray.dashboard.utils import ray_address_to_api_server_url
from ray.exceptions import RayError
from ray.job_submission import JobDetails, JobSubmissionClient, JobType

from assay.serving.job_places import JobsSpec
from assay.serving.job_record import Note, Record
from assay.serving.job_schemas import JobState
from assay.serving.problem import Code, Problem

_log = logging.getLogger(__name__)


class _NotThereError(RuntimeError):
    """The server knows no such job."""


class _Client(JobSubmissionClient):
    """Ray's client, but that every request has an end, and that the address is the one it is given: Ray's own
    constructor lets RAY_ADDRESS have its way over it, which KubeRay sets in every container."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._client_ray_version = ray.__version__
        self._timeout_s = timeout_s
        SubmissionClient.__init__(self, address=address)

    def _do_request(self, *args: Any, **kwargs: Any) -> Any:
        return super()._do_request(*args, timeout=self._timeout_s, **kwargs)

    def _raise_error(self, r: Any) -> None:
        if r.status_code == 404 and "does not exist" in r.text:  # another server's 404 is not about a job
            raise _NotThereError
        super()._raise_error(r)


@dataclass(frozen=True)
class JobServer:
    """The job server at `address`, or, without one, that of the cluster this process is in.

    Every call blocks, and raises Problem UNAVAILABLE when the server says nothing for `timeout_s`, or refuses us.
    """

    address: str | None
    timeout_s: float
    num_cpus: float
    stop_s: int

    @classmethod
    def of(cls, spec: JobsSpec) -> "JobServer":
        """The one that a service is configured with."""
        return cls(spec.address, spec.timeout_s, spec.num_cpus, spec.stop_s)

    @cached_property
    def _url(self) -> str:
        return self.address or ray_address_to_api_server_url(ray.get_runtime_context().gcs_address)

    def _client(self) -> _Client:
        """A new one each time: tokens change, and none is open between requests."""
        return _Client(self._url, self.timeout_s)

    @property
    def cluster(self) -> str | None:
        """The address by which a command joins the cluster this process is in; None for another: there Ray tells it.
        On a machine with several clusters Ray tells any of them."""
        return None if self.address else str(ray.get_runtime_context().gcs_address)

    def submit(self, job_id: str, command: str, note: Note) -> bool:
        """Run a command under an id; False when the id is taken, of which Ray lets there be one only.

        Whatever the answer was: when the job is there, it was submitted, by us or another.
        """
        try:
            with _translated():
                self._client().submit_job(
                    entrypoint=command,
                    submission_id=job_id,
                    metadata=note.metadata(),
                    entrypoint_num_cpus=self.num_cpus,
                    # Ray would kill it after 3 s; a commit to object storage may take longer.
                    runtime_env={"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(self.stop_s)}},
                )
        except Problem:
            if self.find(job_id) is None:
                raise
            return False
        return True

    def find(self, job_id: str) -> Record | None:
        """What the server knows of a job; None when there is none of this id, or it is none of ours."""
        with _translated(), suppress(_NotThereError):
            return _record(self._client().get_job_info(job_id))
        return None

    def all(self) -> list[Record]:
        """All jobs of ours that this cluster remembers."""
        with _translated():
            return [job for one in self._client().list_jobs() if (job := _record(one)) is not None]

    def output(self, job_id: str) -> list[str] | None:
        """The lines a job has written so far; None when they cannot be read: they go with the node that had them."""
        with _translated():
            try:
                return self._client().get_job_logs(job_id).splitlines()
            except RuntimeError as error:  # the server answers, but for these
                _log.warning("no output of %s: %s", job_id, error)
                return None

    def stop(self, job_id: str) -> None:
        """Ask a job to commit and end; nothing happens when it has ended."""
        with _translated(), suppress(_NotThereError):
            self._client().stop_job(job_id)


def _record(details: JobDetails) -> Record | None:
    note = Note.read(details.metadata)
    if note is None or details.type != JobType.SUBMISSION:
        return None
    return Record(
        id=str(details.submission_id),
        state=JobState(details.status.value.lower()),
        submitted_ms=details.start_time or 0,
        ended_ms=details.end_time,
        exit_code=details.driver_exit_code,
        note=note,
    )


@contextmanager
def _translated() -> Iterator[None]:
    """What Ray's client raises is told to the log; a caller learns that the server cannot be asked."""
    try:
        yield
    except (OSError, RuntimeError, ValueError, TypeError, RayError) as error:
        _log.warning("the job server: %s: %s", type(error).__name__, error)
        raise Problem(
            Code.UNAVAILABLE,
            "jobs cannot be asked for now",
            why="the job server does not answer, or refuses the service",
            fix="try again; with an Idempotency-Key no job is made twice",
            retry_after_s=10,
        ) from error
