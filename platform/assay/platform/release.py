"""A release: encoder, library, policies and compiled prompts, pinned by digests. The one thing that is promoted.

Knows the directory's layout, and how to prove that its parts are unchanged and fit each other. Knows no picture and no
score; loads no network (building one does, to encode the prompts).

    release.json            what the release is, and every file with its size and sha256; written last
    encoder/…               an open_clip directory, or encoder.json of a HashEncoder
    library.yaml            the semantic library
    policies/<name>.yaml
    vectors.safetensors     the library's phrases, encoded: judging never loads the text tower
"""

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import Field

from assay.platform.document import did_you_mean
from assay.platform.encoder import (
    BUNDLED_ENCODER,
    Encoder,
    EncoderSpec,
    encoder_digest,
    encoder_files,
    export_encoder,
    load_encoder,
)
from assay.platform.errors import PolicyError, ReleaseError
from assay.platform.library import SemanticLibrary, Slug
from assay.platform.policy import Policy
from assay.platform.release_manifest import (
    RELEASE_FILE,
    Pinned,
    PinnedEncoder,
    PinnedFile,
    ReleaseManifest,
    Scoring,
    Temperature,
)
from assay.platform.scoring import SCORING_VERSION, PromptVectors, Scorer
from assay.platform.spec import Spec
from assay.platform.views import Preprocess

STARTER = "starter"
_STARTER = Path(__file__).parent / "data" / STARTER
_ENCODER, _LIBRARY, _POLICIES, _VECTORS = "encoder", "library.yaml", "policies", "vectors.safetensors"


class ReleaseSpec(Spec):
    """What to build a release from."""

    name: Slug
    description: str = ""
    encoder: EncoderSpec = EncoderSpec()
    library: Path
    policies: tuple[Path, ...] = Field(min_length=1)
    default_policy: Slug | None = Field(default=None, description="left out: the first of the policies")
    temperature: Temperature | None = Field(default=None, description="left out: the encoder's logit scale")


@dataclass(frozen=True)
class Release:
    """A release whose files were found as listed. Light and picklable: a path and parsed JSON."""

    directory: Path
    manifest: ReleaseManifest

    @classmethod
    def load(cls, directory: Path) -> "Release":
        """Read a release and check every listed file; files that are not listed are ignored."""
        release = cls(directory, ReleaseManifest.read(directory))
        for file in release.manifest.files:
            file.check(directory)
        _check_fit(release)
        return release

    @property
    def digest(self) -> str:
        """sha256 over all that decides a verdict."""
        return self.manifest.digest

    @property
    def id(self) -> str:
        """The name verdicts carry."""
        return f"{self.manifest.name}-{self.digest[:12]}"

    @property
    def preprocess(self) -> Preprocess:
        """How pictures are prepared for this release's encoder."""
        return self.manifest.preprocess

    def library(self) -> SemanticLibrary:
        """The semantic library, read now."""
        return SemanticLibrary.load(self.directory / self.manifest.library.path)

    def policy(self, name: str | None = None) -> Policy:
        """The policy of this name, or the default one, read now."""
        name = name or self.manifest.default_policy
        known = self.manifest.policies
        if name not in known:
            what = f"release {self.id} has no policy {name!r}"
            raise _not_a_policy(what, name, known, str(self.directory / RELEASE_FILE))
        return Policy.load(self.directory / known[name].path)

    def scorer(self) -> Scorer:
        """The scorer over the compiled prompts; loads no network."""
        vectors, _ = PromptVectors.load(self.directory / self.manifest.vectors)
        return Scorer(self.library(), vectors, self.manifest.scoring.temperature)

    def encoder(self, device: str = "auto") -> Encoder:
        """The encoder, loaded now; torch or OpenVINO is imported here and not before."""
        pinned = self.manifest.encoder
        files = self.manifest.encoder_files()
        return load_encoder(self.directory / pinned.path, pinned.precision, device, files)


def bundled_release() -> Path:
    """The directory of the release that ships with Assay; it may be read-only."""
    return _STARTER


def resolve_release(ref: str | None = None) -> Release:
    """The release a user names: nothing or `starter` is the bundled one, otherwise a directory."""
    if ref is None or ref == STARTER:
        return Release.load(bundled_release())
    if (Path(ref) / RELEASE_FILE).is_file():
        return Release.load(Path(ref))
    raise ReleaseError(
        f"no release {ref!r}",
        where=str(Path(ref).absolute()),
        why=f"looked for {RELEASE_FILE} in that directory; the bundled release is called {STARTER!r}",
        fix=f"name a release directory, or {STARTER!r}",
    )


def build_release(directory: Path, spec: ReleaseSpec) -> Release:
    """Write a release. What already lies in its place (`directory/library.yaml`) is used where it lies."""
    library = SemanticLibrary.load(spec.library)
    policies = _load_policies(spec.policies, library)
    default = spec.default_policy or next(iter(policies))
    if default not in policies:
        what = f"the default policy {default!r} is not among the policies"
        raise _not_a_policy(what, default, policies, "default_policy")
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


def _not_a_policy(what: str, name: str, known: Mapping[str, object], where: str) -> PolicyError:
    why = f"its policies are: {', '.join(known)}"
    return PolicyError(f"{what}{did_you_mean(name, known)}", where=where, why=why, fix="name one of these")


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


def _check_fit(release: Release) -> None:
    """The parts must be what release.json calls them, and the prompt vectors must be made from these parts."""
    manifest = release.manifest
    vectors, bound_to = PromptVectors.load(release.directory / manifest.vectors)
    expected = {
        "parts that are not listed": ([], manifest.unlisted()),
        "encoder digest": (manifest.encoder.digest, encoder_digest(manifest.encoder_files())),
        "library digest": (manifest.library.digest, release.library().digest),
        "encoder of the prompt vectors": (manifest.encoder.digest, bound_to.get("encoder")),
        "library of the prompt vectors": (manifest.library.digest, bound_to.get("library")),
        "width of the prompt vectors": (manifest.encoder.dim, vectors.vectors.shape[1]),
        "scoring version": (SCORING_VERSION, manifest.scoring.version),
    }
    for name, pinned in manifest.policies.items():
        expected[f"digest of policy {name!r}"] = (pinned.digest, release.policy(name).digest)
    for what, (needed, found) in expected.items():
        if needed != found:
            raise ReleaseError(
                f"the release's parts do not fit: {what}",
                where=str(release.directory / RELEASE_FILE),
                why=f"expected {needed}, found {found}",
                fix="build the release again with this version of Assay",
            )


def _version() -> str:
    try:
        return version("assay")
    except PackageNotFoundError:
        return "unknown"
