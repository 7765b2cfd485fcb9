"""Compiling a library: its canonical form, or its phrases as one encoder reads them.

Knows what is written and under which name. Writing the same twice changes nothing.
"""

import tempfile
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from assay.jobs.library_check import EncoderChoice, LibraryChoice, choose_encoder, library_path
from assay.platform.disk import write_file
from assay.platform.library import SemanticLibrary
from assay.platform.prompt_vectors import PromptVectors


class CompileSpec(EncoderChoice, LibraryChoice):
    """What to compile. With an encoder or release: its prompt vectors. Without: the canonical form."""

    out: Path = Field(description="file to write: canonical JSON, or safetensors with an encoder")


class CompileFacts(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True)

    out: str
    digest: str  # of the library
    encoder: str  # digest; "" for the canonical form
    labels: int
    concepts: int
    phrases: int
    size_bytes: int
    changed: bool  # whether the file is another than before


def compile_library(spec: CompileSpec) -> CompileFacts:
    """Write a library in its canonical form, which loads as a library again, or its prompt vectors.

    Raises:
        LibraryError: the library does not hold together; nothing is written.
        ReleaseError: no such release or encoder.
        StorageError: the file cannot be written.
    """
    library = SemanticLibrary.load(library_path(spec.library))
    _, encoder = choose_encoder(spec)
    if encoder is None:
        data, phrases = library.canonical().encode() + b"\n", _count(library)
    else:
        vectors = PromptVectors.compile(library, encoder)
        data, phrases = _saved(vectors, {"encoder": encoder.digest, "library": library.digest}), len(vectors.texts)
    changed = not spec.out.is_file() or spec.out.read_bytes() != data
    if changed:
        write_file(spec.out, data, if_absent=False)
    return CompileFacts(
        out=str(spec.out),
        digest=library.digest,
        encoder="" if encoder is None else encoder.digest,
        labels=len(library.labels),
        concepts=len(library.concepts),
        phrases=phrases,
        size_bytes=len(data),
        changed=changed,
    )


def _saved(vectors: PromptVectors, bound_to: dict[str, str]) -> bytes:
    with tempfile.TemporaryDirectory() as aside:
        path = Path(aside) / "vectors.safetensors"
        vectors.save(path, bound_to)
        return path.read_bytes()


def _count(library: SemanticLibrary) -> int:
    parts = [library.background, *(label.counter_prompts for label in library.labels.values())]
    for _, concept in library.concepts.values():
        parts += [concept.prompts, concept.counter_prompts]
    return sum(len(some) for phrases in parts for some in phrases.values())
