"""Releases whose text differs from the starter's by a word, for re-audits."""

from collections.abc import Callable
from pathlib import Path

from assay.platform.encoder import EncoderSpec
from assay.platform.release import bundled_release
from assay.platform.release_build import ReleaseSpec, build_release

STARTER = bundled_release()


def reworded(folder: Path, name: str, change: Callable[[str], str], encoder: str = "hash") -> Path:
    """A release with another text."""
    (folder / name).mkdir(parents=True)
    (folder / name / "library.yaml").write_text(change((STARTER / "library.yaml").read_text()))
    policies = tuple(STARTER / "policies" / f"{policy}.yaml" for policy in ("strict", "lenient"))
    parts = {"library": folder / name / "library.yaml", "policies": policies, "encoder": EncoderSpec(model=encoder)}
    build_release(folder / name, ReleaseSpec.model_validate({"name": name, **parts}))
    return folder / name


def with_red_pistols(text: str) -> str:
    """One prompt of one concept says something else."""
    changed = text.replace("handgun, pistol,", "handgun, red pistol,")
    assert changed != text
    return changed


def other_release(folder: Path) -> Path:
    """A release of the hash encoder in which pistols are red."""
    return reworded(folder, "other", with_red_pistols)
