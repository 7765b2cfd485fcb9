"""How batches form before a device."""

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from assay.serving.batcher import Batcher
from assay.serving.judging import Item, Judged
from assay.serving.limits import BatchSpec


class Device:
    """Answers with what it was given; counts batches, and can be held up."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def judge(self, items: list[Item]) -> list[Judged]:
        names = [str(item.policy) for item in items]
        self.batches.append(names)
        await self.free.wait()
        if "bad" in names:
            raise RuntimeError("a device that broke")
        return [Judged({}, {"name": name}) for name in names]


def item(name: str, views: int = 1) -> Item:
    return cast(Item, SimpleNamespace(policy=name, views=views))


def names(judged: list[Judged]) -> list[str]:
    return [one.verdict["name"] for one in judged]


async def ask(batcher: Batcher, *items: Item) -> list[asyncio.Task[Judged]]:
    """Tasks that are in the queue when this returns."""
    tasks = [asyncio.ensure_future(batcher.judge(one)) for one in items]
    await asyncio.sleep(0)
    return tasks


def run(test: Callable[[Device], Coroutine[Any, Any, None]]) -> None:
    async def within() -> None:
        async with asyncio.timeout(5):
            await test(Device())

    asyncio.run(within())


def test_what_comes_while_the_device_is_busy_is_one_batch() -> None:
    async def test(device: Device) -> None:
        batcher = Batcher(BatchSpec(views=4, wait_s=0), device.judge, lambda: 99)
        device.free.clear()
        first = await ask(batcher, item("first"))
        await asyncio.sleep(0.01)
        others = await ask(batcher, *(item(f"{number}") for number in range(6)))
        await asyncio.sleep(0.05)  # far longer than anybody is waited for
        device.free.set()
        assert names(await asyncio.gather(*first, *others)) == ["first", *"012345"]
        assert device.batches == [["first"], [*"0123"], [*"45"]]

    run(test)


def test_nobody_is_waited_for_who_is_not_on_the_way() -> None:
    async def test(device: Device) -> None:
        batcher = Batcher(BatchSpec(views=4, wait_s=1), device.judge, lambda: 1)
        began = asyncio.get_running_loop().time()
        await batcher.judge(item("alone"))
        assert asyncio.get_running_loop().time() - began < 0.5

    run(test)


def test_who_is_on_the_way_is_waited_for() -> None:
    async def test(device: Device) -> None:
        batcher = Batcher(BatchSpec(views=4, wait_s=1), device.judge, lambda: 2)
        first = await ask(batcher, item("first"))
        await asyncio.sleep(0.01)
        second = await ask(batcher, item("second"))
        await asyncio.gather(*first, *second)
        assert device.batches == [["first", "second"]]

    run(test)


def test_an_image_of_more_views_than_fit_goes_alone() -> None:
    async def test(device: Device) -> None:
        batcher = Batcher(BatchSpec(views=4, wait_s=0.01), device.judge, lambda: 99)
        tasks = await ask(batcher, item("still"), item("film", views=9), item("last"))
        await asyncio.gather(*tasks)
        assert device.batches == [["still"], ["film"], ["last"]]

    run(test)


def test_a_batch_that_fails_is_told_to_those_in_it_and_the_next_is_judged() -> None:
    async def test(device: Device) -> None:
        batcher = Batcher(BatchSpec(views=2, wait_s=0.01), device.judge, lambda: 99)
        tasks = await ask(batcher, item("one"), item("bad"), item("three"))
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in found] == [RuntimeError, RuntimeError, Judged]
        batcher.check()

    run(test)


def test_who_has_left_is_not_judged() -> None:
    async def test(device: Device) -> None:
        batcher = Batcher(BatchSpec(views=4, wait_s=0.05), device.judge, lambda: 99)
        stays, leaves = await ask(batcher, item("stays"), item("leaves"))
        leaves.cancel()
        await stays
        assert device.batches == [["stays"]]

    run(test)


def test_an_end_is_no_health() -> None:
    async def test(device: Device) -> None:
        batcher = Batcher(BatchSpec(), device.judge, lambda: 99)
        batcher.check()
        batcher.close()
        await asyncio.sleep(0.01)
        with pytest.raises(asyncio.CancelledError):
            batcher.check()

    run(test)
