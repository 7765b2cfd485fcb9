"""What a refusal means: for another try, and for the job."""

import aiohttp
import pytest
from botocore import exceptions, parsers

from assay.platform.errors import CredentialsError
from assay.platform.refusals import (
    CREDENTIAL_CODES,
    EXPIRED_CODES,
    REQUEST_ERRORS,
    Trouble,
    error_code,
    error_status,
    job_error,
    trouble_of,
)
from assay.platform.uris import Location


def answer(status: int, code: str) -> exceptions.ClientError:
    told = {"Error": {"Code": code, "Message": "as told"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return exceptions.ClientError(told, "GetObject")


@pytest.mark.parametrize(
    ("status", "code", "trouble"),
    [
        (500, "InternalError", Trouble.PASSING),
        (503, "SlowDown", Trouble.PASSING),
        (503, "", Trouble.PASSING),
        (429, "TooManyRequests", Trouble.PASSING),
        (400, "RequestTimeout", Trouble.PASSING),
        (409, "ConditionalRequestConflict", Trouble.PASSING),
        (403, "AccessDenied", Trouble.DENIED),
        (403, "403", Trouble.DENIED),  # of a HEAD: no body, no reason
        (403, "RequestTimeTooSkewed", Trouble.SKEWED),
        (403, "SignatureDoesNotMatch", Trouble.LOST),
        (400, "ExpiredToken", Trouble.LOST),
        (404, "NoSuchKey", Trouble.FINAL),
        (412, "PreconditionFailed", Trouble.FINAL),
        (403, "InvalidObjectState", Trouble.FINAL),
        (501, "NotImplemented", Trouble.FINAL),
        (400, "InvalidRequest", Trouble.FINAL),
    ],
)
def test_what_an_answer_tells(status: int, code: str, trouble: Trouble) -> None:
    error = answer(status, code)
    assert trouble_of(error) is trouble
    assert (error_status(error), error_code(error)) == (status, code)


@pytest.mark.parametrize(
    ("error", "trouble"),
    [
        (exceptions.EndpointConnectionError(endpoint_url="http://x"), Trouble.PASSING),
        (exceptions.ReadTimeoutError(endpoint_url="http://x"), Trouble.PASSING),
        (exceptions.ResponseStreamingError(error="cut"), Trouble.PASSING),
        (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), Trouble.PASSING),
        (exceptions.FlexibleChecksumError(error_msg="crc"), Trouble.PASSING),
        (parsers.ResponseParserError("half an XML"), Trouble.PASSING),
        (aiohttp.ClientPayloadError(), Trouble.PASSING),
        (ConnectionResetError(), Trouble.PASSING),
        (TimeoutError(), Trouble.PASSING),
        (exceptions.NoCredentialsError(), Trouble.LOST),
        (exceptions.CredentialRetrievalError(provider="process", error_msg="failed"), Trouble.LOST),
        (exceptions.ParamValidationError(report="bucket"), Trouble.FINAL),
    ],
)
def test_what_an_error_tells(error: Exception, trouble: Trouble) -> None:
    assert isinstance(error, REQUEST_ERRORS)
    assert trouble_of(error) is trouble


def test_every_code_of_the_caller_is_an_error_of_the_job() -> None:
    assert EXPIRED_CODES < CREDENTIAL_CODES
    for code in CREDENTIAL_CODES:
        told = job_error(answer(403, code), Location("bucket", "key"))
        assert type(told) is CredentialsError
        assert told.fix


def test_a_clock_that_is_off_is_told_as_one() -> None:
    told = job_error(answer(403, "RequestTimeTooSkewed"), Location("bucket", "key"))
    assert "clock" in told.what
    assert told.fix.startswith("set the clock")
