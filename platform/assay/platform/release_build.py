"""Building releases: parts are checked, laid into one directory and pinned.

Knows which file lies where. Loads the encoder, to encode the prompts. What a release is, and how it is proved whole, is
`release.py`'s.
"""

import contextlib
import shutil
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import Field

from assay.platform.calibration import Calibration
from assay.platform.encoder import (
    BUNDLED_ENCODER,
    Encoder,
    EncoderSpec,
    encoder_files,
    export_encoder,
    load_encoder,
)
from assay.platform.errors import PolicyError
from assay.platform.library import SemanticLibrary, Slug
from assay.platform.policy import Policy
from assay.platform.promise import OperatingPoints
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.release import STARTER, Release, bundled_release, not_a_policy
from assay.platform.release_manifest import (
    RELEASE_FILE,
    Pinned,
    PinnedEncoder,
    PinnedFile,
    ReleaseManifest,
    Scoring,
    Temperature,
)
from assay.platform.scoring import SCORING_VERSION
from assay.platform.spec import Spec

_STARTER = bundled_release()
_ENCODER, _LIBRARY, _POLICIES, _VECTORS = "encoder", "library.yaml", "policies", "vectors.safetensors"
_CALIBRATION, _POINTS = "calibration.json", "operating_points.json"


class ReleaseSpec(Spec):
    """What to build a release from."""

    name: Slug
    description: str = ""
    encoder: EncoderSpec = EncoderSpec()
    library: Path
    policies: tuple[Path, ...] = Field(min_length=1)
    default_policy: Slug | None = Field(default=None, description="left out: the first of the policies")
    temperature: Temperature | None = Field(default=None, description="left out: the encoder's logit scale")
    calibrated_like: Path | None = Field(
        default=None, description="a release whose calibration and operating points are kept where they still hold"
    )


def build_release(directory: Path, spec: ReleaseSpec) -> Release:
    """Write a release. What already lies in its place (`directory/library.yaml`) is used where it lies."""
    library = SemanticLibrary.load(spec.library)
    policies = _load_policies(spec.policies, library)
    default = spec.default_policy or next(iter(policies))
    if default not in policies:
        what = f"the default policy {default!r} is not among the policies"
        raise not_a_policy(what, default, policies, "default_policy")
    # Without release.json the directory is no release, until everything else is in place.
    (directory / RELEASE_FILE).unlink(missing_ok=True)
    (directory / _POLICIES).mkdir(parents=True, exist_ok=True)
    _place(spec.library, directory / _LIBRARY)
    for name, (path, _) in policies.items():
        _place(path, directory / _policy_file(name))
    export_encoder(spec.encoder, directory / _ENCODER)
    encoder = load_encoder(directory / _ENCODER, spec.encoder.precision)
    bound_to = {"encoder": encoder.digest, "library": library.digest}
    PromptVectors.compile(library, encoder).save(directory / _VECTORS, bound_to)
    manifest = ReleaseManifest(
        assay_release=1,
        name=spec.name,
        description=spec.description,
        created_by=f"assay {_version()}",
        encoder=_pin_encoder(encoder, spec.encoder),
        preprocess=encoder.preprocess.model_copy(update={"decode": spec.encoder.decode}),
        library=Pinned(path=_LIBRARY, digest=library.digest),
        policies={name: Pinned(path=_policy_file(name), digest=one.digest) for name, (_, one) in policies.items()},
        default_policy=default,
        scoring=Scoring(version=SCORING_VERSION, temperature=spec.temperature or encoder.logit_scale),
        vectors=_VECTORS,
        files=_pin_files(directory, policies),
    )
    manifest.write(directory)
    release = Release.load(directory)
    return release if spec.calibrated_like is None else keep_measured(release, Release.load(spec.calibrated_like))


def keep_measured(release: Release, other: Release) -> Release:
    """Give a release what of another one's calibration and operating points holds for it, too."""
    bindings = release.bindings()
    calibration = other.calibration().valid(bindings)
    bound = calibration.point_bindings(bindings, release.library())
    return add_measured(release, release.directory, calibration, other.operating_points().valid(bound))


def add_measured(release: Release, directory: Path, calibration: Calibration, points: OperatingPoints) -> Release:
    """Write a release again with a calibration and operating points, into its own directory or another one."""
    (directory / RELEASE_FILE).unlink(missing_ok=True)
    for name in (file.path for file in release.manifest.files):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        _place(release.directory / name, directory / name)
    pinned = {}
    for name, text in ((_CALIBRATION, calibration.text()), (_POINTS, points.text())):
        (directory / name).write_text(text, encoding="utf-8")
        pinned[name] = PinnedFile.of(directory, name)
    others = [file for file in release.manifest.files if file.path not in pinned]
    release.manifest.model_copy(
        update={
            "calibration": Pinned(path=_CALIBRATION, digest=pinned[_CALIBRATION].sha256),
            "operating_points": Pinned(path=_POINTS, digest=pinned[_POINTS].sha256),
            "files": tuple(sorted([*others, *pinned.values()], key=lambda file: file.path)),
        }
    ).write(directory)
    return Release.load(directory)


def build_starter() -> Release:
    """Build the bundled release in place, around the encoder, library and policies that lie there."""
    description = "The bundled encoder, the starter library and two sample policies"
    return build_release(_STARTER, _starter_spec(STARTER, f"local-dir:{BUNDLED_ENCODER}", description))


def hash_release(directory: Path) -> Release:
    """A whole release around `HashEncoder`, with the starter library and policies: for tests and benchmarks."""
    return build_release(directory, _starter_spec("hash", "hash", "A test double: its scores mean nothing"))


def _starter_spec(name: str, model: str, description: str) -> ReleaseSpec:
    return ReleaseSpec(
        name=name,
        description=description,
        encoder=EncoderSpec(model=model),
        library=_STARTER / _LIBRARY,
        policies=(_STARTER / _policy_file("strict"), _STARTER / _policy_file("lenient")),
    )


def _policy_file(name: str) -> str:
    return f"{_POLICIES}/{name}.yaml"


def _load_policies(paths: Iterable[Path], library: SemanticLibrary) -> dict[str, tuple[Path, Policy]]:
    policies: dict[str, tuple[Path, Policy]] = {}
    for path in paths:
        policy = Policy.load(path, library)
        if policy.name in policies:
            what, why = f"two policies are named {policy.name!r}", f"the other is {policies[policy.name][0]}"
            raise PolicyError(what, where=str(path), why=why, fix="rename one")
        policies[policy.name] = (path, policy)
    return policies


def _place(source: Path, target: Path) -> None:
    with contextlib.suppress(shutil.SameFileError):
        shutil.copyfile(source, target)


def _pin_encoder(encoder: Encoder, spec: EncoderSpec) -> PinnedEncoder:
    return PinnedEncoder(
        path=_ENCODER,
        digest=encoder.digest,
        dim=encoder.dim,
        logit_scale=encoder.logit_scale,
        precision=spec.precision,
    )


def _pin_files(directory: Path, policies: Iterable[str]) -> tuple[PinnedFile, ...]:
    names = [f"{_ENCODER}/{name}" for name in encoder_files(directory / _ENCODER)]
    names += [_LIBRARY, _VECTORS, *(_policy_file(name) for name in policies)]
    return tuple(PinnedFile.of(directory, name) for name in sorted(names))


def _version() -> str:
    try:
        return version("assay")
    except PackageNotFoundError:
        return "unknown"
