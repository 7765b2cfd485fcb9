"""What a store's refusal means: whether it passes by itself, and what it means for the whole job.

The one border where botocore's and the system's errors become ours. Knows error codes and exceptions. Does not know
clients; how long a trouble is borne is for `storage.py`, which refusals are faults of one image is for `fetch.py`.
"""

from enum import Enum

import aiohttp
import botocore.exceptions
import botocore.parsers

from assay.platform.errors import BucketError, CredentialsError, StorageError
from assay.platform.uris import Location

SKEW_CODE = "RequestTimeTooSkewed"
"""The store's clock and ours differ by more than it allows (S3: 15 minutes)."""

EXPIRED_CODES = frozenset(
    {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "RequestExpired", "TokenRefreshRequired"}
)
"""S3 error codes of credentials that have come to their end."""

CREDENTIAL_CODES = EXPIRED_CODES | {
    "AccessDeniedException",
    "AuthorizationHeaderMalformed",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    SKEW_CODE,
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
"""S3 error codes that speak of the caller, never of one object."""

CREDENTIAL_ERRORS = (
    botocore.exceptions.NoCredentialsError,
    botocore.exceptions.PartialCredentialsError,
    botocore.exceptions.CredentialRetrievalError,
    botocore.exceptions.TokenRetrievalError,
    botocore.exceptions.ProfileNotFound,
    botocore.exceptions.SSOError,
)
"""What botocore raises when the caller cannot sign at all."""

REQUEST_ERRORS = (
    botocore.exceptions.BotoCoreError,
    botocore.parsers.ResponseParserError,
    aiohttp.ClientError,
    OSError,
)
"""What a request, or a body that breaks off, raises besides an answer of the store."""

CONNECTION_ERRORS = (
    botocore.exceptions.HTTPClientError,
    botocore.exceptions.ConnectionError,
    botocore.exceptions.IncompleteReadError,
    botocore.exceptions.ChecksumError,
    botocore.exceptions.FlexibleChecksumError,
    botocore.parsers.ResponseParserError,
    aiohttp.ClientError,
    OSError,
)
"""Of those, the ones another try can mend: the connection, not the request, was at fault."""

PASSING_CODES = frozenset(
    {
        "BadDigest",
        "BandwidthLimitExceeded",
        "ConditionalRequestConflict",
        "IncompleteBody",
        "InternalError",
        "OperationAborted",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
        "XAmzContentChecksumMismatch",
        "XAmzContentSHA256Mismatch",
    }
)
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})

DENIED_CODES = frozenset({"AccessDenied", "403", "Forbidden"})
"""Some stores answer these when they are throttled."""

HOW_TO_SIGN_IN = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role; `assay doctor` shows what is found"
)
"""The remedy for anything that concerns credentials."""


class Trouble(Enum):
    """What kind of trouble a failed request is in."""

    FINAL = "refused"
    """Asking again brings the same answer."""
    PASSING = "failing"
    """Throttling, 5xx, resets, broken or late bodies: passes by itself."""
    DENIED = "denied"
    """No access, or throttling that is told so."""
    SKEWED = "clock skew"
    LOST = "credentials refused"
    """Expired, invalid or missing credentials."""


def error_code(error: botocore.exceptions.ClientError) -> str:
    """The S3 error code of a client error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def error_status(error: botocore.exceptions.ClientError) -> int:
    """The HTTP status of a client error; 0 when it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def trouble_of(error: Exception) -> Trouble:
    """The kind of trouble an error of `REQUEST_ERRORS`, or an answer of the store, tells of."""
    if isinstance(error, botocore.exceptions.ClientError):
        return _trouble_told(error_code(error), error_status(error))
    if isinstance(error, CREDENTIAL_ERRORS):
        return Trouble.LOST
    return Trouble.PASSING if isinstance(error, CONNECTION_ERRORS) else Trouble.FINAL


def _trouble_told(code: str, status: int) -> Trouble:
    if code == SKEW_CODE:
        return Trouble.SKEWED
    if code in CREDENTIAL_CODES:
        return Trouble.LOST
    if code in DENIED_CODES:
        return Trouble.DENIED
    return Trouble.PASSING if code in PASSING_CODES or status in PASSING_STATUSES else Trouble.FINAL


def job_error(error: Exception, place: Location) -> StorageError:
    """What a failed request means for the job: the border where botocore's and the system's errors become ours."""
    where = place.uri
    if isinstance(error, botocore.exceptions.ClientError):
        return _answer_error(error, place)
    if isinstance(error, CREDENTIAL_ERRORS):
        return CredentialsError("no usable AWS credentials", where=where, why=str(error), fix=HOW_TO_SIGN_IN)
    if isinstance(error, botocore.exceptions.ParamValidationError):
        return BucketError("no such bucket or key", where=where, why=str(error), fix="check the uri")
    if isinstance(error, botocore.exceptions.EndpointConnectionError | botocore.exceptions.ConnectTimeoutError):
        return StorageError(
            "cannot reach the store", where=where, why=str(error), fix="check the endpoint and the network"
        )
    return StorageError(
        "the store failed", where=where, why=str(error) or type(error).__name__, fix="run the same command again"
    )


def _answer_error(error: botocore.exceptions.ClientError, place: Location) -> StorageError:
    where, code = place.uri, error_code(error)
    why = f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
    if code == SKEW_CODE:
        fix = "set the clock of this machine, then run the same command again"
        return CredentialsError("the store's clock and this machine's differ", where=where, why=why, fix=fix)
    if code in CREDENTIAL_CODES:
        return CredentialsError("the store refuses these credentials", where=where, why=why, fix=HOW_TO_SIGN_IN)
    if code == "NoSuchBucket" or (code == "404" and not place.key):
        return BucketError(
            "no such bucket", where=f"s3://{place.bucket}", why=why, fix="check the name, endpoint and region"
        )
    if code in DENIED_CODES:
        return CredentialsError(
            "the store refuses access",
            where=where,
            why=why,
            fix="grant s3:ListBucket, s3:GetObject and, on the store, s3:PutObject",
        )
    return StorageError("the store failed", where=where, why=why, fix="run the same command again")
