"""What the commands `assay release …` do between their flags and their exit codes.

Knows terminals and JSON output. Does not know MLflow, nor how releases are made, registered and promoted.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, TypeVar

from cyclopts import Parameter
from pydantic import BaseModel, Field
from rich.console import Console
from rich.table import Table
from rich.text import Text

from assay.jobs.printed import FLAT, AsJson
from assay.platform.encoder import EncoderSpec, Precision
from assay.platform.release import Release, resolve_release
from assay.platform.release_build import ReleaseSpec, build_release
from assay.platform.spec import Spec
from assay.platform.views import Decode
from assay.registry.catalogue import (
    CompareSpec,
    ListSpec,
    ShowSpec,
    compare_releases,
    list_releases,
    read_log,
    show_release,
)
from assay.registry.models import Version
from assay.registry.promotion import MoveFacts, PromoteSpec, RollbackSpec
from assay.registry.promotion import promote as promote_release
from assay.registry.promotion import rollback as roll_back
from assay.registry.promotion_entry import Check, Entry
from assay.registry.registering import RegisterSpec
from assay.registry.registering import register as register_release

REFUSED = 3
_LIST, _SHOW, _ROLLBACK = ListSpec(), ShowSpec(), RollbackSpec()
F = TypeVar("F", bound=BaseModel)


class _Written(Spec):
    directory: Path = Field(kw_only=False, description="where the release is written")


class _Directory(Spec):
    release: str = Field(kw_only=False, description="release directory; `starter` is the bundled one")


class BuildCommand(RegisterSpec, _Written):
    """What `assay release build` takes."""

    name: str = Field(description="its name")
    library: Path = Field(description="semantic library, YAML")
    policy: tuple[Path, ...] = Field(min_length=1, description="policy, YAML; the first is the default")
    encoder: str = Field("bundled", description="bundled, an open_clip name such as ViT-B-32, hf-hub:…, local-dir:…")
    pretrained: str | None = Field(None, description="pretrained tag of an open_clip name")
    precision: Precision = Field("fp32", description="of the encoder; another one rounds embeddings otherwise")
    decode: Decode = Field("full", description="scaled: large JPEGs faster, and one verdict in ninety another")
    calibrated_like: Path | None = Field(
        None, description="release whose calibration and thresholds are kept, where valid"
    )
    register_too: Annotated[bool, Parameter(name="--register")] = Field(False, description="register it at once")


class RegisterCommand(RegisterSpec, _Directory):
    """What `assay release register` takes."""


def build(spec: Annotated[BuildCommand, FLAT], *, as_json: AsJson = False) -> int:
    """Make a release directory: encoder, library and policies, pinned by one digest."""
    encoder = EncoderSpec(model=spec.encoder, pretrained=spec.pretrained, precision=spec.precision, decode=spec.decode)
    wanted = ReleaseSpec(
        name=spec.name,
        encoder=encoder,
        library=spec.library,
        policies=spec.policy,
        calibrated_like=spec.calibrated_like,
    )
    release = build_release(spec.directory, wanted)
    made = register_release(release, spec) if spec.register_too else None
    uncalibrated = sorted(set(release.library().labels) - set(release.calibration().labels))
    if as_json:
        facts = {"release": release.id, "digest": release.digest, "directory": str(spec.directory)}
        print(json.dumps({**facts, "uncalibrated": uncalibrated, "registered": made.uri if made else None}))
        return 0
    print(f"release {release.id} in {spec.directory}")
    if uncalibrated:
        print(f"uncalibrated, so nothing is blocked for them: {', '.join(uncalibrated)}; `assay calibrate` mends that")
    if made:
        print(f"registered as {made.uri}")
    return 0


def register(spec: Annotated[RegisterCommand, FLAT], *, as_json: AsJson = False) -> int:
    """Register a release directory: its encoder, its library and itself become versions that never change."""
    release = resolve_release(spec.release)
    made = _waiting(as_json, lambda _tell: register_release(release, spec))
    _print_made(release, made, as_json)
    return 0


def _print_made(release: Release, made: Version, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"release": release.id, "digest": release.digest, "uri": made.uri, "version": made.number}))
    else:
        print(f"{release.id} is {made.uri}; next: assay release promote {made.number}")


def list_all(spec: Annotated[ListSpec, FLAT] = _LIST, *, as_json: AsJson = False) -> int:
    """List the registered releases, and who is champion."""
    facts = _waiting(as_json, lambda _tell: list_releases(spec))
    if as_json:
        print(facts.model_dump_json())
        return 0
    table = Table("", "release", "", "registered", "champion", "encoder", "library", "made from", box=None)
    for one in facts.releases:
        aliases, parts = ", ".join(one.aliases), (_short(one.encoder), _short(one.library))
        times = f"{one.was_champion} times" if one.was_champion else "never"
        row = (f"v{one.version}", one.release, aliases, one.registered[:10], times, *parts, one.parent)
        table.add_row(*(Text(cell, style="bold" if "champion" in one.aliases else "") for cell in row))
    Console().print(table)
    if not facts.releases:
        print(f"nothing is registered in {facts.registry}; `assay release register starter` would")
    return 0


def show(spec: Annotated[ShowSpec, FLAT] = _SHOW, *, as_json: AsJson = False) -> int:
    """Show one release: its parts, what was measured of it, and what the promotion log says of it."""
    facts = _waiting(as_json, lambda _tell: show_release(spec))
    if as_json:
        print(facts.model_dump_json())
        return 0
    console, one = Console(), facts.release
    console.print(Text(f"{one.uri}  {one.release}  {', '.join(one.aliases)}", style="bold"))
    table = Table(show_header=False, box=None)
    for name in ("digest", "registered", "encoder", "library", "parent", "code"):
        table.add_row(name, Text(str(getattr(one, name))))
    for measured in facts.evidence:
        table.add_row(measured.kind, Text(f"{measured.at}, run {measured.run}"))
    if facts.link:
        table.add_row("page", Text(facts.link))
    console.print(table)
    _print_entries(facts.entries, console)
    return 0


def compare(spec: Annotated[CompareSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Say what differs between two releases, part by part; `assay diff` tells what it does to images."""
    facts = _waiting(as_json, lambda tell: compare_releases(spec, tell))
    if as_json:
        print(facts.model_dump_json())
        return 0
    console = Console()
    console.print(Text(f"{facts.before} -> {facts.after}", style="bold"))
    table = Table(show_header=False, box=None)
    table.add_row("encoder", "same" if facts.same_encoder else "another: the images must be encoded again")
    table.add_row("library", "same" if facts.library.before == facts.library.after else "changed")
    table.add_row("scored anew", Text(", ".join(facts.library.rescored)))
    for name, state in facts.policies.items():
        table.add_row(f"policy {name}", state)
    table.add_row("calibrated now", Text(", ".join(facts.calibrated)))
    table.add_row("calibrated no more", Text(", ".join(facts.uncalibrated)))
    console.print(table)
    for change in facts.library.changes:
        console.print(Text(f"{change.change} {change.kind} {change.id} {change.detail}"))
    return 0


def promote(spec: Annotated[PromoteSpec, FLAT], *, as_json: AsJson = False) -> int:
    """Make a registered release champion, if the gate lets it pass; exit 3 when it does not."""
    facts = _waiting(as_json, lambda tell: promote_release(spec, tell))
    if as_json:
        print(facts.model_dump_json())
        return REFUSED if facts.refused else 0
    console = Console()
    _print_checks(facts.checks, console)
    _print_mended(facts, console)
    now = f"{facts.alias}: {facts.after.shown}"
    if facts.refused:
        names = ", ".join(check.name for check in facts.refused)
        console.print(Text(f"not promoted: {names}. Nothing was changed", style="bold red"))
        console.print('a check is waived by its name: --waive NAME="why"', markup=False)
        return REFUSED
    if not facts.moved:
        console.print("the gate lets it pass; nothing was changed (dry run)")
    elif facts.checks or facts.alias != "champion":
        before = f", before: {facts.before.shown}" if facts.before else ""
        console.print(Text(f"{now}{before}; entry {facts.entry} of {facts.log}", style="bold green"))
    else:
        console.print(Text(f"{now} already, since entry {facts.entry} or before"))
    return 0


def rollback(spec: Annotated[RollbackSpec, FLAT] = _ROLLBACK, *, as_json: AsJson = False) -> int:
    """Make the champion before this one champion again, at once."""
    facts = _waiting(as_json, lambda tell: roll_back(spec, tell))
    if as_json:
        print(facts.model_dump_json())
        return 0
    console = Console()
    _print_mended(facts, console)
    before = facts.before.shown if facts.before else "nobody"
    said = f"champion: {facts.after.shown} again, no more {before}; entry {facts.entry} of {facts.log}"
    console.print(Text(said, style="bold green"))
    return 0


def log(spec: Annotated[ListSpec, FLAT] = _LIST, *, as_json: AsJson = False) -> int:
    """Print the promotion log: who promoted what, when, on what evidence, and what was waived."""
    facts = _waiting(as_json, lambda _tell: read_log(spec))
    if as_json:
        print(facts.model_dump_json())
    else:
        _print_entries(facts.entries, Console())
    return 0


def _print_entries(entries: Iterable[Entry], console: Console) -> None:
    """A line for each, so that it can be searched; waivers below it."""
    for one in entries:
        before = f"v{one.before.version} -> " if one.before else ""
        moved = f"{one.alias} {before}v{one.after.version} {one.after.release}"
        why = f": {one.reason}" if one.reason else ""
        line = Text.assemble(f"{one.number:>4}  {one.at}  ", (f"{one.action} {moved}", "bold"), f"  by {one.by}{why}")
        console.print(line, soft_wrap=True)
        for check in one.waived:
            console.print(Text(f"      waived {check.name}: {check.waived}", style="yellow"), soft_wrap=True)


def _print_checks(checks: Iterable[Check], console: Console) -> None:
    table = Table("check", "", "found", "on", box=None)
    for check in checks:
        style = "green" if check.passed else "yellow" if check.waived else "bold red"
        mark = "passed" if check.passed else f"waived: {check.waived}" if check.waived else "failed"
        on = "; ".join(one.said for one in check.evidence)
        table.add_row(check.name, Text(mark, style=style), Text(check.said), Text(on, style="dim"))
    if table.row_count:
        console.print(table)


def _print_mended(facts: MoveFacts, console: Console) -> None:
    for line in facts.mended:
        console.print(Text(f"mended: {line}", style="yellow"))


def _waiting(as_json: bool, work: Callable[[Callable[[str], None]], F]) -> F:
    """Show that something is being done: MLflow alone takes two seconds to load."""
    console = Console(stderr=True, quiet=as_json)
    with console.status("asking the registry"):
        return work(lambda line: console.print(Text(line, style="dim")))


def _short(uri: str) -> str:
    return f"v{uri.rpartition('/')[2]}"
