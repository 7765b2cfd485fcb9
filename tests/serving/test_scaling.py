"""Replicas are added while there is more to do, and GPUs for them; logical ones, here."""

import threading
import time
from collections.abc import Iterator

import pytest
import requests

from infra.bench.served import Served, served
from tests.jobs.colour_releases import colour_release
from tests.service_double import GOLDEN

MORE_S = 6
"""Long enough for a third, were there a GPU for it."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One replica, that may become three, on a machine of two GPUs."""
    folder = tmp_path_factory.mktemp("scaling")
    release = colour_release(folder / "release")
    replicas = {"most": "3", "gpus": "1", "cpus": "0.5", "load": "1", "up-s": "1"}
    flags = ["--release", str(release.directory)]
    flags += [word for name, value in replicas.items() for word in (f"--replicas.{name}", value)]
    with served(folder, flags, {"RAY_OVERRIDE_RESOURCES": '{"CPU": 2, "GPU": 2}'}) as running:
        yield running


def test_replicas_are_added_under_load_while_there_are_gpus(service: Served) -> None:
    assert len(service.replicas()) == 1
    ended, failed = threading.Event(), list[int]()

    def ask() -> None:
        with requests.Session() as session:
            while not ended.is_set():
                files = [("image", ("golden.jpg", GOLDEN.read_bytes()))] * 4
                answer = session.post(f"{service.url}/v1/analyze", files=files, headers=service.headers, timeout=60)
                if answer.status_code != 200:
                    failed.append(answer.status_code)

    clients = [threading.Thread(target=ask) for _ in range(6)]
    for client in clients:
        client.start()
    try:
        until = time.monotonic() + 90
        while len(service.replicas()) < 2 and time.monotonic() < until:
            time.sleep(0.5)
        time.sleep(MORE_S)
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert len(service.replicas()) == 2
    assert failed == []
