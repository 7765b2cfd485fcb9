from pathlib import Path

from assay.jobs.library_compile import CompileSpec, compile_library
from assay.platform.prompt_vectors import PromptVectors
from assay.platform.release import Release


def test_vectors_of_a_release_are_those_it_ships(release_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors.safetensors"
    spec = CompileSpec(library="starter", out=out, release=str(release_dir))
    facts = compile_library(spec)
    release = Release.load(release_dir)
    assert out.read_bytes() == (release_dir / release.manifest.vectors).read_bytes()
    vectors, bound_to = PromptVectors.load(out)
    assert bound_to == {"encoder": release.manifest.encoder.digest, "library": facts.digest}
    assert facts.phrases == len(vectors.texts)
    assert not compile_library(spec).changed


def test_an_encoder_by_name(tmp_path: Path, release_dir: Path) -> None:
    out = tmp_path / "vectors.safetensors"
    facts = compile_library(CompileSpec(library="starter", out=out, encoder="hash"))
    assert facts.encoder == Release.load(release_dir).manifest.encoder.digest
