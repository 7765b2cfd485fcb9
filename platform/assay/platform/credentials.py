"""Who asks the store: credentials as they are now, from a spec or from botocore's own chain.

Knows where credentials come from and how long they may be kept. Does not know requests.
"""

import math
import threading
import time

import botocore.credentials
import botocore.exceptions
import botocore.session

from assay.platform.errors import CredentialsError
from assay.platform.refusals import HOW_TO_SIGN_IN

Keys = tuple[str, str, str | None]
"""Access key, secret key and session token."""


KEEP_S = 5.0
"""Seconds that keys without an end of their own are kept: some come from a program that takes its time."""


class Credentials:
    """The credentials of one profile (None: the usual one). Those with an end of their own are kept until near it and
    then fetched anew; others are looked up again and again: files and variables change under a long-lived process."""

    def __init__(self, profile: str | None) -> None:
        self.profile = profile
        self._lock = threading.Lock()
        self._kept: botocore.credentials.Credentials | None = None
        self._kept_until = 0.0

    def keys(self) -> Keys:
        """The keys as they are now.

        Raises:
            CredentialsError: when none can be found.
        """
        try:
            with self._lock:
                if self._kept is None or time.monotonic() > self._kept_until:
                    self._kept = self._look_up()
                frozen = self._kept.get_frozen_credentials()
        except botocore.exceptions.BotoCoreError as error:
            raise CredentialsError("no AWS credentials", why=str(error), fix=HOW_TO_SIGN_IN) from error
        return frozen.access_key, frozen.secret_key, frozen.token

    def forget(self) -> None:
        """Keep nothing: the next keys are fetched anew, whatever they said of their end."""
        with self._lock:
            self._kept = None

    def _look_up(self) -> botocore.credentials.Credentials:
        found = botocore.session.Session(profile=self.profile).get_credentials()
        if found is None:
            why = "nothing in the environment, files or role"
            raise CredentialsError("no AWS credentials", why=why, fix=HOW_TO_SIGN_IN)
        ends = isinstance(found, botocore.credentials.RefreshableCredentials)
        self._kept_until = math.inf if ends else time.monotonic() + KEEP_S
        return found
