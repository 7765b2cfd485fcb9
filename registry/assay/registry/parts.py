"""The parts of a release as they are registered: its encoder, its library, and what makes a release of them.

Knows which file belongs to which part, and their digests. Does not know MLflow. An encoder of gigabytes is registered
once, however many releases name it.
"""

import mimetypes
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.platform.encoder import encoder_digest
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
        """Copy the part's files out of a release's directory, and nothing else that lies there."""
        for name, where in self.inside.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(directory / where, target / stored_name(name))

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
    """Copy what a release is besides its parts, and what it says of itself."""
    for name in [RELEASE_FILE, *rest_of(release.manifest)]:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(release.directory / name, target / name)
