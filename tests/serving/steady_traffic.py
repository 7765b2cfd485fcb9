"""Clients who ask a service without a pause, and what each was answered: to see that nothing is lost while it changes.

Knows connections, threads and one retry. Does not know what answers should be.
"""

import http.client
import json
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

from infra.bench.served import Served

PAUSE_S = 0.5
"""Before a request is tried again: that of OpenAI's official client."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request."""

    began: float
    ended: float
    status: int
    """0: none came."""
    document: Mapping[str, Any]
    retried: bool = False
    """Whether this was the second try of a request that failed."""


@dataclass
class Traffic:
    """So many clients post one body, again and again, while the context is open. A request that fails is tried once
    more, over a new connection."""

    service: Served
    body: bytes
    clients: int
    answers: list[Answer] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(self.clients)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> list[Answer]:
        """Requests that were not answered 200."""
        return [one for one in self.answers if one.status != 200]

    def _ask(self) -> None:
        with closing(connect(self.service)) as connection:  # which opens itself again whenever it was closed
            while not self._over.is_set():
                self.answers.append(post(connection, self.service, self.body))
                if self.answers[-1].status != 200:
                    connection.close()
                    time.sleep(PAUSE_S)
                    self.answers.append(post(connection, self.service, self.body, retried=True))


def connect(service: Served) -> http.client.HTTPConnection:
    """A connection to a service."""
    where = urlsplit(service.url)
    return http.client.HTTPConnection(str(where.hostname), where.port, timeout=60)


def post(connection: http.client.HTTPConnection, service: Served, body: bytes, retried: bool = False) -> Answer:
    """Ask once."""
    began = time.monotonic()
    try:
        connection.request("POST", "/v1/analyze", body, {**service.headers, "content-type": "application/json"})
        answer = connection.getresponse()
        status, told = answer.status, answer.read()
        document = json.loads(told)
    except ValueError:
        return Answer(began, time.monotonic(), status, {"text": told.decode()}, retried)
    except (OSError, http.client.HTTPException) as error:
        return Answer(began, time.monotonic(), 0, {"error": repr(error)}, retried)
    return Answer(began, time.monotonic(), status, document, retried)
