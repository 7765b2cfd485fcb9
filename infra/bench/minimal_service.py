"""The least that answers images over HTTP: uvicorn and one FastAPI handler around the same guarded decoders.

`python -m infra.bench.minimal_service RELEASE PORT DECODERS` serves on loopback until told to end. It encodes and
judges nothing, knows no keys, limits, batches or releases, and answers a few words: what a service costs beside it is
what those cost. Prints a line when it listens.
"""

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request

from assay.platform.faults import Fault
from assay.platform.guard import Guard
from assay.platform.release import Release
from assay.serving.limits import ONLINE_BUDGET


def minimal_api(release: Release, decoders: int) -> FastAPI:
    """One route, which decodes."""
    api = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    guard = Guard(release.preprocess, ONLINE_BUDGET, decoders)
    threads = ThreadPoolExecutor(decoders, thread_name_prefix="decode")

    @api.post("/v1/analyze")
    async def analyze(request: Request) -> dict[str, str | int]:
        seen = await asyncio.get_running_loop().run_in_executor(threads, guard.decode, await request.body())
        if isinstance(seen, Fault):
            return {"outcome": seen.kind.value}
        return {"outcome": "ok", "width": seen.width, "height": seen.height}

    return api


def main() -> None:
    """Serve until told to end."""
    release, port, decoders = Release.load(Path(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3])
    config = uvicorn.Config(minimal_api(release, decoders), port=port, log_level="warning", access_log=False)
    uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
