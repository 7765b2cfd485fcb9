import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from assay.platform.encoder import EncoderSpec
from assay.platform.errors import PolicyError, ReleaseError
from assay.platform.release import Release, bundled_release, resolve_release
from assay.platform.release_build import ReleaseSpec, build_release, hash_release

STARTER = bundled_release()
SPEC = ReleaseSpec(
    name="mine",
    encoder=EncoderSpec(model="hash"),
    library=STARTER / "library.yaml",
    policies=(STARTER / "policies" / "lenient.yaml", STARTER / "policies" / "strict.yaml"),
)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    hash_release(tmp_path / "release")
    return tmp_path / "release"


def test_what_a_release_holds(directory: Path) -> None:
    release = Release.load(directory)
    assert release.id == f"hash-{release.digest[:12]}"
    assert release.policy().name == "strict"
    assert release.policy("lenient").name == "lenient"
    assert release.scorer().labels == tuple(release.library().labels)
    assert release.encoder().digest == release.manifest.encoder.digest
    assert release.preprocess == release.encoder().preprocess


def test_the_digest_does_not_know_where_or_when_it_was_built(tmp_path: Path) -> None:
    first = build_release(tmp_path / "a", SPEC)
    other = build_release(tmp_path / "b" / "c", SPEC.model_copy(update={"description": "other words"}))
    assert first.digest == other.digest
    assert Release.load(Path(shutil.copytree(tmp_path / "a", tmp_path / "d"))).digest == first.digest


@pytest.mark.parametrize(
    "change", [{"name": "other"}, {"temperature": 7.0}, {"default_policy": "strict"}, {"policies": SPEC.policies[:1]}]
)
def test_the_digest_sees_what_decides(tmp_path: Path, change: dict[str, object]) -> None:
    assert (
        build_release(tmp_path / "a", SPEC).digest
        != build_release(tmp_path / "b", SPEC.model_copy(update=change)).digest
    )


def test_building_again_in_place_changes_nothing(directory: Path) -> None:
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    hash_release(directory)
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_a_release_is_light_to_send(directory: Path) -> None:
    release = Release.load(directory)
    sent = pickle.dumps(release)
    assert len(sent) < 20_000
    assert pickle.loads(sent).id == release.id


def test_other_files_are_ignored(directory: Path) -> None:
    before = Release.load(directory).digest
    (directory / "MLmodel").write_text("a registry's own")
    (directory / "encoder" / "README.md").write_text("words")
    (directory / "encoder" / "vocab.txt").write_text("not listed")
    assert Release.load(directory).digest == before
    assert Release.load(directory).encoder().digest == Release.load(directory).manifest.encoder.digest


def test_a_changed_file(directory: Path) -> None:
    path = directory / "library.yaml"
    path.write_bytes(path.read_bytes().replace(b"pistol", b"pistil"))
    with pytest.raises(ReleaseError) as caught:
        Release.load(directory)
    assert caught.value.what == "library.yaml is not the file this release was built with"
    assert caught.value.where == str(path)
    assert caught.value.why.startswith("expected sha256 ")
    assert "fetch the release again" in caught.value.fix


def test_a_longer_and_a_missing_file(directory: Path) -> None:
    path = directory / "vectors.safetensors"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(ReleaseError) as caught:
        Release.load(directory)
    assert caught.value.why == f"expected {size} bytes, found {size + 1} bytes"
    path.unlink()
    with pytest.raises(ReleaseError) as caught:
        Release.load(directory)
    assert caught.value.why == f"expected {size} bytes, found no file"


def _edit(directory: Path, **change: object) -> None:
    path = directory / "release.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def test_parts_that_do_not_fit(directory: Path) -> None:
    library = {"path": "library.yaml", "digest": "0" * 64}
    _edit(directory, library=library)
    with pytest.raises(ReleaseError, match="parts do not fit: library digest"):
        Release.load(directory)


def test_a_part_that_is_not_listed(directory: Path) -> None:
    files = json.loads((directory / "release.json").read_text())["files"]
    _edit(directory, files=[file for file in files if file["path"] != "vectors.safetensors"])
    with pytest.raises(ReleaseError, match="parts that are not listed") as caught:
        Release.load(directory)
    assert "vectors.safetensors" in caught.value.why


def test_a_newer_scoring_version_is_refused(directory: Path) -> None:
    _edit(directory, scoring={"version": 2, "temperature": 20.0})
    with pytest.raises(ReleaseError, match="scoring version"):
        Release.load(directory)


def test_a_manifest_this_version_does_not_know(directory: Path) -> None:
    _edit(directory, assay_release=2)
    with pytest.raises(ReleaseError, match=r"release\.json is not understood") as caught:
        Release.load(directory)
    assert "assay_release" in caught.value.why


def test_a_path_out_of_the_release_is_refused(directory: Path) -> None:
    (directory.parent / "outside").write_text("x")
    files = json.loads((directory / "release.json").read_text())["files"]
    _edit(directory, files=[files[0] | {"path": "../outside"}, *files[1:]])
    with pytest.raises(ReleaseError, match="outside itself"):
        Release.load(directory)


def test_a_build_cut_short_is_no_release(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("assay.platform.release.PromptVectors.compile", stop)
    with pytest.raises(KeyboardInterrupt):
        hash_release(directory)
    with pytest.raises(ReleaseError, match="no release here"):
        Release.load(directory)


def test_policies_are_named_and_checked(tmp_path: Path, directory: Path) -> None:
    with pytest.raises(PolicyError) as caught:
        Release.load(directory).policy("strickt")
    assert caught.value.what.endswith("has no policy 'strickt'; did you mean 'strict'?")
    with pytest.raises(PolicyError, match="default policy 'stirct' is not among"):
        build_release(tmp_path / "x", SPEC.model_copy(update={"default_policy": "stirct"}))
    with pytest.raises(PolicyError, match="two policies are named 'strict'"):
        build_release(tmp_path / "x", SPEC.model_copy(update={"policies": (SPEC.policies[1],) * 2}))


def test_resolve(directory: Path, tmp_path: Path) -> None:
    assert resolve_release(str(directory)).id == Release.load(directory).id
    with pytest.raises(ReleaseError, match="no release") as caught:
        resolve_release(str(tmp_path / "absent"))
    assert "looked for release.json" in caught.value.why


def test_works_from_a_read_only_directory(directory: Path) -> None:
    before = sorted(directory.rglob("*"))
    for path in [directory, *before]:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))
    try:
        release = Release.load(directory)
        release.scorer()
        release.encoder().encode_texts(["red"])
        assert sorted(directory.rglob("*")) == before
    finally:
        for path in [directory, *before]:
            path.chmod(path.stat().st_mode | stat.S_IWUSR)
    assert os.access(directory, os.W_OK)


@pytest.mark.skipif(not (STARTER / "release.json").is_file(), reason="the starter release is not built yet")
def test_the_bundled_release() -> None:
    release = resolve_release()
    assert release == resolve_release("starter")
    assert release.directory == STARTER
    assert release.manifest.name == "starter"


def test_nothing_but_encoding_loads_torch() -> None:
    code = (
        "import sys, assay.platform.moderator, assay.platform.batch;"
        "heavy = {'torch', 'open_clip', 'ray', 'mlflow'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
