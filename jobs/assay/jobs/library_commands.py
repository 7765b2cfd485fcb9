"""What each `assay library` command does between its flags and its exit code: read a Spec, call one function, print."""

from typing import Annotated

from pydantic import BaseModel, Field
from rich.console import Console, RenderableType

from assay.jobs.library_check import LibraryChoice, LibraryLintSpec, library_path
from assay.jobs.library_check import lint as lint_job
from assay.jobs.library_compile import CompileSpec
from assay.jobs.library_compile import compile_library as compile_job
from assay.jobs.library_page import diff_page, findings_page, shown, suggestions_page, tree
from assay.jobs.library_suggest import suggest as suggest_job
from assay.jobs.printed import FLAT, AsJson
from assay.jobs.suggestion import SuggestSpec
from assay.platform.library import SemanticLibrary
from assay.platform.library_diff import compare
from assay.platform.spec import Spec


class DiffSpec(Spec):
    """What `assay library diff` takes."""

    before: str = Field(kw_only=False, description="the older library, YAML")
    after: str = Field(kw_only=False, description="the newer one")


def lint(spec: Annotated[LibraryLintSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Say what is wrong or unwise in a library; exit 2 on errors, and on warnings under --strict."""
    facts = lint_job(spec)
    _print(facts, findings_page(facts), as_json)
    return 0 if facts.passes(strict=spec.strict) else 2


def show(spec: Annotated[LibraryChoice, FLAT], *, as_json: AsJson = False) -> int:
    """Print a library as a tree, with counts."""
    facts = shown(SemanticLibrary.load(library_path(spec.library)))
    _print(facts, tree(facts), as_json)
    return 0


def diff(spec: Annotated[DiffSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Say what changed from one library to another, and which labels' scores change."""
    facts = compare(*(SemanticLibrary.load(library_path(ref)) for ref in (spec.before, spec.after)))
    _print(facts, diff_page(facts), as_json)
    return 0


def compile_library(spec: Annotated[CompileSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Write a library's canonical form, or its prompts as an encoder's vectors; the same twice is the same file."""
    facts = compile_job(spec)
    done = "written" if facts.changed else "unchanged"
    _print(facts, f"{facts.out}: {done}; library {facts.digest[:12]}, {facts.phrases:,} phrases", as_json)
    return 0


def suggest(spec: Annotated[SuggestSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Propose concepts for what a store shows more of and no phrase speaks of; a person decides."""
    facts = suggest_job(spec)
    _print(facts, suggestions_page(facts), as_json)
    return 0


def _print(facts: BaseModel, page: RenderableType, as_json: bool) -> None:
    if as_json:
        print(facts.model_dump_json())
    else:
        Console(highlight=False, markup=False, soft_wrap=True).print(page)
