"""Library CI: every lint that what is at hand allows, and whether the library may be merged.

Words alone always; their vectors with an encoder; pictures with a release and a golden set or exemplars. Knows where
each part comes from. The rules are the platform's.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.library_pictures import PicturesSpec, lint_pictures, needs_release
from assay.jobs.release_choice import RegistryChoice, choose_release
from assay.platform.encoder import Encoder, EncoderSpec, export_encoder, load_encoder
from assay.platform.errors import SpecError
from assay.platform.finding import Finding, Severity, order
from assay.platform.library import SemanticLibrary
from assay.platform.library_lint import lint_against, lint_words
from assay.platform.library_text import LibraryText, broken
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.release import Release, bundled_release
from assay.platform.spec import Spec
from assay.platform.tokens import TokenCounter
from assay.platform.vector_lint import VectorLimits, lint_drift, lint_vectors
from assay.registry.place import RegistrySpec

BUNDLED = ("starter", "production")
"""Libraries that ship with Assay, by name."""


class LibraryChoice(Spec):
    """Which library, where it stands without a flag."""

    library: str = Field(kw_only=False, description="library, YAML; `starter` and `production` are the bundled ones")


class EncoderChoice(Spec):
    """Whose words: an encoder by its name, or a release's."""

    release: str | None = Field(
        None, description="release whose encoder is asked: directory, models:/…, or `starter`, the bundled one"
    )
    encoder: str | None = Field(
        None, description="instead of a release: bundled, an open_clip name such as ViT-L-14, hf-hub:…, local-dir:…"
    )
    pretrained: str | None = Field(None, description="pretrained tag of an open_clip name")
    registry: RegistryChoice = RegistrySpec()


class LibraryLintSpec(PicturesSpec, EncoderChoice, LibraryChoice):
    """What to lint, and with what."""

    against: str | None = Field(None, description="an older snapshot: what vanished and what moved since")
    strict: bool = Field(False, description="warnings count as errors")
    limits: VectorLimits = Field(VectorLimits(), description="cosines that count as the same")


class LintFacts(BaseModel):
    """What was found."""

    model_config = ConfigDict(frozen=True)

    library: str
    digest: str  # "" when it does not load
    read: tuple[str, ...]  # words, vectors, golden pictures
    errors: int
    warnings: int
    notes: int
    findings: tuple[Finding, ...]

    def passes(self, *, strict: bool) -> bool:
        """Whether the library may be merged."""
        return not self.errors and not (strict and self.warnings)


def library_path(ref: str) -> Path:
    """The file of a library: a path, or the name of a bundled one."""
    return bundled_release().parent / ref / "library.yaml" if ref in BUNDLED else Path(ref)


def lint(spec: LibraryLintSpec) -> LintFacts:
    """Lint a library as far as what is given allows.

    Raises:
        LibraryError: a file is not there or not YAML; an older snapshot that does not load.
        SpecError: a golden set without a release; both a release and an encoder.
        GoldenError: a golden set that cannot be read, or pictures of it that cannot be had.
        ReleaseError: no such release or encoder.
    """
    path = library_path(spec.library)
    older = SemanticLibrary.load(library_path(spec.against)) if spec.against is not None else None
    if spec.golden is not None and spec.release is None:
        raise needs_release(spec)
    release, encoder = choose_encoder(spec)
    if found := broken(path):
        return _facts(str(path), "", ("words",), found)
    text = LibraryText.read(path)
    found = list(lint_words(text, encoder if isinstance(encoder, TokenCounter) else None))
    found += lint_against(text, older) if older is not None else ()
    if encoder is not None:
        vectors = PromptVectors.compile(text.library, encoder)
        found += _on_vectors(spec, text, older, encoder, vectors)
        found += lint_pictures(spec, text, release, vectors) if release is not None else ()
    given = {"words": True, "vectors": encoder is not None, "golden pictures": spec.golden is not None}
    read = tuple(name for name, is_given in given.items() if is_given)
    return _facts(str(path), text.library.digest, read, found)


def choose_encoder(choice: EncoderChoice) -> tuple[Release | None, Encoder | None]:
    """The encoder that is asked for, loaded, with the release it is of; None if none is.

    Raises:
        SpecError: both a release and an encoder are named.
        ReleaseError: there is no such one.
    """
    if choice.encoder is None:
        release = None if choice.release is None else choose_release(choice.release, choice.registry).release
        return release, None if release is None else release.encoder()
    if choice.release is not None:
        why = f"release {choice.release!r} and encoder {choice.encoder!r}"
        raise SpecError("two encoders are named", where="--release, --encoder", why=why, fix="name one of the two")
    with tempfile.TemporaryDirectory() as aside:
        export_encoder(EncoderSpec(model=choice.encoder, pretrained=choice.pretrained), Path(aside))
        return None, load_encoder(Path(aside))


def _on_vectors(
    spec: LibraryLintSpec, text: LibraryText, older: SemanticLibrary | None, encoder: Encoder, vectors: PromptVectors
) -> Iterator[Finding]:
    yield from lint_vectors(text, vectors, encoder, spec.limits)
    if older is not None:
        yield from lint_drift(text, vectors, PromptVectors.compile(older, encoder), spec.limits)


def _facts(library: str, digest: str, read: tuple[str, ...], found: list[Finding]) -> LintFacts:
    counts = Counter(one.severity for one in found)
    return LintFacts(
        library=library,
        digest=digest,
        read=read,
        errors=counts[Severity.ERROR],
        warnings=counts[Severity.WARNING],
        notes=counts[Severity.NOTE],
        findings=tuple(sorted(found, key=order)),
    )
