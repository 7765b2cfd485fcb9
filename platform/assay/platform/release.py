"""A release: encoder, library, policies and compiled prompts, pinned by digests. The one thing that is promoted.

Knows the directory's layout, and how to prove that its parts are unchanged and fit each other. Knows no picture and no
score; loads no network (building one does, to encode the prompts).

    release.json            what the release is, and every file with its size and sha256; written last
    encoder/…               an open_clip directory, or encoder.json of a HashEncoder
    library.yaml            the semantic library
    policies/<name>.yaml
    vectors.safetensors     the library's phrases, encoded: judging never loads the text tower
    calibration.json        raw scores to probabilities, by label; a release may have none
    operating_points.json   the thresholds that keep what the policies promise
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from assay.platform.calibration import Calibration
from assay.platform.document import did_you_mean
from assay.platform.encoder import Encoder, encoder_digest, file_sha256, load_encoder
from assay.platform.errors import PolicyError, ReleaseError
from assay.platform.label_binding import ScoreSource, bind_labels
from assay.platform.library import SemanticLibrary
from assay.platform.policy import Policy
from assay.platform.promise import OperatingPoints
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.release_manifest import RELEASE_FILE, ReleaseManifest
from assay.platform.scoring import SCORING_VERSION, Scorer
from assay.platform.views import Preprocess

STARTER = "starter"
_STARTER = Path(__file__).parent / "data" / STARTER


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
            raise not_a_policy(what, name, known, str(self.directory / RELEASE_FILE))
        return Policy.load(self.directory / known[name].path)

    def calibration(self) -> Calibration:
        """What makes probabilities of raw scores, read now; empty if the release has none."""
        pinned = self.manifest.calibration
        return Calibration.read(self.directory / pinned.path) if pinned else Calibration()

    def operating_points(self) -> OperatingPoints:
        """The thresholds that keep the policies' promises, read now; empty if the release has none."""
        pinned = self.manifest.operating_points
        return OperatingPoints.read(self.directory / pinned.path) if pinned else OperatingPoints()

    def bindings(self) -> dict[str, str]:
        """What each label's raw scores depend on, as a digest."""
        manifest = self.manifest
        pinned, scoring = manifest.encoder, manifest.scoring
        source = ScoreSource(pinned.digest, pinned.precision, manifest.preprocess, scoring.version, scoring.temperature)
        return bind_labels(self.library(), source)

    def raw_scorer(self) -> Scorer:
        """The scorer over the compiled prompts, without the calibration; loads no network."""
        vectors, _ = PromptVectors.load(self.directory / self.manifest.vectors)
        return Scorer(self.library(), vectors, self.manifest.scoring.temperature)

    def scorer(self) -> Scorer:
        """The scorer over the compiled prompts; loads no network."""
        return self.raw_scorer().calibrated(self.calibration())

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


def not_a_policy(what: str, name: str, known: Mapping[str, object], where: str) -> PolicyError:
    """The error for a policy that a release has not."""
    why = f"its policies are: {', '.join(known)}"
    return PolicyError(f"{what}{did_you_mean(name, known)}", where=where, why=why, fix="name one of these")


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
    for kept in (manifest.calibration, manifest.operating_points):
        if kept:
            expected[f"digest of {kept.path}"] = (kept.digest, file_sha256(release.directory / kept.path))
    for what, (needed, found) in expected.items():
        if needed != found:
            raise ReleaseError(
                f"the release's parts do not fit: {what}",
                where=str(release.directory / RELEASE_FILE),
                why=f"expected {needed}, found {found}",
                fix="build the release again with this version of Assay",
            )
    _check_measured(release)


def _check_measured(release: Release) -> None:
    """Calibration and operating points must be as pinned, and made for these labels' phrases and this encoder."""
    calibration, points, bindings = release.calibration(), release.operating_points(), release.bindings()
    bound = calibration.point_bindings(bindings, release.library())
    strangers = {
        "calibration": [label for label, one in calibration.labels.items() if bindings.get(label) != one.bound_to],
        "operating points": points.strangers(bound),
    }
    for what, labels in strangers.items():
        if labels:
            raise ReleaseError(
                f"the release's {what} were not made for it",
                where=str(release.directory / RELEASE_FILE),
                why=f"{', '.join(labels)}: made for other phrases, another encoder or another calibration",
                fix="run `assay calibrate` on this release",
            )
