"""A service of two replicas while releases change, replicas die, clients dawdle, and more comes than it can do."""

import asyncio
import base64
import http.client
import io
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from PIL import Image
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from assay.platform.batch import ImageBatch, Looked
from assay.platform.budget import Budget
from assay.platform.images import decode
from assay.platform.moderator import Moderator
from assay.platform.release import Release
from assay.platform.rows import ImageRef
from assay.registry.place import RegistrySpec
from assay.registry.registering import RegisterSpec, register
from infra.bench.load import LoadSpec, put_load
from infra.bench.memory import family, family_bytes
from infra.bench.served import Served, served
from tests.jobs.colour_releases import colour_release
from tests.serving.steady_traffic import PAUSE_S, Traffic, connect, post
from tests.small_registry import move

PROMOTIONS, KILLS = 20, 10
SWAP_S = 10.0
SLOW = 500
MIB = 2**20
KEPT = 50 * 10**6
"""Bytes that clients who dawdle or send a gigabyte may cost."""
BODY_S = 4.0
FLAGS = (
    *("--replicas.least", "2", "--replicas.most", "2", "--replicas.cpus", "0.5", "--replicas.decoders", "1"),
    *("--limits.body-s", str(BODY_S), "--limits.requests-at-once", "12", "--release", "models:/assay-release@champion"),
)


def picture(colour: str, size: tuple[int, int] = (160, 120)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "JPEG")
    return out.getvalue()


COLOURS = ("red", "blue", "green")
IMAGES = [{"data": base64.b64encode(picture(colour)).decode()} for colour in COLOURS]
BODY = json.dumps({"images": IMAGES}).encode()


@dataclass(frozen=True)
class Running:
    """A service and the registry it follows; `verdicts` of each release are the scores of the three pictures."""

    service: Served
    registry: RegistrySpec
    releases: list[Release]
    verdicts: dict[str, list[dict[str, float]]]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("load")
    registry = RegistrySpec(uri=f"sqlite:///{folder}/mlflow.db", cache=folder / "cache")
    releases = [
        colour_release(folder / "plain"),
        colour_release(folder / "turned", red="blue", blue="red"),
        colour_release(folder / "green", red="green", blue="red"),
        colour_release(folder / "other", red="blue", blue="green", dim=96),
    ]
    for number, release in enumerate(releases, start=1):
        assert register(release, RegisterSpec(registry=registry)).number == number
    move(registry, 1)
    flags = [*FLAGS, "--registry.uri", str(registry.uri), "--registry.cache", str(registry.cache)]
    with served(folder, flags) as service:
        wait_until(lambda: len(replicas(service)) == 2, 60)
        yield Running(service, registry, releases, {one.id: scores_under(one) for one in releases})


def scores_under(release: Release) -> list[dict[str, float]]:
    moderator = Moderator(release)
    looked = [
        Looked(ImageRef("", "", 0), decode(picture(one), release.preprocess, Budget()), bytes(32)) for one in COLOURS
    ]
    verdicts = moderator.judge(ImageBatch.of(0, looked, moderator.preprocess.size)).verdicts
    return [dict(one) for one in verdicts["scores"].to_pylist()]


def wait_until(done: Callable[[], bool], seconds: float) -> float:
    """Seconds it took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s"
        time.sleep(0.1)
    return time.monotonic() - began


def replicas(service: Served) -> dict[str, str]:
    """The release of each replica, as the service tells it."""
    found = re.findall(r'assay_release_info{.*?release="([^"]*)",replica="([^"]*)"', metrics_page(service))
    return {replica: release for release, replica in found}


def metrics_page(service: Served) -> str:
    """Asked again where the replica dies that was asked."""
    with requests.Session() as session:
        session.mount("http://", HTTPAdapter(max_retries=Retry(2, backoff_factor=PAUSE_S)))
        return session.get(f"{service.url}/metrics", headers=service.headers, timeout=60).text


def serves(service: Served, releases: list[str]) -> bool:
    return list(replicas(service).values()) == releases


def is_close(one: list[dict[str, float]], other: list[dict[str, float]]) -> bool:
    return all(
        left.keys() == right.keys() and all(abs(left[label] - right[label]) < 1e-4 for label in left)
        for left, right in zip(one, other, strict=True)
    )


def test_twenty_promotions_cost_no_request_and_mix_no_answer(running: Running) -> None:
    assert not any(is_close(one, other) for one, other in combinations(running.verdicts.values(), 2))
    took = []
    with Traffic(running.service, BODY, clients=4) as traffic:
        for number in range(PROMOTIONS):
            version = (number + 1) % len(running.releases) + 1
            move(running.registry, version)
            both = [running.releases[version - 1].id] * 2
            took.append(wait_until(partial(serves, running.service, both), SWAP_S))
    assert not traffic.failed, traffic.failed[:3]
    seen = {str(answer.document["release"]) for answer in traffic.answers}
    assert seen == set(running.verdicts), "each of them has answered"
    for answer in traffic.answers:
        scores = [image["scores"] for image in answer.document["images"]]
        assert is_close(scores, running.verdicts[answer.document["release"]]), answer.document
    print(f"{len(traffic.answers)} answers; all replicas after {max(took):.1f} s at most")


def test_slow_clients_and_gigabytes_cost_no_memory(running: Running) -> None:
    service = running.service
    with Traffic(service, BODY, clients=2) as traffic:
        time.sleep(2)
        before = family_bytes(service.process)
        ended, grown = asyncio.run(dawdle(service, before))
        told = [send_a_gigabyte(service, chunked) for chunked in (False, True)]
        grown = max(grown, family_bytes(service.process) - before)
    assert ended == SLOW, "a client who dawdles is let go"
    assert told == [413, 413]
    assert not traffic.failed, traffic.failed[:3]
    assert len(traffic.answers) > 20
    assert grown < KEPT, f"{grown / MIB:.0f} MiB"
    print(f"grown by {grown / MIB:.1f} MiB; {len(traffic.answers)} others answered")


async def dawdle(service: Served, before: int) -> tuple[int, int]:
    """Five hundred clients send heads and bodies byte by byte; how many were let go, and what they cost meanwhile."""
    where = urlsplit(service.url)
    head = f"POST /v1/analyze HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-type: image/jpeg\r\n"
    signed = f"authorization: Bearer {service.key}\r\ncontent-length: 100000\r\n\r\n"

    async def drip(number: int) -> bool:
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        if number % 2:
            writer.write((head + signed).encode())
        sent, until = (head + "x-slow: " + 10_000 * "a").encode(), time.monotonic() + 40
        answer = asyncio.create_task(reader.read(64))
        for at in range(len(sent)):
            writer.write(sent[at : at + 1])
            done, _ = await asyncio.wait([answer], timeout=0.5)
            if done or time.monotonic() > until:
                break
        writer.close()
        status = answer.result()[9:12] if answer.done() else b""
        return status == b"408"

    clients = [asyncio.create_task(drip(number)) for number in range(SLOW)]
    most = 0
    while not all(one.done() for one in clients):
        most = max(most, await asyncio.to_thread(family_bytes, service.process) - before)
        await asyncio.sleep(1)
    return sum([await one for one in clients]), most


def send_a_gigabyte(service: Served, chunked: bool) -> int:
    """The status it is answered with, however little of it was read."""
    with closing(connect(service)) as connection:
        return _send_a_gigabyte(connection, service, chunked)


def _send_a_gigabyte(connection: http.client.HTTPConnection, service: Served, chunked: bool) -> int:
    connection.putrequest("POST", "/v1/analyze")
    length = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(2**30)}
    for name, value in {**service.headers, "content-type": "image/jpeg", **length}.items():
        connection.putheader(name, value)
    connection.endheaders()
    part = bytes(2**16)
    try:
        for _ in range(2**14):
            connection.send(b"10000\r\n" + part + b"\r\n" if chunked else part)
    except OSError:  # it has said no, and hung up
        pass
    return connection.getresponse().status


def test_more_than_it_can_is_refused_in_form(running: Running, tmp_path: Path) -> None:
    (tmp_path / "one.jpg").write_bytes(picture("red", (1600, 1200)))
    service = running.service
    facts = put_load(LoadSpec(url=service.url, headers=service.headers, pictures=str(tmp_path), seconds=4, clients=64))
    assert not facts.odd
    assert facts.statuses.keys() == {"200", "429"}, facts.statuses
    assert facts.good > 20
    with closing(connect(service)) as connection:
        assert post(connection, service, BODY).status == 200
    print(facts.statuses)


def test_a_decoder_that_hangs_or_dies_costs_one_request(running: Running) -> None:
    service = running.service
    with Traffic(service, BODY, clients=2) as traffic:
        time.sleep(0.5)
        for number in (signal.SIGKILL, signal.SIGSTOP):
            for decoder in decoders(service):
                os.kill(decoder, number)
            time.sleep(1)
        wait_until(lambda: traffic.answers[-1].began > time.monotonic() - 1, 20)
    assert not traffic.failed, traffic.failed[:3]
    outcomes = [image["outcome"] for answer in traffic.answers for image in answer.document["images"]]
    assert set(outcomes) == {"ok"}, "each was tried once more in a new decoder"


def decoders(service: Served) -> list[int]:
    told = {process: Path(f"/proc/{process}/cmdline").read_bytes() for process in family(service.process)}
    return [process for process, title in told.items() if b"decoder_process" in title]


def test_ten_dead_replicas_cost_no_request_that_is_tried_again(running: Running) -> None:
    service, deaths = running.service, []
    with Traffic(service, BODY, clients=4) as traffic:
        seen = Seen(service)
        for number in range(KILLS):
            wait_until(partial(seen.are, 2 + number), 60)
            deaths.append(kill(service.replicas()[0]))
        wait_until(partial(seen.are, 2 + KILLS), 60)
    assert not [one for one in traffic.failed if one.retried], [one for one in traffic.failed if one.retried]
    for answer in traffic.failed:
        assert any(answer.began <= dead and answer.ended >= killed for killed, dead in deaths), (answer, deaths)
    print(f"{len(traffic.failed)} of {len(traffic.answers)} requests had to be tried again, of {KILLS} kills")


class Seen:
    """Replicas that have answered requests of clients, the dead ones among them."""

    def __init__(self, service: Served) -> None:
        self._service, self._names = service, set[str]()

    def are(self, count: int) -> bool:
        page = metrics_page(self._service)
        form = r'assay_requests_total{replica="([^"]*)",route="/v1/analyze",status="200"}'
        self._names |= set(re.findall(form, page))
        return len(self._names) == count


def kill(process: int) -> tuple[float, float]:
    """Kill it; when that was, and when the last of its threads, and its connections with it, was gone."""
    killed = time.monotonic()
    os.kill(process, signal.SIGKILL)
    while (tasks := Path(f"/proc/{process}/task")).is_dir() and (
        len(list(tasks.iterdir())) > 1 or not is_dead(process)
    ):
        time.sleep(0.001)
    return killed, time.monotonic()


def is_dead(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except OSError:
        return True
