"""The service in this process, without Ray: routes, door, keys, decoders and release are the product's; only the batch
is a loop. For tests of everything that does not depend on Serve.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from assay.platform.release import Release
from assay.registry.place import RegistrySpec
from assay.serving.champion import Champion, Machine
from assay.serving.door import Door, DoorSpec, Gate
from assay.serving.ingress import build_api
from assay.serving.job_desk import JobDesk
from assay.serving.job_server import JobServer
from assay.serving.judging import Item, Judged, judge_items
from assay.serving.keys import Key, Scope
from assay.serving.metrics import page
from assay.serving.new_key import NewKeySpec, make_key
from assay.serving.serve_args import ServeArgs
from assay.serving.service import Service
from assay.serving.swapping import take_on
from assay.serving.watcher import pin_directory


def new_key(**more: Any) -> tuple[str, Key]:
    """A key with all scopes, and its secret."""
    made = make_key(NewKeySpec.model_validate({"tenant": "acme", "scopes": tuple(Scope), **more}))
    return made.secret.get_secret_value(), made.key


@dataclass
class Double:
    """A service and a client of it, whose key has all scopes."""

    service: Service
    client: TestClient
    items: list[Item] = field(default_factory=list)
    """What was judged."""


def machine(args: ServeArgs) -> Machine:
    """What a replica of a service would have."""
    return Machine(args.registry, args.device, args.budget, args.replicas.decoders)


@contextmanager
def service_double(release: Release, **settings: Any) -> Iterator[Double]:
    """The service of a release directory, ready."""
    secret, key = new_key()
    keys = (key, *settings.pop("keys", ()))
    args = ServeArgs.model_validate({"registry": RegistrySpec(), "release": str(release.directory), **settings})
    args = args.model_copy(update={"keys": keys})
    gate = Gate(DoorSpec(limits=args.limits, batch=args.batch))
    champion = take_on(pin_directory(release), machine(args), ())
    items: list[Item] = []

    async def judge(item: Item) -> Judged:
        items.append(item)
        return judge_items([item])[0][0]

    service = Service(args, gate, champion, judge)
    service.crown(champion)

    async def metrics() -> bytes:
        return page({"one": gate.metrics.families()})

    desk = JobDesk(args.jobs, JobServer.of(args.jobs), args.registry)
    door = Door(build_api(service, metrics, desk), gate)
    with TestClient(door, raise_server_exceptions=False, headers={"authorization": f"Bearer {secret}"}) as client:
        yield Double(service, client, items)
    champion.guard.close()


def champion_of(release: Release, args: ServeArgs, before: Champion | None = None) -> Champion:
    """Another release, ready to be crowned."""
    return take_on(pin_directory(release), machine(args), (), before)


GOLDEN = Path(__file__).parent.parent / "serving" / "assay" / "serving" / "data" / "golden.jpg"
