"""The registry's doctor: looks at all that people, servers and killed processes can leave amiss, and mends what it may.

Knows in which order to look, and that what follows from the log is looked at, and mended, only when the log is whole.
Writes no entry of the log and deletes nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel, Field

from assay.platform.errors import AssayError
from assay.platform.spec import Spec
from assay.registry.finding import Finding
from assay.registry.log_health import look_at_aliases, look_at_log, look_at_webhook
from assay.registry.place import RegistrySpec
from assay.registry.registry import Registry
from assay.registry.server_health import look_at_runs, look_at_server
from assay.registry.settling import settle
from assay.registry.version_health import look_at_files, look_at_versions
from assay.registry.webhook import WebhookSpec, deliver_to

Look = Callable[[], Iterable[Finding]]
Tell = Callable[[str], None]


class ExamineSpec(Spec):
    """What to examine, and whether to mend it."""

    registry: RegistrySpec = Field(RegistrySpec(), description="which registry")
    mend: bool = Field(False, description="mend what needs nobody's decision")
    deep: bool = Field(False, description="fetch the champion and those before it, and hold them against their digests")
    webhook: WebhookSpec = Field(WebhookSpec(), description="who is told of what was not delivered")


class Examined(BaseModel, frozen=True):
    """All that was looked at."""

    registry: str
    findings: tuple[Finding, ...]

    @property
    def ill(self) -> tuple[Finding, ...]:
        """What somebody must do something about."""
        return tuple(one for one in self.findings if one.ill)


def examine(spec: ExamineSpec, tell: Tell = lambda _line: None) -> Examined:
    """Look at a registry; a finding that is not well does not keep the others from being made.

    Raises:
        SpecError: no registry can be there, or no webhook.
        RegistryError: nobody answers there.
        CredentialsError: it refuses who asks.
    """
    registry = Registry(spec.registry)
    deliver = deliver_to(spec.webhook, registry, tell)
    registry.models.standing("release")  # nothing more is worth asking for if this fails

    def look_at(name: str, look: Look) -> list[Finding]:
        tell(f"looking at the {name}")
        found = _look(name, look)
        return _mend(found, name, look) if spec.mend else found

    findings = look_at("server", lambda: look_at_server(registry))
    log = look_at("log", lambda: look_at_log(registry))
    is_whole = not any(one.ill for one in log)
    last = registry.log.last() if is_whole else None
    pinned = last.pinned if last else {}
    findings += [*log, *look_at("versions", lambda: look_at_versions(registry, pinned))]
    if is_whole:
        findings += look_at("aliases", lambda: look_at_aliases(registry, lambda: settle(registry, deliver)))
        findings += look_at("webhook", lambda: look_at_webhook(registry, deliver))
    findings += look_at("runs", lambda: look_at_runs(registry))
    if spec.deep:
        findings += look_at("files", lambda: look_at_files(registry, pinned))
    return Examined(registry=registry.place.uri, findings=tuple(findings))


def _look(name: str, look: Look) -> list[Finding]:
    try:
        return list(look())
    except AssayError as error:
        return [Finding.of(name, error)]


def _mend(found: Sequence[Finding], name: str, look: Look) -> list[Finding]:
    """Mend what can be mended, and look again: only what is well then was mended."""
    failed = dict(_try_to_mend(found))
    if not failed:
        return list(found)
    again = {one.name: one for one in _look(name, look) if one.ill}
    after = [_told(one, again, failed) if one.name in failed else one for one in found]
    return after + [one for one in again.values() if one.name not in {before.name for before in found}]


def _try_to_mend(found: Iterable[Finding]) -> Iterator[tuple[str, str]]:
    """Names of what was tried, and why it failed, if it did."""
    for one in found:
        if one.ill and one.mend is not None:
            try:
                one.mend()
                yield one.name, ""
            except AssayError as error:
                yield one.name, f"; it could not be mended: {error.what}: {error.why}"


def _told(before: Finding, again: Mapping[str, Finding], failed: Mapping[str, str]) -> Finding:
    if before.name not in again:
        return before.model_copy(update={"mended": True})
    return before.model_copy(update={"said": f"{again[before.name].said}{failed[before.name]}"})
