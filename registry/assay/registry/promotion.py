"""Promoting and rolling back: the gate is asked, one entry is written, and MLflow follows.

Knows the order of things. The entry is the promotion: before it nothing has happened, after it only what follows from
it is left to do, and the next command does it if this one dies. Does not know what a check asks (`gate.py`).
"""

import getpass
import os
import platform
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from assay.platform.document import did_you_mean
from assay.platform.errors import RegistryError, SpecError, StorageError
from assay.platform.release import Release
from assay.platform.spec import Spec
from assay.registry.evidence import Documents, gather
from assay.registry.fetching import cached_release, fetch_release
from assay.registry.gate import CHECKS, Candidate, GateSpec, check_candidate
from assay.registry.lookup import find_version, side_of
from assay.registry.place import RegistrySpec
from assay.registry.promotion_entry import CHAMPION, FORMER, Alias, Check, Entry, Side
from assay.registry.promotion_run import keep_evidence
from assay.registry.registry import Registry
from assay.registry.settling import settle
from assay.registry.webhook import WebhookSpec, deliver_to

Tell = Callable[[str], None]


class MoveSpec(Spec):
    """Who moves an alias, why, and who is told."""

    reason: str = Field("", description="why, for the log")
    by: str = Field("", description="who; unset: MLFLOW_TRACKING_USERNAME, or this machine's user")
    webhook: WebhookSpec = Field(WebhookSpec(), description="who is told")
    registry: RegistrySpec = Field(RegistrySpec(), description="where the release is registered")


class NamedRelease(Spec):
    """Which registered release."""

    release: str = Field(kw_only=False, description="version, models:/…, or id of a registered release")


class PromoteSpec(MoveSpec, NamedRelease):
    """Which release decides from now on."""

    alias: Alias = Field(CHAMPION, description="challenger: it is watched, not asked; no gate")
    evidence: tuple[Path, ...] = Field(
        (), description="what evaluate, diff and replay --golden printed with --json; besides what runs recorded"
    )
    waive: tuple[str, ...] = Field((), description="CHECK=REASON: a check that need not pass, and why; is logged")
    gate: GateSpec = Field(GateSpec(), description="what must hold")
    dry_run: bool = Field(False, description="ask the gate only")


class RollbackSpec(MoveSpec):
    """Back to a release that was champion before."""

    to: str | None = Field(None, description="version that was champion before; unset: the one before this one")


class MoveFacts(BaseModel, frozen=True):
    """What became of it."""

    moved: bool
    action: Literal["promote", "rollback"]
    alias: Alias
    before: Side | None
    after: Side
    checks: tuple[Check, ...] = ()
    entry: int | None
    """Number of its entry in the promotion log."""
    run: str = ""
    registry: str
    log: str
    mended: tuple[str, ...] = ()
    """What was amiss and was mended on the way."""

    @property
    def refused(self) -> tuple[Check, ...]:
        """Checks that stand in the way."""
        return tuple(check for check in self.checks if not check.holds)


def promote(spec: PromoteSpec, tell: Tell = lambda _line: None) -> MoveFacts:
    """Promote a registered release, if the gate lets it pass; `moved` is false when it does not.

    Raises:
        SpecError: no such release or check; evidence that is none.
        ConflictError: somebody else promoted first.
        RegistryError: the registry cannot be asked, or does not hold what was registered.
    """
    waivers = _read_waivers(spec.waive)
    registry = Registry(spec.registry)
    mended = settle(registry, deliver_to(spec.webhook, registry, tell))
    last = registry.log.last()
    tell("fetching the release")
    version = find_version(registry, spec.release)
    release = fetch_release(registry, version)
    before, after = last.aliases.get(spec.alias) if last else None, side_of(version)
    facts = MoveFacts(
        moved=False,
        action="promote",
        alias=spec.alias,
        before=before,
        after=after,
        entry=last.number if last and before == after else None,
        registry=registry.place.uri,
        log=registry.log.uri,
        mended=tuple(mended),
    )
    if before == after and not spec.dry_run:
        return facts.model_copy(update={"moved": True})
    known = Documents()
    if spec.alias == CHAMPION:
        tell("asking the gate")
        known = gather(registry, release.id, spec.evidence)
        checks = check_candidate(Candidate(release, before, _files_of(registry, before), known), spec.gate)
        facts = facts.model_copy(update={"checks": _waive(checks, waivers)})
    if facts.refused or spec.dry_run:
        return facts
    run = keep_evidence(registry, facts.checks, known, f"promote version {version.number} to {spec.alias}")
    return _move(registry, spec, facts.model_copy(update={"run": run}), last, tell)


def rollback(spec: RollbackSpec, tell: Tell = lambda _line: None) -> MoveFacts:
    """Make an earlier champion champion again; it passed the gate then.

    Raises:
        SpecError: there is no earlier one, or the one named was none.
        ConflictError: somebody else promoted first.
        RegistryError: the registry cannot be asked, or the earlier one was deleted or changed.
    """
    registry = Registry(spec.registry)
    mended = settle(registry, deliver_to(spec.webhook, registry, tell))
    last = registry.log.last()
    target = _former(registry, last, spec.to)
    version = registry.models.version("release", target.version)
    if version is None or version.digest != target.digest:
        why = "it was deleted from the registry" if version is None else f"its digest is {version.digest[:12]} now"
        fix = f"--to another of: {', '.join(str(one.version) for one in last.former)}" if last else ""
        raise RegistryError(f"cannot go back to {target.shown}", where=registry.place.uri, why=why, fix=fix)
    fetch_release(registry, version)  # that it can be had is the least to know before it decides
    facts = MoveFacts(
        moved=False,
        action="rollback",
        alias=CHAMPION,
        before=last.aliases.get(CHAMPION) if last else None,
        after=target,
        entry=None,
        registry=registry.place.uri,
        log=registry.log.uri,
        mended=tuple(mended),
    )
    return _move(registry, spec, facts, last, tell)


def _move(registry: Registry, spec: MoveSpec, facts: MoveFacts, last: Entry | None, tell: Tell) -> MoveFacts:
    aliases = dict(last.aliases) if last else {}
    former = last.former if last else ()
    if facts.alias == CHAMPION:
        former = _former_after(facts, former)
        if aliases.get("challenger") == facts.after:
            del aliases["challenger"]
    entry = Entry(
        number=last.number + 1 if last else 1,
        at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        by=spec.by or _user(spec.registry),
        action=facts.action,
        alias=facts.alias,
        before=facts.before,
        after=facts.after,
        reason=spec.reason,
        checks=facts.checks,
        run=facts.run,
        aliases={**aliases, facts.alias: facts.after},
        former=former,
        previous=last.sha256 if last else "",
        nonce=secrets.token_hex(8),
    )
    registry.log.append(entry)
    mended = _follow(registry, entry, spec, tell)
    return facts.model_copy(update={"moved": True, "entry": entry.number, "mended": (*facts.mended, *mended)})


def _follow(registry: Registry, entry: Entry, spec: MoveSpec, tell: Tell) -> list[str]:
    try:
        return settle(registry, deliver_to(spec.webhook, registry, tell))
    except (RegistryError, StorageError) as error:  # a password that ended is of object storage's kind
        raise RegistryError(
            f"{entry.after.shown} is {entry.alias}, but MLflow does not say so yet",
            where=error.where,
            why=f"{error.what}: {error.why}",
            fix="the log has it, so jobs use it; the next promotion or `assay registry doctor --mend` sets the alias",
        ) from error


def _former_after(facts: MoveFacts, former: tuple[Side, ...]) -> tuple[Side, ...]:
    if facts.action == "rollback":
        return former[former.index(facts.after) + 1 :]
    return (facts.before, *former)[:FORMER] if facts.before else former


def _former(registry: Registry, last: Entry | None, named: str | None) -> Side:
    former = last.former if last else ()
    if not former:
        fix = "promote another release: `assay release promote VERSION`"
        raise SpecError("there is no earlier champion", where=registry.log.uri, why="nobody came before", fix=fix)
    if named is None:
        return former[0]
    number = find_version(registry, named).number
    found = next((side for side in former if side.version == number), None)
    if found is None:
        raise SpecError(
            f"version {number} was not champion before",
            where=registry.log.uri,
            why=f"earlier champions: {', '.join(str(side.version) for side in former)}",
            fix="name one of these, or promote it: `assay release promote`",
        )
    return found


def _files_of(registry: Registry, champion: Side | None) -> Release | None:
    """The champion itself, to hold the candidate against; None when it was deleted and is not kept here."""
    if champion is None:
        return None
    kept = cached_release(registry, champion.digest)
    version = registry.models.version("release", champion.version) if kept is None else None
    return kept if version is None else fetch_release(registry, version)


def _read_waivers(waive: Sequence[str]) -> dict[str, str]:
    waivers: dict[str, str] = {}
    for one in waive:
        name, _, reason = one.partition("=")
        if name not in CHECKS or not reason.strip():
            raise SpecError(
                f"cannot waive {one!r}{did_you_mean(name, CHECKS)}",
                where="--waive",
                why="a check is waived by its name, with a reason that is logged",
                fix=f"say --waive NAME=REASON with one of: {', '.join(CHECKS)}",
            )
        waivers[name] = reason.strip()
    return waivers


def _waive(checks: Sequence[Check], waivers: dict[str, str]) -> tuple[Check, ...]:
    """What passes needs no waiver, and the log does not say that it had one."""
    return tuple(
        check if check.passed else check.model_copy(update={"waived": waivers.get(check.name, "")}) for check in checks
    )


def _user(spec: RegistrySpec) -> str:
    return spec.username or os.environ.get("MLFLOW_TRACKING_USERNAME") or f"{getpass.getuser()}@{platform.node()}"
