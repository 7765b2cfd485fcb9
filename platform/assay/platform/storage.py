"""Object storage: one Spec, and the s3fs, pyarrow and delta-rs clients made from it.

Knows endpoints, regions and credentials. Does not know images, tables or what is stored; what a failed request means
is in `refusals.py`. The environment is read by botocore's own credential chain (AWS_* variables, profiles, roles),
in the process that connects: secrets are not carried in Specs unless the caller puts them there.
"""

import os
from collections.abc import Callable, Coroutine
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import botocore.exceptions
import botocore.session
import pyarrow.fs
import s3fs
from fsspec.asyn import sync
from pydantic import Field, SecretStr

from assay.platform.errors import CredentialsError, StorageError
from assay.platform.refusals import HOW_TO_SIGN_IN, REQUEST_ERRORS, error_code, job_error
from assay.platform.spec import Spec
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
    retries: int = Field(6, ge=1, le=20, description="tries of one request, with backoff and jitter")


class Storage:
    """The clients made from one `StorageSpec`. Cheap to make; connects when first used; picklable by its spec."""

    DEFAULT_REGION: ClassVar[str] = "us-east-1"

    def __init__(self, spec: StorageSpec | None = None) -> None:
        self.spec = spec or StorageSpec()

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
        return self.spec.model_copy(update={"endpoint": self.endpoint, "region": self.region})

    def _from_profile(self, name: str) -> object:
        try:
            return self._session.get_scoped_config().get(name)
        except botocore.exceptions.ProfileNotFound as error:
            raise CredentialsError("no such AWS profile", why=str(error), fix="name one of ~/.aws/config") from error

    def keys(self) -> tuple[str, str, str | None]:
        """Access key, secret key and session token as they are now (roles and profiles hand out fresh ones).

        Raises:
            CredentialsError: when none can be found.
        """
        if self.spec.access_key and self.spec.secret_key:
            token = self.spec.session_token.get_secret_value() if self.spec.session_token else None
            return self.spec.access_key.get_secret_value(), self.spec.secret_key.get_secret_value(), token
        try:
            found = self._session.get_credentials()
        except botocore.exceptions.BotoCoreError as error:
            raise CredentialsError("no AWS credentials", why=str(error), fix=HOW_TO_SIGN_IN) from error
        if found is None:
            raise CredentialsError(
                "no AWS credentials", why="nothing in the environment, files or role", fix=HOW_TO_SIGN_IN
            )
        frozen = found.get_frozen_credentials()
        return frozen.access_key, frozen.secret_key, frozen.token

    @cached_property
    def s3(self) -> s3fs.S3FileSystem:
        """The s3fs file system; its client signs with refreshing credentials unless the spec carries keys."""
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
                "retries": {"mode": "standard", "total_max_attempts": self.spec.retries},
                "max_pool_connections": 64,
            },
            use_listings_cache=False,
            skip_instance_cache=True,  # its instances outlive a change of the environment's credentials
        )

    def request(self, ask: Callable[[Any], Coroutine[Any, Any, T]]) -> T:
        """Run `ask(client)` with the S3 client of s3fs; its errors are botocore's own."""
        fs = self.s3

        async def run() -> T:
            return await ask(await fs.set_session())

        return sync(fs.loop, run)  # type: ignore[no-any-return]  # fsspec is untyped

    def arrow(self, uri: str) -> tuple[pyarrow.fs.FileSystem, str]:
        """pyarrow's file system for `uri`, and the path in it."""
        place = parse_uri(uri)
        if not place.is_s3:
            return pyarrow.fs.LocalFileSystem(), place.key
        key, secret, token = self.keys()
        scheme, _, host = (self.endpoint or "").rpartition("://")
        fs = pyarrow.fs.S3FileSystem(
            access_key=key,
            secret_key=secret,
            session_token=token,
            region=self.region,
            endpoint_override=host or None,
            scheme=scheme or "https",
            connect_timeout=self.spec.connect_timeout_s,
            request_timeout=self.spec.read_timeout_s,
            retry_strategy=pyarrow.fs.AwsStandardS3RetryStrategy(max_attempts=self.spec.retries),
        )
        return fs, f"{place.bucket}/{place.key}"

    def delta(self, uri: str) -> tuple[str, dict[str, str]]:
        """delta-rs's spelling of `uri` and its storage options (conditional put by etag)."""
        place = parse_uri(uri)
        if not place.is_s3:
            return place.key, {}
        key, secret, token = self.keys()
        options = {
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": self.region,
            "aws_conditional_put": "etag",
            "max_retries": str(self.spec.retries - 1),
            "timeout": f"{self.spec.read_timeout_s:.0f}s",
            "connect_timeout": f"{self.spec.connect_timeout_s:.0f}s",
        }
        if token or "AWS_SESSION_TOKEN" in os.environ:  # delta-rs would add the environment's to our keys
            options["AWS_SESSION_TOKEN"] = token or ""
        if self.endpoint:
            options |= {
                "AWS_ENDPOINT_URL": self.endpoint,
                "AWS_ALLOW_HTTP": str(self.endpoint.startswith("http://")).lower(),
            }
        return place.uri, options

    def write(self, uri: str, data: bytes, *, if_absent: bool = False) -> bool:
        """Write one whole object; readers see all of it or nothing. With `if_absent`, False when it is there."""
        place = parse_uri(uri)
        if not place.is_s3:
            return _write_file(Path(place.key), data, if_absent=if_absent)
        condition = {"IfNoneMatch": "*"} if if_absent else {}
        try:
            self.request(lambda client: client.put_object(Bucket=place.bucket, Key=place.key, Body=data, **condition))
        except botocore.exceptions.ClientError as error:
            if if_absent and error_code(error) in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
                return False
            raise job_error(error, place) from error
        except REQUEST_ERRORS as error:
            raise job_error(error, place) from error
        return True

    def read(self, uri: str) -> bytes | None:
        """One whole object, or None when it is not there."""
        place = parse_uri(uri)
        if not place.is_s3:
            try:
                return Path(place.key).read_bytes()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise job_error(error, place) from error
        try:
            return self.request(lambda client: _body(client, place))
        except botocore.exceptions.ClientError as error:
            if error_code(error) in {"NoSuchKey", "404"}:
                return None
            raise job_error(error, place) from error
        except REQUEST_ERRORS as error:
            raise job_error(error, place) from error

    def remove(self, uri: str) -> None:
        """Remove one object; nothing happens when it is not there."""
        place = parse_uri(uri)
        if not place.is_s3:
            try:
                Path(place.key).unlink(missing_ok=True)
            except OSError as error:
                raise job_error(error, place) from error
            return
        try:
            self.request(lambda client: client.delete_object(Bucket=place.bucket, Key=place.key))
        except (botocore.exceptions.ClientError, *REQUEST_ERRORS) as error:
            raise job_error(error, place) from error


async def _body(client: Any, place: Location) -> bytes:
    response = await client.get_object(Bucket=place.bucket, Key=place.key)
    async with response["Body"] as body:
        return bytes(await body.read())


def _write_file(path: Path, data: bytes, *, if_absent: bool) -> bool:
    """Write aside, flush to the disk, then name it: a crash leaves no half file under the final name."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with aside.open("wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            return _name_file(aside, path, if_absent=if_absent)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            "cannot write",
            where=str(path),
            why=error.strerror or str(error),
            fix="free space or grant write access, then run again",
        ) from error


def _name_file(aside: Path, path: Path, *, if_absent: bool) -> bool:
    if not if_absent:
        aside.replace(path)
        return True
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    return True
