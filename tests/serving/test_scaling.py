"""Replicas are added while there is more to do, each with its GPU; logical ones, here."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from infra.bench.served import Served, served
from tests.jobs.colour_releases import colour_release
from tests.service_double import GOLDEN


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One replica, that may become two on a machine of two GPUs."""
    folder = tmp_path_factory.mktemp("scaling")
    release = colour_release(folder / "release")
    replicas = {"most": "2", "gpus": "1", "cpus": "0.5", "load": "1", "up-s": "1"}
    flags = ["--release", str(release.directory)]
    flags += [word for name, value in replicas.items() for word in (f"--replicas.{name}", value)]
    with served(folder, flags, {"RAY_OVERRIDE_RESOURCES": '{"CPU": 2, "GPU": 2}'}) as running:
        yield running


def test_a_replica_is_added_under_load(service: Served) -> None:
    assert len(service.replicas()) == 1
    ended, failed = threading.Event(), list[int]()

    def ask() -> None:
        with requests.Session() as session:
            while not ended.is_set():
                files = [("image", ("golden.jpg", GOLDEN.read_bytes()))] * 8
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
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert len(service.replicas()) == 2
    assert failed == []


def test_each_replica_has_a_gpu_of_its_own(service: Served) -> None:
    seen = set()
    for process in service.replicas():
        variables = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
        seen |= {one for one in variables if one.startswith(b"CUDA_VISIBLE_DEVICES=")}
    assert len(service.replicas()) == 2 or seen
