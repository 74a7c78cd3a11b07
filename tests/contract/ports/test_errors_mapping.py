"""Every exception of AWS, botocore and urllib3 leaves the adapters as one of our errors."""

import socket
import ssl
from email.message import Message
from typing import Any

import botocore.exceptions as boto
import botocore.session
import pytest
import urllib3.exceptions as http

from tallyman.adapters.aws import clients, cloudtrail, iam, notices, s3, sqs
from tallyman.adapters.dynamodb import tables as dynamodb
from tallyman.adapters.ecr import source as ecr_source
from tallyman.adapters.ecr import target as ecr_target
from tallyman.adapters.ecr import view as ecr_view
from tallyman.adapters.errors.codes import CODES
from tallyman.adapters.errors.statuses import kind_of_status
from tallyman.adapters.errors.translate import translate, translated
from tallyman.adapters.oci.answers import REGISTRY_CODES, Answer
from tallyman.domain.permissions import CALLS
from tallyman.errors import (
    BadInput,
    NotAllowed,
    NotFound,
    Refused,
    RevisionConflict,
    TagTaken,
    TallymanError,
    Throttled,
    TransientError,
    Unreachable,
    Unsupported,
)

ADAPTERS: list[Any] = [
    clients.Clients,
    cloudtrail.CloudTrail,
    dynamodb.DynamoLedger,
    dynamodb.DynamoState,
    ecr_source.EcrSource,
    ecr_target.EcrTarget,
    ecr_view.EcrView,
    iam.IamPeople,
    notices.BusAnnouncements,
    notices.SnsNotices,
    s3.S3Archive,
    sqs.DeadLetters,
    sqs.SqsHints,
]
WHAT = "read 111111111111/us-east-2/rocketseat/widget-server"
BY_CODE_ONLY = {"TransactionCanceledException"}  # distinguished by its reasons, in dynamodb.py


def client_error(code: str, status: int = 400, message: str = "AWS's own words") -> boto.ClientError:
    answer: Any = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(answer, "Operation")


@pytest.mark.parametrize("call", sorted(CALLS))
def test_every_error_that_a_call_in_use_declares_has_a_meaning(call: str) -> None:
    service, _, operation = call.partition(":")
    model = botocore.session.get_session().get_service_model(service)
    declared = {
        name
        for shape in model.operation_model(operation).error_shapes
        for name in (shape.name, shape.metadata.get("error", {}).get("code", shape.name))
        if kind_of_status(shape.metadata.get("error", {}).get("httpStatusCode", 400)) is Refused
    }
    assert not declared - CODES.keys() - BY_CODE_ONLY - S3_ELSEWHERE


S3_ELSEWHERE = {  # S3 declares these for parts and offsets, which we don't use
    "EncryptionTypeMismatch",
    "InvalidRequest",
    "InvalidWriteOffset",
    "TooManyParts",
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_becomes_the_mapped_error_with_registry_and_awss_message(code: str) -> None:
    found = translate(client_error(code), WHAT)
    assert type(found) is CODES[code]
    assert str(found) == f"{WHAT}: AWS's own words ({code})"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ThrottlingException", Throttled),
        ("ProvisionedThroughputExceededException", Throttled),
        ("AccessDeniedException", NotAllowed),
        ("RepositoryNotFoundException", NotFound),
        ("ConditionalCheckFailedException", RevisionConflict),
        ("ImageTagAlreadyExistsException", TagTaken),
        ("UnsupportedImageTypeException", Unsupported),
        ("ServerException", Unreachable),
        ("InvalidParameterException", BadInput),
        ("ExpiredTokenException", Unreachable),
        ("ResourceConflictException", TransientError),
    ],
)
def test_codes_have_the_error_classes_that_retries_rely_on(code: str, kind: type[TallymanError]) -> None:
    assert CODES[code] is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Refused),
        (401, NotAllowed),
        (403, NotAllowed),
        (404, NotFound),
        (405, Unsupported),
        (408, Unreachable),
        (429, Throttled),
        (500, Unreachable),
        (413, Unsupported),
        (501, Unsupported),
        (503, Unreachable),
    ],
)
def test_an_unknown_code_is_mapped_by_its_status(status: int, kind: type[TallymanError]) -> None:
    assert type(translate(client_error("SomethingNew", status), WHAT)) is kind


def every(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(found for child in root.__subclasses__() for found in every(child))]


def made(kind: type[Exception]) -> Exception:
    """An instance made without its constructor."""
    error = kind.__new__(kind)
    if isinstance(error, boto.BotoCoreError):
        error.kwargs = {"endpoint_url": "https://ecr.us-east-2.amazonaws.com/path?X-Amz-Signature=secret"}
    error.args = ("words",)
    return error


@pytest.mark.parametrize(
    "kind", [k for k in every(boto.BotoCoreError) if not issubclass(k, boto.ClientError)], ids=lambda k: k.__name__
)
def test_every_error_of_botocore_becomes_one_of_ours(kind: type[Exception]) -> None:
    found = translate(made(kind), WHAT)
    assert isinstance(found, TallymanError)
    assert str(found).startswith(WHAT)
    assert "X-Amz-Signature" not in str(found)


@pytest.mark.parametrize("kind", every(http.HTTPError), ids=lambda k: k.__name__)
def test_every_error_of_urllib3_is_transient(kind: type[Exception]) -> None:
    assert isinstance(translate(made(kind), WHAT), TransientError)


@pytest.mark.parametrize(
    "kind",
    [
        boto.EndpointConnectionError,
        boto.ConnectTimeoutError,
        boto.ReadTimeoutError,
        boto.ConnectionClosedError,
        boto.ProxyConnectionError,
        boto.SSLError,
        boto.HTTPClientError,
        boto.IncompleteReadError,
        boto.ResponseStreamingError,
        boto.ChecksumError,
        boto.FlexibleChecksumError,
    ],
)
def test_network_errors_are_unreachable(kind: type[Exception]) -> None:
    assert type(translate(made(kind), WHAT)) is Unreachable


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), BrokenPipeError(), socket.gaierror(), ssl.SSLError()]
)
def test_socket_errors_are_unreachable(error: OSError) -> None:
    assert type(translate(error, WHAT)) is Unreachable


@pytest.mark.parametrize("kind", [boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError])
def test_missing_credentials_mean_no_permission(kind: type[Exception]) -> None:
    assert type(translate(made(kind), WHAT)) is NotAllowed


def test_registering_a_task_definition_at_once_with_others_is_tried_again() -> None:
    concurrent = "Too many concurrent attempts to create a new revision of the specified family."
    assert type(translate(client_error("ClientException", message=concurrent), WHAT)) is Throttled
    inactive = "The specified task definition is inactive."
    assert type(translate(client_error("ClientException", message=inactive), WHAT)) is Refused


def test_our_own_errors_pass_unchanged() -> None:
    error = NotFound("as it is")
    assert translate(error, WHAT) is error
    with pytest.raises(NotFound) as caught, translated(WHAT):
        raise error
    assert caught.value is error


def test_a_programming_error_passes_unchanged() -> None:
    with pytest.raises(KeyError), translated(WHAT):
        raise KeyError("x")
    with pytest.raises(ZeroDivisionError):
        translate(ZeroDivisionError(), WHAT)


def test_the_cause_is_kept() -> None:
    with pytest.raises(Throttled) as caught, translated(WHAT):
        raise client_error("Throttling")
    assert isinstance(caught.value.__cause__, boto.ClientError)


@pytest.mark.parametrize("code", sorted(REGISTRY_CODES))
def test_an_oci_error_code_becomes_the_mapped_error(code: str) -> None:
    body = f'{{"errors": [{{"code": "{code}", "message": "words", "detail": null}}]}}'.encode()
    found = Answer(400, Message(), body).error(WHAT)
    assert type(found) is REGISTRY_CODES[code]
    assert str(found) == f"{WHAT}: words ({code})"


@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"{}", b'{"errors": []}', b'{"errors": [1]}', b'{"errors": [{}]}', b"\xff\xfe", b"<html>"],
)
def test_an_answer_without_an_oci_error_is_mapped_by_its_status(body: bytes) -> None:
    assert type(Answer(403, Message(), body).error(WHAT)) is NotAllowed
    assert type(Answer(500, Message(), body).error(WHAT)) is Unreachable
    assert type(Answer(200, Message(), body).error(WHAT)) is Refused


def test_a_lone_surrogate_in_a_registrys_message_stays_escaped() -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "half \\ud800"}]}'
    message = str(Answer(500, Message(), body).error(WHAT))
    assert message.encode().endswith(b"(500)")
    assert r"half \ud800" in message


@pytest.mark.parametrize(
    ("header", "after"), [("7", 7.0), (None, None), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.0), ("\u00b2", None)]
)
def test_a_throttling_error_has_the_retry_time(header: str | None, after: float | None) -> None:
    headers = Message()
    if header:
        headers["Retry-After"] = header
    found = Answer(429, headers, b"").error(WHAT)
    assert isinstance(found, Throttled)
    assert found.after == after


def test_every_adapter_declares_its_permissions_as_iam_actions() -> None:
    for adapter in ADAPTERS:
        assert adapter.PERMISSIONS
        assert list(adapter.PERMISSIONS) == sorted(set(adapter.PERMISSIONS)), adapter
