from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.jobs.generation import generations
from assay.jobs.manifest import Shard, ShardSpec, read_shards
from assay.jobs.plan import PlanFacts, PlanSpec, plan
from assay.jobs.store import Store
from assay.platform.errors import BucketError, CommitError, ManifestError, SpecError, StorageError, StoreVersionError
from assay.platform.rows import ImageRef
from assay.platform.storage import Storage
from tests.conftest import S3Server
from tests.storage_doubles import FakeBucket, StorageOf
from tests.store_doubles import observe, tree

SMALL = PlanSpec(shard=ShardSpec(images=2))
Listing = Sequence[tuple[str, str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes every source a given listing of (key, etag); `meanwhile` happens before the last one is read."""

    def become(listing: Listing, meanwhile: Callable[[], object] = lambda: None) -> None:
        def read(*_: object) -> Iterator[ImageRef]:
            for number, (key, etag) in enumerate(sorted(listing)):
                if number == len(listing) - 1:
                    meanwhile()
                yield ImageRef(f"s3://b/{key}", etag, 10)

        monkeypatch.setattr("assay.jobs.plan.read_source", read)

    return become


def planned(place: Path, spec: PlanSpec = SMALL) -> PlanFacts:
    return plan(Store.attach(Storage(), str(place)), "s3://b", spec)


def all_shards(place: Path) -> list[Shard]:
    store = Store.open(Storage(), str(place))
    known = generations(store)
    return [shard for one in known for shard in read_shards(store, one, set(range(known[-1].next_shard)))]


def identities(shards: Sequence[Shard]) -> list[tuple[str, str]]:
    return [(ref.uri.removeprefix("s3://b/"), ref.etag) for shard in shards for ref in shard.refs]


CORPORA = st.lists(
    st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("123"), min_size=1, max_size=8).map(
        lambda corpus: list(corpus.items())
    ),
    min_size=1,
    max_size=5,
)


def test_a_manifest_only_ever_grows(lists: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever becomes of a bucket: each (uri, etag) ever listed is in one shard, once; shards never shift."""

    @settings(derandomize=True, max_examples=25, deadline=None)
    @given(CORPORA, st.integers(1, 3))
    def check(corpora: list[Listing], images: int) -> None:
        place = tmp_path_factory.mktemp("law") / "store"
        ever: set[tuple[str, str]] = set()
        before: list[Shard] = []
        for corpus in corpora:
            lists(corpus)
            files = tree(place)
            facts = planned(place, PlanSpec(shard=ShardSpec(images=images)))
            new = set(corpus) - ever
            ever |= new
            assert (facts.images, facts.new_images) == (len(corpus), len(new))
            assert facts.bytes == 10 * len(corpus)
            assert (facts.generation is None) == (not new)
            if not new:
                assert tree(place) == files
            shards = all_shards(place)
            assert shards[: len(before)] == before
            assert len(shards) - len(before) == facts.new_shards
            assert [shard.number for shard in shards] == list(range(len(shards)))
            assert sorted(identities(shards)) == sorted(ever)
            before = shards

    check()


def test_an_etag_that_comes_back(place: Path, lists: Callable[..., None]) -> None:
    """A, B, A: what was seen of A is known still."""
    for etag, generation in (("A", 0), ("B", 1), ("A", None), ("B", None), ("C", 2)):
        lists([("x", etag), ("y", "same")])
        assert planned(place).generation == generation
    assert identities(all_shards(place)) == [("x", "A"), ("y", "same"), ("x", "B"), ("x", "C")]


def test_deleted_objects_stay_known(place: Path, lists: Callable[..., None]) -> None:
    lists([("a", "1"), ("b", "1"), ("c", "1")])
    planned(place)
    lists([("b", "1")])
    assert planned(place).images == 1
    lists([("a", "1"), ("b", "1"), ("c", "1")])
    assert planned(place).generation is None


def test_what_is_done_is_counted_by_the_listing(place: Path, lists: Callable[..., None]) -> None:
    lists([(key, "1") for key in "abcde"])
    facts = planned(place)
    assert (facts.already_done, facts.new_shards) == (0, 3)
    store = Store.open(Storage(), str(place))
    store.observations.create()
    observe(store, 1, all_shards(place)[1].refs)
    assert planned(place).already_done == 2
    lists([("a", "1"), ("c", "2"), ("d", "1")])  # c was done with another etag
    facts = planned(place)
    assert (facts.images, facts.new_images, facts.already_done) == (3, 1, 1)


def test_a_folder_grows_and_changes(tmp_path: Path, place: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("b", "a", "c"):
        (source / name).write_bytes(b"1")
    store = Store.attach(Storage(), str(place))
    facts = plan(store, str(source), SMALL)
    assert (facts.images, facts.bytes, facts.new_shards, facts.generation) == (3, 3, 2, 0)
    assert plan(Store.open(Storage(), str(place)), str(source), SMALL).generation is None
    (source / "d").write_bytes(b"22")
    (source / "b").write_bytes(b"333")
    facts = plan(Store.open(Storage(), str(place)), str(source), SMALL)
    assert (facts.images, facts.new_images, facts.new_shards, facts.generation) == (4, 2, 1, 1)
    last = generations(store)[-1]
    assert (last.first_shard, last.images, last.bytes, last.listed) == (2, 2, 5, 4)
    [shard] = read_shards(store, last, {2})
    assert [ref.uri.rpartition("/")[2] for ref in shard.refs] == ["b", "d"]


def test_a_bucket_grows_and_changes(s3: S3Server, s3_place: str) -> None:
    source, where = f"{s3_place}/in/", f"{s3_place}/store"
    for key in ("b c", "a\n", "d/é"):
        s3.put(f"{source}{key}", b"1")
    assert plan(Store.attach(s3.storage, where), source, SMALL).new_images == 3
    assert plan(Store.open(s3.storage, where), source, SMALL).generation is None
    s3.put(f"{source}b c", b"2")
    facts = plan(Store.open(s3.storage, where), source, SMALL)
    assert (facts.new_images, facts.generation) == (1, 1)


def test_progress_is_told(place: Path, lists: Callable[..., None]) -> None:
    told: list[tuple[int, int]] = []
    lists([(f"{number:05d}", "1") for number in range(2500)])
    plan(Store.attach(Storage(), str(place)), "s3://b", PlanSpec(), lambda images, size: told.append((images, size)))
    assert told == [(1000, 10_000), (2000, 20_000), (2500, 25_000)]


# Nothing is left behind


def empty_folder(tmp_path: Path) -> str:
    (tmp_path / "source").mkdir()
    return str(tmp_path / "source")


def unwanted_folder(tmp_path: Path) -> str:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "x.unwanted").write_bytes(b"1")
    return str(tmp_path / "source")


def empty_list(tmp_path: Path) -> str:
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    return str(tmp_path / "list.txt")


def twins(tmp_path: Path) -> str:
    (tmp_path / "list.txt").write_text("/a\n/b\n/a")
    return str(tmp_path / "list.txt")


def other_scheme(tmp_path: Path) -> str:
    return "gs://bucket"


@pytest.mark.parametrize("source", [empty_folder, unwanted_folder, empty_list, twins, other_scheme])
@pytest.mark.parametrize("known", [False, True])
def test_a_bad_source_leaves_no_trace(tmp_path: Path, place: Path, source: Callable[[Path], str], known: bool) -> None:
    if known:
        Store.attach(Storage(), str(place)).establish()
    before = tree(place)
    spec = PlanSpec(exclude=("*.unwanted",))
    with pytest.raises(SpecError) as refusal:
        plan(Store.attach(Storage(), str(place)), source(tmp_path), spec)
    assert refusal.value.exit_code == 2
    assert refusal.value.fix
    assert tree(place) == before
    assert place.exists() == known


def test_an_empty_source_says_so(tmp_path: Path, place: Path) -> None:
    with pytest.raises(ManifestError, match="empty") as refusal:
        plan(Store.attach(Storage(), str(place)), empty_folder(tmp_path), SMALL)
    assert refusal.value.where == str(tmp_path / "source")


def test_a_missing_source_leaves_no_trace(tmp_path: Path, place: Path, s3: S3Server) -> None:
    with pytest.raises(BucketError):
        plan(Store.attach(Storage(), str(place)), str(tmp_path / "nothing"), SMALL)
    with pytest.raises(BucketError):
        plan(Store.attach(s3.storage, str(place)), "s3://never-made/x", SMALL)
    assert not place.exists()


def test_an_empty_source_that_was_full_is_an_error_still(place: Path, lists: Callable[..., None]) -> None:
    """A wrong mount looks like this; nothing that is known is touched."""
    lists([("a", "1")])
    planned(place)
    before = tree(place)
    lists([])
    with pytest.raises(ManifestError, match="empty"):
        planned(place)
    assert tree(place) == before


def test_a_listing_that_breaks_leaves_no_parts(place: Path) -> None:
    keys = [f"{folder}/{number}" for folder in "abcd" for number in range(9)]
    for at in range(2, 12):
        storage = StorageOf(FakeBucket(keys, page=4, fail_at=at))
        with pytest.raises(StorageError, match="as told"):
            plan(Store.attach(storage, str(place)), "s3://bucket", SMALL)
        assert not [name for name in tree(place) if name.startswith("manifests/")]
        assert list(place.glob("manifests/*")) == []
    storage = StorageOf(FakeBucket(keys, page=4))
    assert plan(Store.attach(storage, str(place)), "s3://bucket", SMALL).new_images == len(keys)
    assert len(identities(all_shards(place))) == len(keys)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
def test_other_ends_leave_no_parts_either(place: Path, lists: Callable[..., None], stop: type[BaseException]) -> None:
    def end() -> None:
        raise stop

    lists([(key, "1") for key in "abcdef"], meanwhile=end)
    with pytest.raises(stop):
        planned(place, PlanSpec(shard=ShardSpec(images=1)))
    assert list(place.glob("manifests/*")) == []


def test_a_newer_store_is_not_planned(place: Path, lists: Callable[..., None]) -> None:
    lists([("a", "1")])
    planned(place)
    text = (place / "store.json").read_text()
    (place / "store.json").write_text(text.replace('"schema_version": 1', '"schema_version": 2'))
    before = tree(place)
    lists([("b", "1")])
    with pytest.raises(StoreVersionError):
        planned(place)
    assert tree(place) == before


def test_the_slower_of_two_planners_loses(place: Path, lists: Callable[..., None]) -> None:
    lists([("a", "1")])
    planned(place)

    def other_planner() -> None:
        lists([("w1", "1"), ("w2", "1"), ("w3", "1")])
        assert planned(place).generation == 1

    lists([(f"l{number}", "1") for number in range(5)], meanwhile=other_planner)
    with pytest.raises(CommitError, match="another driver") as refusal:
        planned(place)
    assert refusal.value.exit_code == 5
    assert identities(all_shards(place)) == [("a", "1"), ("w1", "1"), ("w2", "1"), ("w3", "1")]
    lists([("l1", "1"), ("w1", "1")])
    assert planned(place).generation == 2
    assert identities(all_shards(place))[-1] == ("l1", "1")


def test_the_same_race_when_the_loser_fails(place: Path, lists: Callable[..., None]) -> None:
    """Its clean-up must not take the winner's generation away."""

    def other_planner() -> None:
        lists([("w1", "1"), ("w2", "1")])
        planned(place)
        raise KeyboardInterrupt

    lists([(f"l{number}", "1") for number in range(5)], meanwhile=other_planner)
    with pytest.raises(KeyboardInterrupt):
        planned(place, PlanSpec(shard=ShardSpec(images=1)))
    assert identities(all_shards(place)) == [("w1", "1"), ("w2", "1")]
