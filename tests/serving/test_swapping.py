"""A replica takes on what is ordered: loads it beside the champion, proves it, and only then answers under it."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.platform.errors import AssayError
from assay.platform.hash_encoder import HashEncoder
from assay.platform.policy import Action
from assay.platform.release import Release
from assay.serving.judging import judge_items
from assay.serving.orders import Orders, Pin
from assay.serving.proof import GoldenImage
from assay.serving.serve_args import ServeArgs
from assay.serving.swapping import Swapper, take_on
from assay.serving.watcher import pin_directory
from tests.jobs.colour_releases import colour_release
from tests.service_double import Double, machine, new_key, service_double

Paint = Callable[[str], bytes]
RAW = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Release]:
    """Of one encoder: `first`, and `swapped` that takes blue for red. Of another: `wide`."""
    folder = tmp_path_factory.mktemp("releases")
    return {
        "first": colour_release(folder / "first"),
        "swapped": colour_release(folder / "swapped", red="blue", blue="red"),
        "wide": colour_release(folder / "wide", dim=128),
    }


def follow(running: Double, *orders: Orders, golden: Any = ()) -> Swapper:
    """Follow orders, one after the other, each to its end."""

    async def all_of_them() -> Swapper:
        swapper = Swapper(running.service, machine(running.service.args), golden, "me")
        for one in orders:
            swapper.follow(one)
            assert swapper._loading is not None
            await swapper._loading
        return swapper

    return asyncio.run(all_of_them())


def labels(running: Double, data: bytes) -> tuple[str, list[str]]:
    """Which release answers, and what it finds."""
    told = running.client.post("/v1/analyze", content=data, headers=RAW).json()
    return told["release"], [one["label"] for one in told["images"][0]["findings"]]


def test_a_library_is_swapped_with_the_encoder_and_the_decoders_of_before(
    releases: dict[str, Release], picture: Paint
) -> None:
    with service_double(releases["first"]) as running:
        before = running.service.standing.champion
        assert labels(running, picture("red"))[1] == ["red_things"]
        follow(running, Orders(pin_directory(releases["swapped"])))
        after = running.service.standing.champion
        assert labels(running, picture("red")) == (releases["swapped"].id, ["blue_things"])
        assert after.guard is before.guard
        assert after.moderator("plain").encoder is before.moderator("plain").encoder


def test_another_encoder_waits_for_its_turn(releases: dict[str, Release], picture: Paint) -> None:
    with service_double(releases["first"]) as running:
        pin = pin_directory(releases["wide"])
        swapper = follow(running, Orders(pin))
        assert swapper.report().waits
        assert labels(running, picture("red"))[0] == releases["first"].id
        swapper = follow(running, Orders(pin, may_load=True))
        assert not swapper.report().waits
        assert labels(running, picture("red")) == (releases["wide"].id, ["red_things"])
        running.service.standing.champion.guard.close()


def test_a_request_keeps_the_release_it_was_admitted_under(releases: dict[str, Release], picture: Paint) -> None:
    with service_double(releases["first"]) as running:
        service, judge = running.service, running.service._judge
        other = take_on(pin_directory(releases["swapped"]), machine(service.args), (), service.standing.champion)

        async def promoted_meanwhile(item: Any) -> Any:
            service.crown(other)
            return await judge(item)

        service._judge = promoted_meanwhile
        files = [("image", (str(at), picture(colour))) for at, colour in enumerate(["red", "blue"] * 4)]
        told = running.client.post("/v1/analyze", files=files).json()
        assert told["release"] == releases["first"].id
        found = [one["findings"][0]["label"] for one in told["images"]]
        assert found == ["red_things", "blue_things"] * 4


def broken(release: Release, folder: Path) -> Pin:
    """A release whose vectors were damaged after it was pinned."""
    shutil.copytree(release.directory, folder)
    pin = pin_directory(Release.load(folder))
    (folder / "vectors.safetensors").write_bytes(b"no vectors")
    return pin


def test_a_release_that_cannot_be_loaded_leaves_the_old_one(
    releases: dict[str, Release], picture: Paint, tmp_path: Path
) -> None:
    with service_double(releases["first"]) as running:
        pin = broken(releases["swapped"], tmp_path / "broken")
        follow(running, Orders(pin, may_load=True))
        assert labels(running, picture("red")) == (releases["first"].id, ["red_things"])
        ready = running.client.get("/readyz")
        assert (ready.status_code, ready.json()["degraded"]) == (200, True)
        told = running.client.get("/v1/releases").json()
        assert "vectors.safetensors" in told["degraded"][0]
        assert "assay_degraded" in (page := running.client.get("/metrics").text)
        assert 'assay_swaps_total{replica="one",result="failed"} 1.0' in page
        follow(running, Orders(pin_directory(releases["swapped"])))
        assert running.client.get("/readyz").json()["degraded"] is False


def test_whatever_a_release_makes_libraries_raise_costs_that_release_only(
    releases: dict[str, Release], picture: Paint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("no such kernel")

    with service_double(releases["first"]) as running:
        monkeypatch.setattr("assay.serving.swapping.prove", fail)
        follow(running, Orders(pin_directory(releases["swapped"])))
        assert labels(running, picture("red")) == (releases["first"].id, ["red_things"])
        assert "no such kernel" in running.client.get("/v1/releases").json()["degraded"][0]


def test_a_release_that_gets_a_golden_image_wrong_is_not_taken_on(releases: dict[str, Release], picture: Paint) -> None:
    golden = [(GoldenImage(uri="red.png", action=Action.REVIEW, policy="plain"), picture("red"))]
    args = ServeArgs(keys=(new_key()[1],))
    pale = colour_release(releases["first"].directory.parent / "pale", red="green")
    take_on(pin_directory(releases["first"]), machine(args), golden).guard.close()
    with pytest.raises(AssayError, match="judged otherwise") as refused:
        take_on(pin_directory(pale), machine(args), golden)
    assert "must be review" in refused.value.why


@pytest.mark.parametrize("fault", ["nan", "neighbour"])
def test_an_encoder_that_does_not_work_here_is_not_taken_on(
    releases: dict[str, Release], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = HashEncoder.encode_images

    def wrong(self: HashEncoder, pixels: Any) -> Any:
        found = right(self, pixels)
        if fault == "nan":
            return np.full_like(found, np.nan)
        return np.roll(found, 1, axis=0)

    monkeypatch.setattr(HashEncoder, "encode_images", wrong)
    with pytest.raises(AssayError, match="does not work on this machine"):
        take_on(pin_directory(releases["first"]), machine(ServeArgs(keys=(new_key()[1],))), ())


def test_a_challenger_judges_in_the_shadow_and_answers_nobody(releases: dict[str, Release], picture: Paint) -> None:
    with service_double(releases["first"]) as running:
        pale = colour_release(releases["first"].directory.parent / "paler", red="green")
        swapper = follow(running, Orders(pin_directory(releases["first"]), challenger=pin_directory(pale)))
        challenger = swapper.challenger
        assert challenger is not None
        for colour in ("red", "white", "blue"):
            assert labels(running, picture(colour))[0] == releases["first"].id
        _, seen = judge_items(running.items)
        (line,) = [line for one in seen for line in challenger.shadow(one, running.service.gate.metrics)]
        assert (line["labels"], line["policy"]) == (["red_things"], "plain")
        assert line["champion"] == {"release": releases["first"].id, "action": "review"}
        assert line["challenger"] == {"release": pale.id, "action": "pass"}
        page = running.client.get("/metrics").text
        assert 'assay_shadow_images_total{policy="plain",replica="one"} 3.0' in page
        difference = 'challenger="pass",champion="review",policy="plain",replica="one"'
        assert f"assay_shadow_differences_total{{{difference}}} 1.0" in page


def test_a_challenger_judges_no_embedding_of_another_encoder(releases: dict[str, Release], picture: Paint) -> None:
    with service_double(releases["first"]) as running:
        pale = colour_release(releases["first"].directory.parent / "palest", red="green")
        swapper = follow(running, Orders(pin_directory(releases["first"]), challenger=pin_directory(pale)))
        assert swapper.challenger is not None
        follow(running, Orders(pin_directory(releases["wide"]), may_load=True))
        labels(running, picture("red"))
        _, seen = judge_items(running.items[-1:])
        assert list(swapper.challenger.shadow(seen[0], running.service.gate.metrics)) == []
        running.service.standing.champion.guard.close()


def test_a_challenger_of_another_encoder_is_not_shadowed_and_that_is_told(releases: dict[str, Release]) -> None:
    with service_double(releases["first"]) as running:
        orders = Orders(pin_directory(releases["first"]), challenger=pin_directory(releases["wide"]))
        assert follow(running, orders).challenger is None
        told = running.client.get("/v1/releases").json()["releases"]
        assert [one["role"] for one in told] == ["champion", "challenger"]
