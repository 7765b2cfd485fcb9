"""The head of a Ray cluster: is it still there?

Knows its address, and how long it may be silent. Does not know Ray.
"""

import socket
import time

from assay.platform.errors import AssayError

HEAD_S = 45.0
"""Seconds without the cluster's head after which the job ends with a word; at 60 Ray would end this process without."""


class Head:
    """The cluster's head (GCS): drivers do not survive it for long, and Ray ends them without a word."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self.address, self._at = address, (host.strip("[]"), int(port))
        self._last = time.monotonic()

    def answers(self) -> bool:
        """False once nobody has listened there for `HEAD_S`."""
        try:
            socket.create_connection(self._at, timeout=1.0).close()
        except OSError:
            return time.monotonic() - self._last < HEAD_S
        self._last = time.monotonic()
        return True

    def error(self) -> AssayError:
        """That it is gone."""
        return AssayError(
            "the head of the Ray cluster is gone",
            where=self.address,
            why=f"nobody has answered there for {HEAD_S:.0f} s",
            fix="start the cluster again, then the same command: what is committed stays",
        )
