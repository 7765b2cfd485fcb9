"""One line of JSON for each request: who, what, how it ended. Never bytes of an image, a key, or a query string.

Knows the fields. Does not know where lines go: they are written to standard output, which Ray keeps per process and
collectors of logs read.
"""

import json
import logging
import re
import sys
import time
from collections.abc import Mapping

_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def access_logger() -> logging.Logger:
    """The logger of this process; set up once."""
    logger = logging.getLogger("assay.access")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.__stdout__)  # Serve has taken sys.stdout, and would put words before JSON
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


def write_line(logger: logging.Logger, event: str, facts: Mapping[str, object]) -> None:
    """Write one event. JSON escapes what could end or forge a line."""
    moment = time.time()
    at = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(moment))}.{int(moment % 1 * 1000):03d}Z"
    logger.info(json.dumps({"at": at, "event": event, **facts}))


def trace_of(traceparent: bytes | None) -> str | None:
    """The trace id of a W3C `traceparent` header; None when there is none that holds to the form."""
    match = _TRACEPARENT.fullmatch(traceparent or b"")
    return match[1].decode() if match and match[1] != b"0" * 32 else None
