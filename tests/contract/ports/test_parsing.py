"""Sessions parse the answers of AWS as botocore does, in less time, and say who calls."""

import json
from datetime import datetime
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse, HTTPHeaders

from support.images.builders import DEV
from tallyman import __version__
from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.aws.sessions import new_session

ATTRIBUTES: dict[str, Any] = {
    "text": {"S": "a"},
    "empty": {"S": ""},
    "number": {"N": "1.50"},
    "flag": {"BOOL": False},
    "nothing": {"NULL": True},
    "bytes": {"B": "AAE="},
    "set of text": {"SS": ["a"]},
    "set of bytes": {"BS": ["AAE="]},
    "list": {"L": [{"S": "a"}, {"B": "AAE="}]},
    "map": {"M": {"a": {"S": "a"}}},
    "deep map": {"M": {"a": {"M": {"b": {"B": "AAE="}}}}},
    "empty map": {"M": {}},
    "no type": {},
    "unknown type": {"X": "a"},
    "two types": {"S": "a", "N": "1"},
    "null": {"S": None},
    "a number as no text": {"N": 1},
}
"""One attribute of each kind, as DynamoDB sends it, and malformed ones."""


class Raw:
    def __init__(self, body: bytes) -> None:
        self.body = body

    def stream(self, **_: Any) -> list[bytes]:
        return [self.body]


class Aws:
    """Answers every request of the clients with `body`, and keeps the requests."""

    def __init__(self, *clients: Any, body: dict[str, Any] | None = None) -> None:
        self.body, self.requests = body or {}, list[Any]()
        self.clients = clients
        for client in clients:
            client.meta.events.register("before-send", self._answer)

    def _answer(self, request: Any, **_: Any) -> AWSResponse:
        self.requests.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders(), Raw(json.dumps(self.body).encode()))


def client_of(session: Any, service: str) -> Any:
    return session.create_client(service, region_name="us-east-2", aws_access_key_id="-", aws_secret_access_key="-")


@pytest.fixture(scope="module")
def both() -> Aws:
    """A client of botocore's own session, and one of ours."""
    return Aws(client_of(botocore.session.get_session(), "dynamodb"), client_of(new_session(), "dynamodb"))


@pytest.mark.parametrize("other", [{}, {"other": {"S": "b"}}, {"other": {"B": "AAE="}}], ids=["alone", "text", "bytes"])
@pytest.mark.parametrize("kind", ATTRIBUTES)
def test_items_are_parsed_as_by_botocore(both: Aws, kind: str, other: dict[str, Any]) -> None:
    items = [{kind: ATTRIBUTES[kind], **other}, other]
    both.body = {"Items": items, "Count": 2, "LastEvaluatedKey": {"pk": {"S": "a"}}}
    plain, ours = (client.scan(TableName="t") for client in both.clients)
    assert ours == plain


def test_the_defaults_of_a_sessions_parsers_are_kept() -> None:
    session = new_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=lambda _: datetime.min)
    client = client_of(session, "ecr")
    Aws(client, body={"repositories": [{"createdAt": 1.0}]})
    assert client.describe_repositories()["repositories"] == [{"createdAt": datetime.min}]


def test_every_request_names_tallyman_and_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "-"),
        ("AWS_SECRET_ACCESS_KEY", "-"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda"),
    ):
        monkeypatch.setenv(name, value)
    client = Clients(DEV.registry, "tallyman", "test").get("dynamodb")
    aws = Aws(client)
    client.scan(TableName="t")
    (request,) = aws.requests
    agent = request.headers["User-Agent"].decode()
    assert agent.startswith("Botocore/")
    assert f"tallyman/{__version__}" in agent.split()
    assert "exec-env/AWS_Lambda" in agent.split()
