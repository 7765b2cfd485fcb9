"""The command line: which commands there are, where their settings come from, and what an exit code means.

    0  done            2  usage or spec        3  finished, but too many faults, or worse than asked
    4  interrupted, the same command resumes   5  job error: credentials, storage, cluster

Imports nothing heavy: commands are loaded when they run, so that `assay --help` answers at once.
"""

import functools
import os
import sys
from collections.abc import Callable
from typing import Annotated

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter
from cyclopts.config import Dict, Env, Yaml
from rich.console import Console

from assay.jobs.ending import end
from assay.platform.errors import AssayError, SpecError

EXIT_CODES = {
    0: "done",
    2: "usage or spec: nothing was started",
    3: "finished, but more faults than --max-fault-rate, worse than --against, over a --budget, or refused",
    4: "interrupted; the same command resumes",
    5: "job error: credentials, storage or cluster",
}

_SERVED = "assay.serving.app:app"
_ENVIRONMENT = Env("ASSAY_", command=False)

app = App(
    name="assay",
    help="Audit stored images against a library of text. Every image ends as one verdict or one typed fault.",
    help_epilogue="Exit codes: " + "; ".join(f"{code} {text}" for code, text in EXIT_CODES.items()) + ".",
    config=(_ENVIRONMENT,),
)
_COMMANDS = {
    "plan": "List a source once and write down what is new.",
    "backfill": "Observe and judge every image of a source; run again to resume or catch up.",
    "status": "Tell how far a store is.",
    "verify": "Prove that nothing is missing or doubled, and print the digest.",
    "report": "Write the HTML and JSON report of a store.",
    "forget": "Erase what a store knows of a uri or prefix, for good.",
    "compact": "Make few files of many small ones; rows, digests and resumes stay as they are.",
    "vacuum": "Delete what lies in a store and nobody names.",
    "repair": "Unname committed files that are gone or damaged; the same backfill makes them again.",
    "demo": "Compose a bucket of pictures and run the whole job on it.",
    "doctor": "Check Ray, CPU and GPU, storage and encoder, and say how to mend what is wrong.",
}
for _name, _help in _COMMANDS.items():
    app.command(f"assay.jobs.commands:{_name}", name=_name, help=_help)
app.command(
    "assay.jobs.reaudit_commands:reaudit",
    name="reaudit",
    help="Judge all that a store has observed under another release or policy; no picture is fetched.",
)
app.command(
    "assay.jobs.replay_commands:replay",
    name="replay",
    help="Make a verdict again from its stored row and its release, and show its whole path.",
)
app.command(
    "assay.jobs.quality_commands:calibrate",
    name="calibrate",
    help="Learn probabilities, and thresholds that keep what the policies promise.",
)
app.command(
    "assay.jobs.evaluate_commands:evaluate",
    help="Measure a release on a golden set; with --against, exit 3 when it is worse than another.",
)
app.command(
    "assay.jobs.migrate_commands:migrate",
    help="Make a store for another encoder of one that is there: map what is certain, encode the rest.",
)
app.command(
    "assay.jobs.diff_commands:diff",
    help="Say what another release decides otherwise over a whole store; exit 3 when it is over a budget.",
)

_GOLDEN = {
    "build": ("build", "Draw images from a judged store for people to label."),
    "import": ("import_golden", "Check golden rows or review decisions in CSV or JSON Lines; write Parquet."),
    "export": ("export_golden", "Write a golden set as CSV or JSON Lines."),
}
golden = App(name="golden", help="Golden sets: what people have confirmed of some images.")
for _name, (_function, _help) in _GOLDEN.items():
    golden.command(f"assay.jobs.golden_commands:{_function}", name=_name, help=_help)
app.command(golden)

_PREVALENCE = {
    "sample": ("sample", "Draw images whose answers tell what was left unflagged."),
    "estimate": ("estimate", "Tell from the answers how much violating content there is, and how much was left."),
}
prevalence = App(name="prevalence", help="Violating content in all and left unflagged, with intervals.")
for _name, (_function, _help) in _PREVALENCE.items():
    prevalence.command(f"assay.jobs.prevalence_commands:{_function}", name=_name, help=_help)
app.command(prevalence)

_RELEASE = {
    "build": ("build", "Make a release directory of an encoder, a library and policies."),
    "register": ("register", "Register a release with its parts: versions that never change."),
    "list": ("list_all", "List the registered releases, and who is champion."),
    "show": ("show", "Show one release: parts, evidence, and what the promotion log says of it."),
    "compare": ("compare", "Say what differs between two releases, part by part."),
    "promote": ("promote", "Make a registered release champion, if the gate lets it pass; exit 3 if not."),
    "rollback": ("rollback", "Make the champion before this one champion again."),
    "log": ("log", "Print the promotion log: who, when, from, to, on what evidence, what was waived."),
}
release = App(name="release", help="Releases: made, registered, compared, promoted, rolled back.")
for _name, (_function, _help) in _RELEASE.items():
    release.command(f"assay.jobs.release_commands:{_function}", name=_name, help=_help)
release.command(
    "assay.jobs.registry_commands:copy",
    name="copy",
    help="Copy a registered release and its evidence to another registry; it is promoted there.",
)
app.command(release)

registry = App(name="registry", help="The registry of releases: what is amiss in it.")
registry.command(
    "assay.jobs.registry_commands:doctor",
    name="doctor",
    help="Say what is amiss in a registry; --mend mends what needs nobody's decision; exit 5 when something is left.",
)
app.command(registry)

_LIBRARY = {
    "lint": ("lint", "Say what is wrong or unwise in a library; exit 2 on errors."),
    "show": ("show", "Print a library as a tree, with counts."),
    "diff": ("diff", "Say what changed between two libraries, and which labels' scores change."),
    "compile": ("compile_library", "Write a library's canonical form, or its prompts as an encoder's vectors."),
    "suggest": ("suggest", "Propose concepts for what a store shows more of and no phrase speaks of."),
}
library = App(name="library", help="The semantic library: check, show, compare, compile, find what it lacks.")
for _name, (_function, _help) in _LIBRARY.items():
    library.command(f"assay.jobs.library_commands:{_function}", name=_name, help=_help)
app.command(library)

app.command(
    "assay.serving.serve_commands:serve",
    name="serve",
    help="Serve a release over HTTP: the champion, followed without a restart.",
)
key = App(name="key", help="API keys of the online service.")
key.command("assay.serving.key_commands:new", name="new", help="Make an API key, and its entry for the keyring.")
app.command(key)


@app.meta.default
def _with_config(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[str | None, Parameter(help="YAML file with settings; flags and ASSAY_* variables win")] = None,
) -> int:
    """Read settings from a file, too."""
    app.config = (_ENVIRONMENT, *((_settings(config),) if config else ()))
    return int(app(tokens, exit_on_error=False) or 0)


def _settings(file: str) -> Callable[[App, tuple[str, ...], ArgumentCollection], None]:
    """The settings of a file, for whichever command is asked. In one of Ray Serve's they are the arguments of its
    application, so that `assay serve` takes what `serve deploy` and KubeRay take."""
    settings = Yaml(file, must_exist=True).config
    applications = settings.get("applications")
    if isinstance(applications, list):
        ours = [one.get("args", {}) for one in applications if one.get("import_path") == _SERVED]
        if len(ours) != 1:
            why = f"{len(ours)} of its applications have import_path: {_SERVED}"
            raise SpecError("this Serve configuration is not of one service of Assay's", where=file, why=why)
        settings = ours[0]

    def fill(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        # Below the command's own name: settings at the top would be left out where a command is named like one, as
        # `release` and `registry` are.
        named = functools.reduce(lambda inner, name: {name: inner}, reversed(commands), settings)
        Dict(named, source=file)(app, commands, arguments)

    return fill


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    os.environ.setdefault("PYDANTIC_ERRORS_INCLUDE_URL", "0")
    # What is left of a pipeline when its cluster is gone must not join, or start, another one by itself.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        return int(app.meta(arguments, exit_on_error=False, result_action="return_value") or 0)
    except CycloptsError:  # already printed, with a suggestion
        return 2
    except AssayError as error:
        Console(stderr=True, highlight=False).print(f"[bold red]{type(error).__name__}[/]", end=" ")
        print(error, file=sys.stderr)
        return error.exit_code


def run() -> None:
    """Entry point of the `assay` script."""
    end(main())
