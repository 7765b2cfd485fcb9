"""A golden set's embeddings are the same wherever they come from, and none is used that does not fit."""

import datetime
from pathlib import Path

import numpy as np
import pytest

from assay.jobs.golden_embeddings import GoldenEmbeddings, embed_golden
from assay.platform.encoder import EncoderSpec
from assay.platform.errors import GoldenError, SpecError, StorageError, StoreVersionError
from assay.platform.fetch import file_etag
from assay.platform.golden import GoldenSet
from assay.platform.golden_rows import GoldenRow, Reviews
from assay.platform.hash_encoder import HashSpec, write_hash_encoder
from assay.platform.release import Release, bundled_release
from assay.platform.release_build import ReleaseSpec, build_release
from assay.platform.storage import Storage
from assay.platform.uris import file_uri, parse_uri
from tests.conftest import S3Server, write_pictures
from tests.golden_store import PICTURES, judged
from tests.golden_strategies import unit

NOW = datetime.datetime(2026, 11, 23, tzinfo=datetime.UTC)
DIM = HashSpec().dim


@pytest.fixture(scope="module")
def release(release_dir: Path) -> Release:
    return Release.load(release_dir)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, release_dir: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        return judged(tmp_path_factory.mktemp("golden"), release_dir, patch)


def golden(uris: list[str], encoder: str = "", **said: list[object]) -> GoldenSet:
    rows = [
        GoldenRow.model_validate({"uri": uri, "time": NOW, **{name: values[row] for name, values in said.items()}})
        for row, uri in enumerate(uris)
    ]
    return GoldenSet.of(Reviews(tuple(rows), (), encoder))


def uris_of(folder: Path) -> list[str]:
    return [file_uri(bytes(path)) for path in sorted(folder.glob("*.jpg"))]


def refuses(found: GoldenSet, release: Release) -> GoldenError:
    with pytest.raises(GoldenError) as caught:
        embed_golden(found, release, Storage())
    return caught.value


def test_made_here_observed_and_kept_are_one(store: Path, release: Release) -> None:
    uris = [uri for uri in uris_of(store.parent / "bucket") if "empty" not in uri]
    told: list[tuple[int, int]] = []
    made = embed_golden(golden(uris), release, Storage(), progress=lambda *counts: told.append(counts))
    assert told[0] == (0, len(uris))
    assert told[-1] == (len(uris), len(uris))
    seen = embed_golden(golden(uris), release, Storage(), str(store))
    kept = [made.embeddings[start : start + 1].tobytes() for start in made.starts]
    own = embed_golden(golden(uris, release.manifest.encoder.digest, embedding=[*kept]), release, Storage())
    for other in (seen, own):
        assert np.array_equal(other.embeddings, made.embeddings)
        assert np.array_equal(other.starts, made.starts)
        assert other.missing == ()
    assert len(uris) > PICTURES
    assert made.embeddings.dtype == np.float16
    assert made.seen.tolist() == list(range(len(uris)))


def test_a_store_is_asked_before_an_image_is_fetched(
    tmp_path: Path, release_dir: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = judged(tmp_path, release_dir, monkeypatch)
    uris = uris_of(tmp_path / "bucket")[-3:]
    for uri in uris:
        Path(parse_uri(uri).key).unlink()
    assert embed_golden(golden(uris), release, Storage(), str(store)).missing == ()
    gone = embed_golden(golden(uris), release, Storage())
    assert (gone.missing, gone.reasons) == (tuple(uris), ("GONE",) * 3)


def test_missing_images_have_no_views_and_are_named(tmp_path: Path, release: Release) -> None:
    paths = write_pictures(tmp_path, 4)
    paths[1].write_bytes(paths[1].read_bytes()[:300])
    paths[2].unlink()
    etag = file_etag(paths[3].stat())
    paths[3].write_bytes(paths[0].read_bytes())
    uris = [file_uri(bytes(path)) for path in paths]
    found = embed_golden(golden(uris, etag=["", "", "", etag]), release, Storage())
    assert found.missing == tuple(uris[1:])
    assert [why.split()[0] for why in found.reasons] == ["TRUNCATED", "GONE", "CHANGED"]
    assert (found.starts.tolist(), found.seen.tolist(), len(found.embeddings)) == ([0, 1, 1, 1], [0], 1)
    with pytest.raises(GoldenError) as caught:
        found.refuse_missing()
    assert caught.value.what == "3 of 4 images of the golden set cannot be had"
    assert f"{uris[2]}: GONE" in caught.value.why
    assert "--allow-missing" in caught.value.fix


def test_only_the_first_missing_are_named() -> None:
    nothing = np.empty((0, DIM), np.float16)
    uris = tuple(f"s3://b/{number}" for number in range(30))
    with pytest.raises(GoldenError, match="30 of 30") as caught:
        GoldenEmbeddings(nothing, np.zeros(30, np.int64), uris, ("GONE",) * 30).refuse_missing()
    assert caught.value.why.endswith("and 20 more")


@pytest.mark.parametrize(
    ("embedding", "told"),
    [
        (unit(1, dim=DIM - 1), f"{DIM - 1} numbers; this encoder makes {DIM} for each view"),
        (np.ones(DIM, "<f2").tobytes(), "its length is 8, not 1"),
        (unit(1, dim=DIM) + bytes(2 * DIM), "its length is 0, not 1"),
    ],
)
def test_a_damaged_embedding_is_refused_by_its_image(release: Release, embedding: bytes, told: str) -> None:
    cells: list[object] = [unit(2, dim=DIM), embedding]
    error = refuses(golden(["s3://b/1", "s3://b/2"], release.manifest.encoder.digest, embedding=cells), release)
    assert error.where == "s3://b/2"
    assert told in error.why


def test_an_embedding_that_is_no_number_is_refused(release: Release) -> None:
    cell = np.full(DIM, np.nan, "<f2").tobytes()
    found = golden(["s3://b/1"], release.manifest.encoder.digest, embedding=[unit(2, dim=DIM)])
    column = found.table.schema.get_field_index("embedding")
    table = found.table.set_column(column, found.table.schema.field(column), [[cell]])
    assert "no number" in refuses(GoldenSet(table, ""), release).why


@pytest.mark.parametrize("encoder", ["", "0" * 64])
def test_embeddings_of_another_encoder_are_refused(release: Release, encoder: str) -> None:
    error = refuses(golden(["s3://b/1"], encoder, embedding=[unit(1, dim=DIM)]), release)
    assert release.manifest.encoder.digest in error.why
    assert (encoder or "not named") in error.why


def test_a_store_of_another_encoder_is_refused(store: Path, tmp_path: Path) -> None:
    write_hash_encoder(tmp_path / "encoder", HashSpec(dim=32))
    starter = bundled_release()
    encoder = EncoderSpec(model=f"local-dir:{tmp_path / 'encoder'}")
    parts = {"library": starter / "library.yaml", "policies": (starter / "policies" / "strict.yaml",)}
    other = build_release(tmp_path / "release", ReleaseSpec.model_validate({"name": "o", "encoder": encoder, **parts}))
    with pytest.raises(StoreVersionError, match="made with another encoder"):
        embed_golden(golden(["s3://b/1"]), other, Storage(), str(store))


def test_no_such_store(tmp_path: Path, release: Release) -> None:
    with pytest.raises(SpecError, match="no store here"):
        embed_golden(golden(["s3://b/1"]), release, Storage(), str(tmp_path))


def test_images_in_a_bucket(s3: S3Server, s3_place: str, tmp_path: Path, release: Release) -> None:
    paths = write_pictures(tmp_path, 3)
    for path in paths[:2]:
        s3.put(f"{s3_place}/golden/{path.name}", path.read_bytes())
    uris = [f"{s3_place}/golden/{path.name}" for path in paths]
    found = embed_golden(golden(uris, etag=["", "another", ""]), release, s3.storage)
    assert np.array_equal(found.embeddings, embed_golden(golden([str(paths[0])]), release, Storage()).embeddings)
    assert [why.split()[0] for why in found.reasons] == ["CHANGED", "GONE"]


def test_what_fails_for_all_alike_stops(tmp_path: Path, release: Release) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match="can be reached"):
        embed_golden(golden([str(tmp_path / "file" / f"{number}.jpg") for number in range(8)]), release, Storage())


def test_the_store_is_not_asked_for_what_is_kept(store: Path, release: Release) -> None:
    cell = unit(5, dim=DIM)
    found = golden(["s3://b/nowhere"], release.manifest.encoder.digest, embedding=[cell])
    assert embed_golden(found, release, Storage(), str(store)).embeddings.tobytes() == cell
