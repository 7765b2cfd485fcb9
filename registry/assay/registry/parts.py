"""The parts of a release as they are registered: its encoder, its library, and what makes a release of them.

Knows which file belongs to which part, and their digests. Does not know MLflow. An encoder of gigabytes is registered
once, however many releases name it.
"""

import mimetypes
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.platform.encoder import encoder_digest, file_sha256
from assay.platform.errors import ReleaseError
from assay.platform.release import Release
from assay.platform.release_manifest import RELEASE_FILE, ReleaseManifest
from assay.registry.models import Kind

LIBRARY_FILE = "library.yaml"


@dataclass(frozen=True)
class Part:
    """One part: its files as they are named there, with their sha256; and where they lie in the release's directory."""

    kind: Kind
    files: Mapping[str, str]
    inside: Mapping[str, str]

    @property
    def digest(self) -> str:
        """One digest over names and sha256 of the files."""
        return encoder_digest(self.files)

    @property
    def stored(self) -> dict[str, str]:
        """The files by the names that they are stored under, with their sha256."""
        return {stored_name(name): sha256 for name, sha256 in self.files.items()}

    def lay_out(self, directory: Path, target: Path) -> None:
        """Copy the part's files out of a release's directory, and nothing else that lies there.

        Raises:
            ReleaseError: one is not what it was when the release was loaded.
        """
        for name, where in self.inside.items():
            _copy_listed(directory / where, target / stored_name(name), self.files[name])

    def put_into(self, folder: Path, directory: Path) -> None:
        """The way back: link (or copy) the part's files into a release's directory."""
        for name, where in self.inside.items():
            (directory / where).parent.mkdir(parents=True, exist_ok=True)
            try:
                (directory / where).hardlink_to(folder / stored_name(name))
            except OSError:  # another file system
                shutil.copyfile(folder / stored_name(name), directory / where)


def stored_name(name: str) -> str:
    """A file's name in the registry. MLflow's server announces `.gz` as an encoding, and clients unpack it."""
    return f"{name}.bin" if mimetypes.guess_type(name)[1] else name


def encoder_part(manifest: ReleaseManifest) -> Part:
    """The encoder's files."""
    files = manifest.encoder_files()
    return Part("encoder", files, {name: f"{manifest.encoder.path}/{name}" for name in files})


def library_part(manifest: ReleaseManifest) -> Part:
    """The library's file, byte for byte: comments and all."""
    listed = {file.path: file.sha256 for file in manifest.files}
    return Part("library", {LIBRARY_FILE: listed[manifest.library.path]}, {LIBRARY_FILE: manifest.library.path})


def rest_of(manifest: ReleaseManifest) -> dict[str, str]:
    """What a release is besides: its listed files that are in neither part, with their sha256."""
    elsewhere = {*encoder_part(manifest).inside.values(), manifest.library.path}
    return {file.path: file.sha256 for file in manifest.files if file.path not in elsewhere}


def lay_out_rest(release: Release, target: Path) -> None:
    """Copy what a release is besides its parts, and what it says of itself; the same error."""
    for name, sha256 in rest_of(release.manifest).items():
        _copy_listed(release.directory / name, target / name, sha256)
    shutil.copyfile(release.directory / RELEASE_FILE, target / RELEASE_FILE)
    if ReleaseManifest.read(target).digest != release.digest:
        raise _changed(release.directory / RELEASE_FILE)


def _copy_listed(file: Path, target: Path, sha256: str) -> None:
    """What is registered never changes, so what is copied is looked at: it may have changed since it was loaded."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, target)
    if file_sha256(target) != sha256:
        raise _changed(file)


def _changed(file: Path) -> ReleaseError:
    why = "it was changed after the release was loaded"
    return ReleaseError("not the file this release was built with", where=str(file), why=why, fix="build it again")
