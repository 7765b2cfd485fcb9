"""The OpenAPI document of a service with everything in it: `python -m assay.serving.openapi > infra/docs/openapi.json`.

Knows how to make a service that answers nothing. The tests hold the document in the repository against this one.
"""

import json
import sys
from typing import Any

from assay.platform.moderator import Moderator
from assay.platform.release import resolve_release
from assay.serving.champion import Champion, Machine, label_facts, new_guard
from assay.serving.door import DoorSpec, Gate
from assay.serving.ingress import build_api
from assay.serving.job_desk import JobDesk
from assay.serving.job_server import JobServer
from assay.serving.judging import Item, Judged
from assay.serving.serve_args import ServeArgs
from assay.serving.service import Service
from assay.serving.watcher import pin_directory


def document() -> dict[str, Any]:
    """What `/openapi.json` says of the bundled release's service."""
    args, release = ServeArgs(), resolve_release()
    moderator = Moderator(release)
    machine = Machine(args.registry, args.device, args.budget, args.replicas.decoders)
    labels = label_facts(release, moderator.labels)
    guard = new_guard(release, machine)
    champion = Champion(pin_directory(release), release, guard, {moderator.policy.name: moderator}, labels)
    service = Service(args, Gate(DoorSpec()), champion, _nobody)
    return build_api(service, _nothing, JobDesk(args.jobs, JobServer.of(args.jobs), args.registry)).openapi()


async def _nobody(item: Item) -> Judged:
    raise AssertionError(f"this service is described, never asked: {item}")


async def _nothing() -> bytes:
    return b""


if __name__ == "__main__":
    json.dump(document(), sys.stdout, indent=1, ensure_ascii=False)
    print()
