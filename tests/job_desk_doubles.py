"""Who asks for jobs, a job server that only remembers, and the routes as an app: what tests need around a job."""

import json
import threading
from dataclasses import dataclass, field, replace

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from assay.serving.job_desk import JobDesk
from assay.serving.job_record import Note, Record
from assay.serving.job_routes import job_router
from assay.serving.job_schemas import JobState
from assay.serving.problem import MEDIA_TYPE, Code, Problem


@dataclass(frozen=True)
class Who:
    """A key of a tenant that may use some policies, the first by default; all without."""

    tenant: str
    id: str = "key-1"
    policies: tuple[str, ...] | None = None

    def policy(self, asked: str | None) -> str | None:
        if self.policies is None:
            return asked
        if asked is not None and asked not in self.policies:
            raise Problem(Code.FORBIDDEN, "not yours", where="policy")
        return asked or self.policies[0]


@dataclass
class Remembering:
    """Takes an id once, as Ray does. Its jobs wait for ever, unless a test says how they are."""

    jobs: dict[str, Record] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    outputs: dict[str, list[str]] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)
    cluster: str | None = None
    _taking: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, job_id: str, command: str, note: Note) -> bool:
        with self._taking:
            if job_id in self.jobs:
                return False
            kept = Note.read(json.loads(json.dumps(note.metadata())))
            assert kept == note
            self.commands.append(command)
            self.jobs[job_id] = Record(job_id, JobState.PENDING, 1_000 + len(self.jobs), None, None, kept)
            return True

    def find(self, job_id: str) -> Record | None:
        return self.jobs.get(job_id)

    def all(self) -> list[Record]:
        return list(self.jobs.values())

    def output(self, job_id: str) -> list[str] | None:
        return self.outputs.get(job_id, [])

    def stop(self, job_id: str) -> None:
        self.stopped.append(job_id)

    def finish(self, job_id: str, state: JobState, exit_code: int | None = 0) -> None:
        """Let a job end."""
        self.jobs[job_id] = replace(self.jobs[job_id], state=state, ended_ms=9_000, exit_code=exit_code)


def service(desk: JobDesk, release: str) -> FastAPI:
    """The routes as an app, which knows tenants by a header, with refusals as problem documents."""

    def who(request: Request) -> Who:
        return Who(request.headers["x-tenant"])

    app = FastAPI()
    app.include_router(job_router(desk, who, lambda: release))

    @app.exception_handler(Problem)
    async def refuse(_request: Request, problem: Problem) -> JSONResponse:
        body = problem.document("r-1").model_dump(mode="json")
        return JSONResponse(body, problem.status, problem.headers, MEDIA_TYPE)

    return app
