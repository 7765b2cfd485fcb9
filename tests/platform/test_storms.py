"""Fetching through storms: what passes is asked again, what does not is a fault, and all wait together."""

import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from assay.platform.errors import CredentialsError, StorageError
from assay.platform.faults import Fault, FaultKind
from assay.platform.fetch import fetch
from assay.platform.listing import list_objects
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.fault_proxy import FaultOf, FaultProxy, fault_proxy
from tests.platform.fetched import BUDGET, kind_of
from tests.storage_doubles import Answer, told_server

PICTURE = os.urandom(BUDGET)


@pytest.fixture(scope="module")
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with fault_proxy(s3.endpoint, scripted=re.compile(r"\.jpg$")) as proxy:
        yield proxy


@pytest.fixture
def picture(s3: S3Server, s3_place: str) -> ImageRef:
    s3.put(f"{s3_place}/a b.jpg", PICTURE)
    return next(ref for ref in list_objects(s3.storage, s3_place) if ref.uri.endswith("/a b.jpg"))


def through(s3: S3Server, proxy: FaultProxy, **fields: object) -> Storage:
    proxy.script.clear()
    quick = {"endpoint": proxy.endpoint, "poll_s": 0.1, **fields}
    return Storage(s3.spec().model_copy(update=quick))


PASSING = [*FaultOf]
PASSING.remove(FaultOf.EXPIRED)


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(s3: S3Server, proxy: FaultProxy, picture: ImageRef, fault: FaultOf) -> None:
    storage = through(s3, proxy, grace_s=0.2, least_bytes_per_s=10_000)  # a picture at 1 KB/s takes a second
    proxy.script.extend([fault, fault])
    before, met = proxy.requests["GET"], proxy.faults[fault]
    assert fetch(storage, picture, BUDGET) == PICTURE
    assert proxy.faults[fault] - met == 2
    assert proxy.requests["GET"] - before == 3, "two tries in vain, one that did it"


@pytest.mark.parametrize(
    ("fault", "kind", "tries"),
    [
        (FaultOf.INTERNAL, FaultKind.UNREACHABLE, 4),
        (FaultOf.RESET, FaultKind.UNREACHABLE, 4),
        (FaultOf.TRUNCATED, FaultKind.UNREACHABLE, 4),
        (FaultOf.FLIPPED, FaultKind.UNREACHABLE, 4),
        (FaultOf.DENIED, FaultKind.FORBIDDEN, 5),
    ],
)
def test_what_does_not_pass_is_a_fault_in_the_end(
    s3: S3Server, proxy: FaultProxy, picture: ImageRef, fault: FaultOf, kind: FaultKind, tries: int
) -> None:
    """The object alone fails: that the store is well is asked of something else."""
    storage = through(s3, proxy, retries=tries + (fault is FaultOf.DENIED))
    proxy.script.extend([fault] * 20)
    met = proxy.faults[fault]
    found = fetch(storage, picture, BUDGET)
    assert kind_of(found) is kind
    assert proxy.faults[fault] - met >= tries  # aiohttp asks once more by itself when a kept connection was reset
    assert storage.retried.total() == tries
    assert not storage.patience.pauses


def test_a_clock_that_is_off(s3: S3Server, proxy: FaultProxy, picture: ImageRef) -> None:
    storage = through(s3, proxy)
    proxy.script.extend([FaultOf.SKEWED] * 20)
    met = proxy.faults[FaultOf.SKEWED]
    with pytest.raises(CredentialsError, match="set the clock"):
        fetch(storage, picture, BUDGET)
    assert proxy.faults[FaultOf.SKEWED] - met == 3


@pytest.mark.parametrize(("change", "kind"), [("changed", FaultKind.CHANGED), ("gone", FaultKind.GONE)])
def test_what_is_final_is_not_asked_again(
    s3: S3Server, proxy: FaultProxy, s3_place: str, change: str, kind: FaultKind
) -> None:
    uri = f"{s3_place}/final/{change}.jpg"
    s3.put(uri, PICTURE)
    [ref] = [ref for ref in list_objects(s3.storage, s3_place) if ref.uri == uri]
    if change == "gone":
        s3.storage.remove(uri)
    else:
        s3.put(uri, b"another")
    storage, before = through(s3, proxy), proxy.requests["GET"]
    assert kind_of(fetch(storage, ref, BUDGET)) is kind
    assert proxy.requests["GET"] - before == 1


def test_a_store_that_was_never_there(picture: ImageRef) -> None:
    with told_server(Answer(200)) as told:
        storage = told.storage()
    with pytest.raises(StorageError, match="cannot reach"):
        fetch(storage, picture, BUDGET)


def test_a_store_that_fails_for_all_is_no_fault_of_one(picture: ImageRef) -> None:
    with told_server(Answer.error(500, "InternalError")) as told, pytest.raises(StorageError) as refusal:
        fetch(told.storage(), picture, BUDGET)
    assert refusal.value.where == picture.uri


@pytest.mark.parametrize("how", ["resets", "500", "expired"])
def test_everyone_waits_together_while_the_store_is_away(
    s3: S3Server, proxy: FaultProxy, picture: ImageRef, how: str
) -> None:
    """Eight threads are refused; one of them asks now and then, and nothing becomes a fault."""
    storage = through(s3, proxy, retries=3, poll_s=0.25)
    assert fetch(storage, picture, BUDGET) == PICTURE, "it works before"
    before, scripted, proxy.scripted = len(proxy.asked), proxy.scripted, re.compile("")
    if how == "resets":
        timer = proxy.go_away_for(3)
    else:
        timer = proxy.expire_for(3, FaultOf.EXPIRED if how == "expired" else FaultOf.INTERNAL)
    seen: list[float | None] = []
    watch = threading.Timer(2, lambda: seen.append(storage.patience.paused_since))
    watch.start()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: fetch(storage, picture, BUDGET), range(8)))
    timer.join()
    watch.join()
    proxy.scripted = scripted
    assert found == [PICTURE] * 8
    assert storage.patience.paused_since is None
    [paused_since] = seen
    assert paused_since is not None
    assert abs(time.time() - paused_since) < 60
    # Each thread's own tries (a reset of a kept connection counts double), then one poll each quarter of a second.
    assert len(proxy.asked) - before <= 8 * 3 * 2 + 8 + 2 * 3 / 0.25 + 8


def test_threads_keep_their_connections(s3: S3Server, proxy: FaultProxy, picture: ImageRef) -> None:
    storage, threads, images = through(s3, proxy), 8, 200
    opened, asked = proxy.connections, len(proxy.asked)
    with ThreadPoolExecutor(threads) as pool:
        assert set(pool.map(lambda _: fetch(storage, picture, BUDGET), range(images))) == {PICTURE}
    print(f"{images} images, {threads} threads: {proxy.connections - opened} connections")
    assert proxy.connections - opened <= threads
    assert len(proxy.asked) - asked == images


@pytest.mark.parametrize("retries", [1, 10])
def test_a_storm(s3: S3Server, picture: ImageRef, retries: int) -> None:
    """At 15 % faults of all kinds many images are lost without further tries, and none with them."""
    images = 100
    with fault_proxy(s3.endpoint, rate=0.15, seed=7) as stormy:
        storage = through(s3, stormy, retries=retries)
        with ThreadPoolExecutor(16) as pool:
            found = list(pool.map(lambda _: _outcome(storage, picture), range(images)))
        met = {fault.value: count for fault, count in stormy.faults.items()}
    print(f"{retries} tries: {found.count(True)} of {images} whole; {met}")
    assert False not in found, "altered bytes were taken"
    assert (found.count(True) == images) == (retries == 10)


def _outcome(storage: Storage, ref: ImageRef) -> bool | None:
    """Whether the right bytes came; None for none."""
    try:
        found = fetch(storage, ref, BUDGET)
    except StorageError:  # with one try a second fault in a row passes for a store that is away
        return None
    return None if isinstance(found, Fault) else found == PICTURE
