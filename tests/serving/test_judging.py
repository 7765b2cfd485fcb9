"""A batch of many requests' images: each is judged under its own release and policy, whoever stands beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.platform.faults import Fault
from assay.serving.champion import Champion
from assay.serving.judging import Item, judge_items
from assay.serving.proof import look
from assay.serving.serve_args import ServeArgs
from assay.serving.swapping import take_on
from assay.serving.watcher import pin_directory
from tests.jobs.colour_releases import colour_release
from tests.service_double import machine, new_key

Paint = Callable[[str], bytes]
COLOURS = ("red", "blue", "white")
LABEL = {"red": ["red_things"], "blue": ["blue_things"], "white": []}


@pytest.fixture(scope="module")
def champions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Champion]]:
    """Two of one encoder, one of which takes blue for red, and one of another encoder."""
    folder, found = tmp_path_factory.mktemp("champions"), dict[str, Champion]()
    made = {
        "first": colour_release(folder / "first"),
        "swapped": colour_release(folder / "swapped", red="blue", blue="red"),
        "wide": colour_release(folder / "wide", dim=128),
    }
    before = None
    for name, release in made.items():
        before = found[name] = take_on(pin_directory(release), machine(ServeArgs(keys=(new_key()[1],))), (), before)
    yield found
    for champion in found.values():
        champion.guard.close()


@pytest.fixture(scope="module")
def make(champions: dict[str, Champion], picture: Paint) -> Callable[[str, str, str], Item]:
    """An item; each picture is decoded once."""
    seen = {colour: picture(colour) for colour in COLOURS} | {"bad": b"no picture"}

    def item(name: str, colour: str, policy: str) -> Item:
        return Item(look(champions[name], seen[colour]), champions[name], policy)

    return item


ONE = st.tuples(
    st.sampled_from(["first", "swapped", "wide"]),
    st.sampled_from([*COLOURS, "bad"]),
    st.sampled_from(["plain", "firm"]),
)


@settings(max_examples=40, deadline=None)
@given(wanted=st.lists(ONE, min_size=1, max_size=12))
def test_every_item_has_its_own_verdict(
    make: Callable[[str, str, str], Item], wanted: list[tuple[str, str, str]]
) -> None:
    items = [make(*one) for one in wanted]
    judged, seen = judge_items(items)
    assert sum(one.verdicts.num_rows for one in seen) == len(judged) == len(items)
    for (name, colour, policy), item, one in zip(wanted, items, judged, strict=True):
        verdict = one.verdict
        assert (verdict["release"], verdict["policy"]) == (item.champion.release.id, policy)
        if colour == "bad":
            assert (verdict["outcome"], verdict["action"]) == ("UNSUPPORTED_FORMAT", "review")
            continue
        other = {"red": "blue", "blue": "red", "white": "white"}
        expected = LABEL[other[colour] if name == "swapped" else colour]
        assert [finding["label"] for finding in verdict["findings"]] == expected


def test_a_fault_takes_a_place_of_one(make: Callable[[str, str, str], Item]) -> None:
    item = make("first", "bad", "plain")
    assert isinstance(item.looked.seen, Fault)
    assert item.views == 1


def test_the_champions_share_what_is_the_same(champions: dict[str, Champion], tmp_path: Path) -> None:
    first, swapped, wide = (champions[name] for name in ("first", "swapped", "wide"))
    assert first.moderator(None).encoder is swapped.moderator(None).encoder
    assert first.moderator("plain").encoder is first.moderator("firm").encoder
    assert wide.moderator(None).encoder is not first.moderator(None).encoder
