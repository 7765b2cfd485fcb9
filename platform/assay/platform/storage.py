"""Object storage: one Spec, and the s3fs client made from it; `other_clients.py` has pyarrow and delta-rs.

Knows endpoints and regions, how often and how long a request is asked again, and whole objects. Does not know images,
tables or what is stored; what a failed request means is in `refusals.py`. The environment is read by botocore's own
credential chain (AWS_* variables, profiles, roles), in the process that connects: secrets are not carried in Specs
unless the caller puts them there.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar, TypeVar

import botocore.exceptions
import botocore.session
import s3fs
from fsspec.asyn import sync
from pydantic import Field, SecretStr

from assay.platform.body import BodyReader, Pace, PlainEtags
from assay.platform.bucket import Ask, delete_object, first_key, get_object, head_object, list_objects, put_object
from assay.platform.credentials import Credentials, Keys
from assay.platform.disk import file_facts, list_files, read_file, remove_file, write_file
from assay.platform.errors import CredentialsError
from assay.platform.patience import Patience
from assay.platform.refusals import EXPIRED_CODES, REQUEST_ERRORS, Trouble, error_code, job_error, trouble_of
from assay.platform.spec import Spec
from assay.platform.stored import StoredFile
from assay.platform.tries import Tries
from assay.platform.uris import Location, parse_uri

T = TypeVar("T")


class StorageSpec(Spec):
    """Where object storage is and who asks. Unset fields come from the standard AWS variables and files."""

    endpoint: str | None = Field(None, description="S3 endpoint URL, for a store that is not AWS [AWS_ENDPOINT_URL]")
    region: str | None = Field(None, description="region [AWS_REGION, AWS_DEFAULT_REGION]")
    profile: str | None = Field(None, description="profile in the AWS files [AWS_PROFILE]")
    access_key: SecretStr | None = Field(None, description="access key; better left to the environment")
    secret_key: SecretStr | None = Field(None, description="secret key; better left to the environment")
    session_token: SecretStr | None = Field(None, description="session token; better left to the environment")
    connect_timeout_s: float = Field(10.0, gt=0, description="seconds to wait for a connection")
    read_timeout_s: float = Field(60.0, gt=0, description="seconds to wait for the next bytes")
    retries: int = Field(10, ge=1, le=20, description="tries of one request, with backoff and jitter")
    patience_s: float = Field(
        300.0, ge=0, description="seconds to wait when the store goes away or refuses credentials that worked before"
    )
    poll_s: float = Field(3.0, gt=0, description="seconds between two looks whether the store is back")
    grace_s: float = Field(5.0, gt=0, description="seconds an object may take to come, besides those for its size")
    least_bytes_per_s: float = Field(32_768.0, gt=0, description="bytes per second below which it is asked for again")
    proven: bool = Field(False, description="the store works for other processes of this job: wait if it does not here")


class Storage:
    """The client made from one `StorageSpec`. Cheap to make; connects when first used; picklable by its spec."""

    DEFAULT_REGION: ClassVar[str] = "us-east-1"

    def __init__(self, spec: StorageSpec | None = None) -> None:
        self.spec = spec or StorageSpec()
        self.patience = Patience(self.spec.patience_s, self.spec.poll_s)
        self.etags = PlainEtags()
        self.retried: Counter[str] = Counter()
        """Tries that had to be made again, by the kind of trouble."""
        self._credentials = Credentials(self.spec.profile)
        self._connecting = threading.Lock()
        self._connected: s3fs.S3FileSystem | None = None

    def __reduce__(self) -> tuple[object, ...]:
        return Storage, (self.spec,)

    @cached_property
    def _session(self) -> botocore.session.Session:
        return botocore.session.Session(profile=self.spec.profile)

    @cached_property
    def endpoint(self) -> str | None:
        """The endpoint in force: of the spec, the environment or the profile; None means AWS itself."""
        if self.spec.endpoint:
            return self.spec.endpoint
        named = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        found = named or self._from_profile("endpoint_url")
        return str(found) if found else None

    @cached_property
    def region(self) -> str:
        """The region in force."""
        found = self.spec.region or os.environ.get("AWS_REGION") or self._from_profile("region")
        return str(found or os.environ.get("AWS_DEFAULT_REGION") or self.DEFAULT_REGION)

    def settled(self) -> StorageSpec:
        """The spec with endpoint and region as this process finds them, for processes elsewhere. Credentials stay
        theirs to find, unless the spec carries them."""
        proven = self.spec.proven or self.patience.worked
        return self.spec.model_copy(update={"endpoint": self.endpoint, "region": self.region, "proven": proven})

    def _from_profile(self, name: str) -> object:
        try:
            return self._session.get_scoped_config().get(name)
        except botocore.exceptions.ProfileNotFound as error:
            raise CredentialsError("no such AWS profile", why=str(error), fix="name one of ~/.aws/config") from error

    def keys(self) -> Keys:
        """Access key, secret key and session token as they are now (roles, profiles and files hand out fresh ones).

        Raises:
            CredentialsError: when none can be found.
        """
        if self.spec.access_key and self.spec.secret_key:
            token = self.spec.session_token.get_secret_value() if self.spec.session_token else None
            return self.spec.access_key.get_secret_value(), self.spec.secret_key.get_secret_value(), token
        return self._credentials.keys()

    @property
    def s3(self) -> s3fs.S3FileSystem:
        """The s3fs file system; its client signs with refreshing credentials unless the spec carries keys."""
        with self._connecting:
            if self._connected is None:
                self._connected = self._connect()
            return self._connected

    def _connect(self) -> s3fs.S3FileSystem:
        explicit: dict[str, object] = {}
        if self.spec.access_key:
            key, secret, token = self.keys()
            explicit = {"key": key, "secret": secret, "token": token}
        elif self.spec.profile:
            explicit = {"profile": self.spec.profile}
        return s3fs.S3FileSystem(
            **explicit,
            endpoint_url=self.endpoint,
            client_kwargs={"region_name": self.region},
            config_kwargs={
                "connect_timeout": self.spec.connect_timeout_s,
                "read_timeout": self.spec.read_timeout_s,
                # Tries are counted here, over refusals and bodies alike. botocore's own also share a quota among the
                # threads of a client, which an outage of a few seconds uses up.
                "retries": {"mode": "standard", "total_max_attempts": 1},
                "max_pool_connections": 64,
            },
            use_listings_cache=False,
            skip_instance_cache=True,  # its instances outlive a change of the environment's credentials
        )

    def renew(self) -> None:
        """Connect anew with the next request, with the credentials that files, variables and roles have then."""
        self._credentials.forget()
        with self._connecting:
            self._connected = None

    def request(self, ask: Ask[T], *, place: Location | None = None, alone: bool = False) -> T:
        """Run `ask(client)` with the S3 client of s3fs, as often as the spec allows; its last error is botocore's own.

        When the store goes away, or refuses credentials that worked before, everything waits up to `patience_s`. Of an
        object at `place` that may fail `alone`, that is believed only if the store fails for others too.

        Raises:
            CredentialsError, StorageError: patience ended.
        """
        tries = Tries(self.spec.retries)
        while True:
            self.patience.join()
            try:
                return self._ask(ask)
            except (botocore.exceptions.ClientError, *REQUEST_ERRORS) as error:
                trouble = trouble_of(error)
                self.retried[trouble.value] += 1
                if trouble not in {Trouble.FINAL, Trouble.LOST} and tries.again(trouble):
                    continue
                if trouble not in {Trouble.PASSING, Trouble.LOST}:
                    raise
                probe = partial(first_key, place=place) if place else ask
                if alone and trouble is Trouble.PASSING and self._is_well(probe):
                    raise
                self._outwait(error, trouble, probe, place or Location("", ""))
                tries = Tries(self.spec.retries)

    def _ask(self, ask: Ask[T]) -> T:
        fs = self.s3

        async def run() -> T:
            return await ask(await fs.set_session())

        answer: T = sync(fs.loop, run)
        self.patience.succeed()
        return answer

    def _is_well(self, probe: Ask[object]) -> bool:
        try:
            self._ask(probe)
        except (botocore.exceptions.ClientError, *REQUEST_ERRORS) as error:
            return trouble_of(error) not in {Trouble.PASSING, Trouble.LOST}
        return True

    def _outwait(self, error: Exception, trouble: Trouble, probe: Ask[object], place: Location) -> None:
        """Wait until the store is well again; what has never worked is not waited for."""
        told = job_error(error, place)
        expired = isinstance(error, botocore.exceptions.ClientError) and error_code(error) in EXPIRED_CODES
        if not (self.patience.worked or (self.spec.proven and (expired or trouble is Trouble.PASSING))):
            raise told from error

        def well() -> bool:
            if trouble is Trouble.LOST:
                self.renew()
            return self._is_well(probe)

        if self.patience.wait(told.why, well):
            return
        since = time.strftime("%H:%M:%S UTC", time.gmtime(self.patience.began))
        why = f"since {since}, for {self.spec.patience_s:g} s: {told.why}"
        raise type(told)(told.what, where=told.where, why=why, fix=f"{told.fix}, then run the same command again")

    def write(self, uri: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write one whole object; readers see all of it or nothing. With `if_absent`, False when another is there.

        In a bucket one with the very same bytes counts as ours: so what is written must not be guessable by others.
        """
        place = parse_uri(uri)
        if place.is_s3:
            return put_object(self, place, data, if_absent=if_absent)
        return write_file(Path(place.key), data, if_absent=if_absent)

    def read(self, uri: str) -> bytes | None:
        """One whole object, or None when it is not there."""
        place = parse_uri(uri)
        return get_object(self, place) if place.is_s3 else read_file(Path(place.key))

    def reader(self, place: Location) -> BodyReader:
        """A reader for the body of one object."""
        return BodyReader(place.bucket, Pace(self.spec.grace_s, self.spec.least_bytes_per_s), self.etags)

    def remove(self, uri: str) -> None:
        """Remove one object; nothing happens when it is not there."""
        place = parse_uri(uri)
        if place.is_s3:
            delete_object(self, place)
        else:
            remove_file(Path(place.key))

    def list(self, uri: str, after: str = "") -> Iterator[StoredFile]:
        """Everything below `uri`, in no order; nothing when there is no such place. With `after`, only greater names.

        Raises:
            CredentialsError, BucketError, StorageError: it may not be listed.
        """
        place = parse_uri(uri)
        return list_objects(self, place, after) if place.is_s3 else list_files(Path(place.key), after)

    def facts(self, uri: str) -> StoredFile | None:
        """Size and time of one object, or None when it is not there."""
        place = parse_uri(uri)
        return head_object(self, place) if place.is_s3 else file_facts(Path(place.key))

    def modified(self, uri: str) -> float | None:
        """When an object was written, in seconds since the epoch by the clock of the store; None without one."""
        found = self.facts(uri)
        return None if found is None else found.modified
