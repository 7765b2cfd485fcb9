"""What a store's refusal means for the whole job: the one border where botocore's and the system's errors become ours.

Knows error codes and exceptions. Does not know clients; which refusals are faults of one image is for `fetch.py`.
"""

import aiohttp
import botocore.exceptions

from assay.platform.errors import BucketError, CredentialsError, StorageError
from assay.platform.uris import Location

CREDENTIAL_CODES = frozenset(
    {
        "AccessDeniedException",
        "AuthorizationHeaderMalformed",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidToken",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
        "UnrecognizedClientException",
    }
)
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

REQUEST_ERRORS = (botocore.exceptions.BotoCoreError, aiohttp.ClientError, OSError)
"""What a request, or a body that breaks off, raises besides an answer of the store."""

HOW_TO_SIGN_IN = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role; `assay doctor` shows what is found"
)
"""The remedy for anything that concerns credentials."""


def error_code(error: botocore.exceptions.ClientError) -> str:
    """The S3 error code of a client error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def job_error(error: Exception, place: Location) -> StorageError:
    """What a failed request means for the job: the border where botocore's and the system's errors become ours."""
    where = place.uri
    if isinstance(error, botocore.exceptions.ClientError):
        code = error_code(error)
        why = f"{code}: {error.response.get('Error', {}).get('Message', '')}".rstrip(": ")
        if code in CREDENTIAL_CODES:
            return CredentialsError("the store refuses these credentials", where=where, why=why, fix=HOW_TO_SIGN_IN)
        if code == "NoSuchBucket" or (code == "404" and not place.key):
            return BucketError(
                "no such bucket", where=f"s3://{place.bucket}", why=why, fix="check the name, endpoint and region"
            )
        if code in {"AccessDenied", "403", "Forbidden"}:
            return CredentialsError(
                "the store refuses access",
                where=where,
                why=why,
                fix="grant s3:ListBucket, s3:GetObject and, on the store, s3:PutObject",
            )
        return StorageError("the store failed", where=where, why=why, fix="run the same command again")
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
