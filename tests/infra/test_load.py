"""The load generator must not be kind to who stalls."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.bench.load import LoadSpec, put_load
from infra.bench.load_process import quantile

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
STALL_S, FROM_S = 1.0, 0.5


class Answers:
    """A small service that answers as it is told."""

    def __init__(self, answer: bytes, stalls: bool = False) -> None:
        self._answer, self._stalls = answer, stalls
        self._began: float | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clock = asyncio.get_running_loop().time
        while head := await _head(reader):
            self._began = self._began or clock()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            left_s = self._began + FROM_S + STALL_S - clock()
            if self._stalls and 0 < left_s < STALL_S:
                await asyncio.sleep(left_s)
            writer.write(self._answer)
        writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@contextmanager
def serving(answers: Answers) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(answers.serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        _end(loop, server.close)
        thread.join()
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, close: Callable[[], None]) -> None:
    async def end() -> None:
        close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(end(), loop).result()
    loop.call_soon_threadsafe(loop.stop)


@pytest.fixture
def pictures(tmp_path: Path) -> str:
    (tmp_path / "one.jpg").write_bytes(b"not looked at")
    return str(tmp_path)


def test_who_came_while_a_service_stalled_has_waited_since_then(pictures: str) -> None:
    with serving(Answers(OK, stalls=True)) as url:
        facts = put_load(LoadSpec(url=url, pictures=pictures, seconds=2, rate=100))
    assert facts.statuses == {"200": facts.asked}
    assert not facts.odd
    assert 140 < facts.asked < 260, "whatever the service does, they come"
    assert facts.p50 < facts.p95 <= facts.p99 <= facts.worst
    assert facts.p95 > 0.7 * STALL_S, "about half of them came while it stalled"
    assert facts.worst < STALL_S + 1


def test_clients_ask_again_when_they_are_answered(pictures: str) -> None:
    with serving(Answers(OK)) as url:
        facts = put_load(LoadSpec(url=url, pictures=pictures, seconds=1, warm_s=0.5, clients=3))
    assert facts.connections == 3
    assert facts.statuses == {"200": facts.asked}
    assert facts.good_rate == pytest.approx(facts.asked, rel=0.1)


@pytest.mark.parametrize(
    ("answer", "odd"),
    [
        (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "status 503"),
        (b"HTTP/1.1 429 No\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n", "status 429"),
        (
            b"HTTP/1.1 429 No\r\ncontent-length: 0\r\nretry-after: 1\r\ncontent-type: application/problem+json\r\n\r\n",
            "",
        ),
    ],
)
def test_what_is_no_answer_in_form_is_told(answer: bytes, odd: str, pictures: str) -> None:
    with serving(Answers(answer)) as url:
        facts = put_load(LoadSpec(url=url, pictures=pictures, seconds=0.5, rate=20))
    assert set(facts.odd) == ({odd} if odd else set())
    assert facts.good == 0


def test_quantiles_are_values_that_were_measured() -> None:
    assert quantile([], 0.99) == 0
    assert [quantile([1, 2, 3, 4], share) for share in (0.25, 0.5, 0.99, 1.0)] == [1, 2, 4, 4]
