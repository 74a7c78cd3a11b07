"""Translate the errors of AWS, botocore and its urllib3 into Tallyman's."""

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    ConnectionError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    NoRegionError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    WaiterError,
)
from urllib3.exceptions import HTTPError

from tallyman.adapters.errors.codes import kind_of_code
from tallyman.adapters.errors.statuses import kind_of_status
from tallyman.errors import (
    BadInput,
    NotAllowed,
    Refused,
    TallymanError,
    Unreachable,
)


def code_of(error: ClientError) -> str:
    """The error code; for a HEAD, whose answer has no body, S3's code is the status as text."""
    return str(error.response.get("Error", {}).get("Code", ""))


def message_of(error: ClientError) -> str:
    """AWS's own message."""
    return str(error.response.get("Error", {}).get("Message", "")) or str(error)


def translate(error: Exception, what: str) -> TallymanError:
    """The error as a TallymanError. `what` names action, registry and repository: `describe 1…1/us-east-2/app`. Other
    exceptions are faults of our own code and are raised unchanged.

    The message never holds headers, bodies or queries of a request, so no token and no presigned URL gets into it.
    """
    if isinstance(error, TallymanError):
        return error
    if isinstance(error, ClientError):
        code = code_of(error)
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400))
        kind = kind_of_code(code, message_of(error)) or kind_of_status(status)
        translated_error = kind(f"{what}: {message_of(error)} ({code or status})")
        translated_error.code = code
        return translated_error
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return NotAllowed(f"{what}: no AWS credentials: {error}")
    if isinstance(error, ProfileNotFound):
        return BadInput(f"{what}: {error}: set AWS_PROFILE to one that `aws configure list-profiles` names")
    if isinstance(error, ParamValidationError | NoRegionError | ConfigNotFound | ConfigParseError):
        return BadInput(f"{what}: {error}")
    if isinstance(error, ConnectionError | HTTPClientError):
        return Unreachable(f"{what}: no answer ({_host_only(error)})")
    if isinstance(error, IncompleteReadError | ChecksumError | FlexibleChecksumError):
        return Unreachable(f"{what}: the answer is damaged ({type(error).__name__})")
    if isinstance(error, WaiterError | HTTPError | OSError):
        return Unreachable(f"{what}: the connection broke ({type(error).__name__})")
    if isinstance(error, BotoCoreError):
        return Refused(f"{what}: {error}")
    raise error


def _host_only(error: BotoCoreError) -> str:
    """The class of the error and the endpoint without path and query: a presigned query is a credential."""
    url = str(error.kwargs.get("endpoint_url") or "")
    host = "/".join(url.split("/")[:3])
    return f"{type(error).__name__} {host}".strip()


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Translate what botocore and its urllib3 raise within the block; other exceptions pass unchanged."""
    try:
        yield
    except (ClientError, BotoCoreError, HTTPError, OSError) as error:
        raise translate(error, what) from error
