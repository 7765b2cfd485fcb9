from pathlib import Path

import pytest

from assay.platform.encoder import encoder_digest
from assay.platform.errors import ReleaseError
from assay.platform.release_build import hash_release
from assay.platform.release_manifest import PinnedFile, ReleaseManifest


def test_round_trip(tmp_path: Path) -> None:
    manifest = hash_release(tmp_path / "a").manifest
    manifest.write(tmp_path)
    assert ReleaseManifest.read(tmp_path) == manifest
    assert ReleaseManifest.read(tmp_path).digest == manifest.digest


def test_the_digest_ignores_the_order_of_files(tmp_path: Path) -> None:
    manifest = hash_release(tmp_path).manifest
    assert manifest.model_copy(update={"files": manifest.files[::-1]}).digest == manifest.digest


def test_the_encoders_digest_is_over_its_listed_files(tmp_path: Path) -> None:
    manifest = hash_release(tmp_path).manifest
    assert encoder_digest(manifest.encoder_files()) == manifest.encoder.digest


def test_a_pinned_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    pinned = PinnedFile.of(tmp_path, "a")
    pinned.check(tmp_path)
    (tmp_path / "a").write_text("two")
    with pytest.raises(ReleaseError, match="a is not the file"):
        pinned.check(tmp_path)
