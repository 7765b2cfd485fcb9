"""Load on an HTTP service: requests from a process of its own, which takes next to nothing of the machine.

Knows two kinds. Closed: so many clients, each asking again as soon as it is answered; what comes out is the capacity.
Open: requests fall due by a Poisson process whatever the service does, and are timed from when they were due, not from
when they could be sent, so that a service which stalls is charged for all who would have come meanwhile. Knows raw
bytes of HTTP/1.1 with kept connections, and no client library. Does not know what the service answers.
"""

import json
import subprocess
import sys
from typing import Self

from pydantic import Field, model_validator

from assay.platform.spec import Spec
from infra.bench.race import SideError
from infra.bench.side import ROOT

SLACK_S = 180.0


class LoadSpec(Spec):
    """What is asked, how often, and for how long."""

    url: str = Field(description="http://host:port")
    path: str = "/v1/analyze"
    headers: dict[str, str] = Field({}, description="of each request")
    pictures: str = Field(description="folder of the bodies; each request posts the next one, as it is")
    seconds: float = Field(gt=0, description="how long requests begin, and are counted")
    warm_s: float = Field(0, ge=0, description="how long they begin before that, and are not")
    clients: int | None = Field(None, ge=1, description="closed: how many ask at once")
    rate: float | None = Field(None, gt=0, description="open: requests a second")
    grace_s: float = Field(30, gt=0, description="how long the last answers are waited for")
    seed: int = 0

    @model_validator(mode="after")
    def _either(self) -> Self:
        if (self.clients is None) == (self.rate is None):
            raise ValueError("a load has either clients or a rate")
        return self


class LoadFacts(Spec):
    """What came back of the requests that were counted. Latencies are of those answered 200, in seconds."""

    asked: int
    statuses: dict[str, int]
    odd: dict[str, int] = Field(description="what was neither 200 nor 429 with Retry-After and a problem, by kind")
    good_rate: float = Field(description="answers 200 a second, while requests began and were counted")
    p50: float
    p95: float
    p99: float
    worst: float
    refusal_p99: float = Field(description="of answers 429")
    lag_p99: float = Field(description="seconds that the generator itself sent after a request was due")
    connections: int
    own_cpu: float = Field(description="cores the generator took")

    @property
    def good(self) -> int:
        """Answers 200."""
        return self.statuses.get("200", 0)


def put_load(spec: LoadSpec) -> LoadFacts:
    """Load a service, and wait for the last answer.

    Raises:
        SideError: the generator failed.
    """
    with start_load(spec) as process:
        return facts_of(process, spec)


def start_load(spec: LoadSpec) -> subprocess.Popen[str]:
    """Begin to load a service; `facts_of` waits."""
    command = [sys.executable, "-m", "infra.bench.load_process", spec.model_dump_json()]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def facts_of(process: subprocess.Popen[str], spec: LoadSpec) -> LoadFacts:
    """What a load came to.

    Raises:
        SideError: the generator failed.
    """
    try:
        told, words = process.communicate(timeout=spec.warm_s + spec.seconds + spec.grace_s + SLACK_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise SideError("the load generator stands still") from None
    if process.returncode:
        raise SideError(f"the load generator failed: {(words.strip().splitlines() or ['no words'])[-1][:300]}")
    return LoadFacts.model_validate(json.loads(told))
