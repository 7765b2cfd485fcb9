"""What `release.json` says: every part of a release, pinned.

Knows the file's form, the release's digest, and whether files are as listed. Does not open libraries, policies or
encoders: whether the parts fit each other is the release's own business.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from assay.platform.encoder import Precision, file_sha256
from assay.platform.errors import ReleaseError
from assay.platform.library import Slug
from assay.platform.scoring import MAX_TEMPERATURE
from assay.platform.views import Preprocess

RELEASE_FILE = "release.json"

Temperature = Annotated[float, Field(gt=0, le=MAX_TEMPERATURE)]


class PinnedFile(BaseModel, frozen=True, extra="forbid"):
    """One file of a release, as it must be found."""

    path: str
    sha256: str
    size: int

    @classmethod
    def of(cls, directory: Path, name: str) -> Self:
        """Pin a file as it is now."""
        path = directory / name
        return cls(path=name, sha256=file_sha256(path), size=path.stat().st_size)

    def check(self, directory: Path) -> None:
        """Refuse the file if it is missing or changed."""
        path = directory / self.path
        if not path.resolve().is_relative_to(directory.resolve()):
            fix = "do not use it: a path like this is not made by Assay"
            raise ReleaseError("a release names a file outside itself", where=str(path), why=self.path, fix=fix)
        found = f"{path.stat().st_size} bytes" if path.is_file() else "no file"
        expected = f"{self.size} bytes"
        if found == expected:
            found, expected = f"sha256 {file_sha256(path)}", f"sha256 {self.sha256}"
        if found != expected:
            raise ReleaseError(
                f"{self.path} is not the file this release was built with",
                where=str(path),
                why=f"expected {expected}, found {found}",
                fix="fetch the release again; if the change was meant, build a new release from it",
            )


class PinnedEncoder(BaseModel, frozen=True, extra="forbid"):
    """The release's encoder. `digest` is over its listed files."""

    path: str
    digest: str
    dim: int
    logit_scale: float
    precision: Precision


class Pinned(BaseModel, frozen=True, extra="forbid"):
    """A library, policy or calibration of a release. `digest` is over its canonical form, or over its bytes."""

    path: str
    digest: str


class Scoring(BaseModel, frozen=True, extra="forbid"):
    """How scores are made; see `scoring.py`."""

    version: int
    temperature: Temperature


class ReleaseManifest(BaseModel, frozen=True, extra="forbid"):
    """The whole of `release.json`."""

    assay_release: Literal[1]
    name: Slug
    description: str
    created_by: str
    encoder: PinnedEncoder
    preprocess: Preprocess
    library: Pinned
    policies: dict[Slug, Pinned]
    default_policy: Slug
    scoring: Scoring
    calibration: Pinned | None = None
    operating_points: Pinned | None = None
    vectors: str
    files: tuple[PinnedFile, ...]

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read `release.json` of a directory."""
        path = directory / RELEASE_FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            fix = "check the path; a build that was cut short has no release.json: build it again"
            raise ReleaseError("no release here", where=str(path), why=error.strerror or "", fix=fix) from error
        except ValidationError as error:
            why = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
            fix = "install the Assay that made it, or build it again"
            raise ReleaseError("release.json is not understood", where=str(path), why=why, fix=fix) from error

    def write(self, directory: Path) -> None:
        """Publish: from here on the directory is a release."""
        text = json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False)
        aside = directory / f".{RELEASE_FILE}.new"
        aside.write_text(text + "\n", encoding="utf-8")
        aside.replace(directory / RELEASE_FILE)

    @cached_property
    def digest(self) -> str:
        """sha256 over all that decides a verdict: the same wherever, and by whatever version, it was built."""
        said = self.model_dump(mode="json", exclude={"description", "created_by"})
        said["files"] = sorted(said["files"], key=lambda file: str(file["path"]))
        return hashlib.sha256(json.dumps(said, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def encoder_files(self) -> dict[str, str]:
        """The listed files of the encoder, relative to its directory, with their sha256."""
        prefix = f"{self.encoder.path}/"
        return {file.path.removeprefix(prefix): file.sha256 for file in self.files if file.path.startswith(prefix)}

    def unlisted(self) -> list[str]:
        """Parts that are named but not among the listed files: nobody would notice if they changed."""
        measured = [one.path for one in (self.calibration, self.operating_points) if one]
        named = {self.library.path, self.vectors, *(policy.path for policy in self.policies.values()), *measured}
        return sorted(named - {file.path for file in self.files})
