"""What of a registry's server, and of the runs in it, can be seen to be amiss from outside.

Knows MLflow's version and which of its settings show to a client. Cannot see the others: `infra/docs/registry.md` has
those that a server should have.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from assay.registry.client import Client
from assay.registry.finding import Finding
from assay.registry.log_health import MEND
from assay.registry.registry import Registry

LEAST = (3, 17, 2)
"""Of MLflow: older ones let strangers read files, reach other servers, or overwrite artifacts."""
LONG_S = 3600.0
"""An upload that takes longer is marked as killed by who mends, and as finished by itself when it is done."""


def look_at_server(registry: Registry) -> Iterator[Finding]:
    """That it answers, is no older than what is safe, and answers nobody without a password."""
    if registry.place.is_local:
        registry.models.standing("release")
        yield Finding(name="registry", well=True, said=f"{registry.place.uri}: a file, whose owner is who may promote")
        return
    client = Client(registry.spec)
    found = client.server_version()
    is_old = tuple(int(part) for part in found.split(".")[:3] if part.isdecimal()) < LEAST
    fix = f"update it to {'.'.join(map(str, LEAST))} or later" if is_old else ""
    yield Finding(name="registry", well=not is_old, said=f"{registry.place.uri}: MLflow {found}", fix=fix)
    is_open = client.answers_strangers()
    said = "it answers without a user and password" if is_open else "it asks for a user and password"
    fix = "start it with `--app-name basic-auth`, or behind a proxy that asks" if is_open else ""
    yield Finding(name="passwords", well=not is_open, said=said, fix=fix)


def look_at_runs(registry: Registry) -> Iterator[Finding]:
    """Runs that nobody ended: who wrote them was killed. What they had not finished, nobody sees."""
    runs = registry.runs
    if runs.is_erased():
        said = f"the experiment {registry.spec.name!r} was deleted: `mlflow gc` would remove all releases' files"
        yield Finding(name="experiment", well=False, said=said, fix=MEND, mend=runs.restore)
        return
    unended = runs.unended(time.time() - LONG_S)
    used = {version.run for version in registry.models.versions("release")} if unended else set[str]()
    for run in unended:
        since = datetime.fromtimestamp(run.start, UTC).strftime("%Y-%m-%d %H:%M UTC")
        said = f"{run.name}: began {since} and never ended: whoever wrote it was killed"
        mend = partial(runs.end_run, run.id, "FINISHED" if run.id in used else "KILLED")
        yield Finding(name=f"run {run.id}", well=False, said=said, fix=MEND, mend=mend)
    if not unended:
        yield Finding(name="runs", well=True, said="none was left unended")
