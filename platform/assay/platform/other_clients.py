"""The other clients of object storage, pyarrow and delta-rs: told where it is and who asks, and as patient as our own.

Knows how each spells a place, its keys and its tries, and that its errors tell in words only. Does not know what is
read or written, nor when a pause ends (`storage.py`).
"""

import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import pyarrow.fs

from assay.platform.bucket import first_key
from assay.platform.refusals import Trouble
from assay.platform.storage import Storage
from assay.platform.tries import Tries
from assay.platform.uris import parse_uri

T = TypeVar("T")

CLIENT_TRIES = 5
"""Tries of pyarrow and delta-rs, at most: each waits longer than the last, up to 20 s."""


def outlast(storage: Storage, uri: str, work: Callable[[], T], passing: tuple[type[Exception], ...] = (OSError,)) -> T:
    """Run `work`, which asks the store at `uri` with another client (pyarrow, delta-rs), as patiently as a request.

    `work` must call `arrow_place` or `delta_place` itself, to sign with fresh credentials, and may be run several
    times. Errors of the types `passing` are tried again; `FileNotFoundError` is an answer.

    Raises:
        CredentialsError, StorageError: patience ended.
    """
    place = parse_uri(uri)
    tries = Tries(min(storage.spec.retries, CLIENT_TRIES))
    while True:
        try:
            return work()
        except FileNotFoundError:
            raise
        except passing:
            if not place.is_s3:
                raise
            storage.retried["another client"] += 1
            if tries.again(Trouble.PASSING):
                continue
            # What the other client met is told in words only. Ask the same store, to hear it in codes, and wait.
            pauses = storage.patience.pauses
            storage.request(partial(first_key, place=place), place=place)
            if storage.patience.pauses == pauses:
                raise
            tries = Tries(min(storage.spec.retries, CLIENT_TRIES))


def arrow_place(storage: Storage, uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
    """pyarrow's file system for `uri`, and the path in it."""
    place = parse_uri(uri)
    if not place.is_s3:
        return pyarrow.fs.LocalFileSystem(), place.key
    key, secret, token = storage.keys()
    scheme, _, host = (storage.endpoint or "").rpartition("://")
    fs = pyarrow.fs.S3FileSystem(
        access_key=key,
        secret_key=secret,
        session_token=token,
        region=storage.region,
        endpoint_override=host or None,
        scheme=scheme or "https",
        connect_timeout=storage.spec.connect_timeout_s,
        request_timeout=storage.spec.read_timeout_s,
        retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=min(storage.spec.retries, CLIENT_TRIES)),
    )
    return fs, f"{place.bucket}/{place.key}"


def delta_place(storage: Storage, uri: str) -> tuple[str, dict[str, str]]:
    """delta-rs's spelling of `uri` and its storage options (conditional put by etag)."""
    place = parse_uri(uri)
    if not place.is_s3:
        return place.key, {}
    key, secret, token = storage.keys()
    options = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": storage.region,
        "aws_conditional_put": "etag",
        "max_retries": str(min(storage.spec.retries, CLIENT_TRIES) - 1),
        "timeout": f"{storage.spec.read_timeout_s:.0f}s",
        "connect_timeout": f"{storage.spec.connect_timeout_s:.0f}s",
    }
    if token or "AWS_SESSION_TOKEN" in os.environ:  # delta-rs would add the environment's to our keys
        options["AWS_SESSION_TOKEN"] = token or ""
    if storage.endpoint:
        options |= {
            "AWS_ENDPOINT_URL": storage.endpoint,
            "AWS_ALLOW_HTTP": str(storage.endpoint.startswith("http://")).lower(),
        }
    return f"s3://{place.bucket}/{place.key}", options
