"""The page as a Lambda function: events of a function URL and of a load balancer; read-only; access control."""

import base64
import gzip
import json
import subprocess
import sys
from typing import Any
from urllib.parse import urlencode

import pytest

from support.fakes.cli_stack import FakeStack
from support.images.builders import DEV, multi_arch
from support.stacks.templates import ROOT, hub, listed, of_type, page, statements_of, text
from tallyman.adapters.usage.references import EveryNeed
from tallyman_cli.ui import on_aws
from tallyman_cli.ui.desk import Desk
from tallyman_cli.ui.on_aws import Handler, lambda_handler

NAME = "rocketseat/widget-server"
ANA = "arn:aws:sts::111111111111:assumed-role/developer/ana"
PERSON = {"iam": {"accessKey": "ASIA", "accountId": "111111111111", "callerId": "AROA:ana", "userArn": ANA}}


def url(path: str, query: str = "", method: str = "GET", body: str = "", authorizer: Any = PERSON) -> dict[str, Any]:
    """A request as a function URL sends it (payload 2.0)."""
    host = "abc123.lambda-url.us-east-2.on.aws"
    http = {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "198.51.100.7", "userAgent": "curl"}
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"host": host, "x-forwarded-proto": "https", "content-type": "application/x-www-form-urlencoded"},
        "requestContext": {
            "accountId": "111111111111",
            "apiId": "abc123",
            "authorizer": authorizer,
            "domainName": host,
            "http": http,
            "requestId": "r",
            "routeKey": "$default",
            "stage": "$default",
            "timeEpoch": 1794795000000,
        },
        "body": base64.b64encode(body.encode()).decode(),
        "isBase64Encoded": True,
    }


def balancer(path: str, query: dict[str, str] | None = None, identity: str | None = "ana") -> dict[str, Any]:
    """A request as an application load balancer sends it."""
    arn = "arn:aws:elasticloadbalancing:us-east-2:111111111111:targetgroup/tallyman-page/1234567890123456"
    headers = {"host": "tally.example.com", "x-forwarded-proto": "https", "x-forwarded-port": "443"}
    if identity:
        headers |= {"x-amzn-oidc-identity": identity, "x-amzn-oidc-data": "e30.e30.x", "x-amzn-oidc-accesstoken": "t"}
    return {
        "requestContext": {"elb": {"targetGroupArn": arn}},
        "httpMethod": "GET",
        "path": path,
        "queryStringParameters": query or {},
        "headers": headers,
        "body": "",
        "isBase64Encoded": False,
    }


def headers(answer: dict[str, Any]) -> dict[str, str]:
    """A load balancer sends them as they were written, a function URL in lower case."""
    return {name.lower(): value for name, value in answer["headers"].items()}


@pytest.fixture
def handler(everywhere: FakeStack) -> Handler:
    first, second = multi_arch("one"), multi_arch("two")
    everywhere.push(first, "v1.0.0")
    everywhere.scan(first)
    everywhere.work()
    everywhere.push(second, "v1.1.0")
    everywhere.scan(second, {"critical": 2})
    everywhere.hints.take()
    return lambda_handler(Desk(everywhere.stack, shared=True))


def test_function_url_and_load_balancer_show_every_view_with_its_headers(
    handler: Handler, everywhere: FakeStack
) -> None:
    digest = everywhere.registries.held(DEV).tags["v1.1.0"]
    for path in (
        "/",
        f"/repository/dev/{NAME}",
        f"/image/dev/{NAME}/{digest}",
        f"/why/dev/{NAME}/{digest}/prod",
        "/find",
        "/compare",
        "/retention",
        "/health",
        "/health/letters",
        "/health/audit",
        "/health/checks",
        "/health/cost",
    ):
        for event in (url(path), balancer(path)):
            answer = handler(event, None)
            assert answer["statusCode"] == 200, (path, answer["body"][-600:])
            assert answer["isBase64Encoded"] is False
            assert "<h1>" in answer["body"]
            assert "default-src 'none'" in headers(answer)["content-security-policy"]
            assert 'href="/do/' not in answer["body"]
    assert "tallyman letters list" in handler(url("/health/letters"), None)["body"]


def test_arguments_and_json_twins_arrive(handler: Handler) -> None:
    found = json.loads(handler(url("/find.json", "q=v1.1.0"), None)["body"])
    assert found == json.loads(handler(balancer("/find.json", {"q": "v1.1.0"}), None)["body"])
    assert [image["tags"] for image in found["images"]] == [["v1.1.0"]]
    assert headers(handler(url("/static/desk.css"), None))["content-type"].startswith("text/css")


def test_a_long_page_is_compressed_for_a_client_that_takes_it(
    handler: Handler, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = handler(balancer("/find.json", {"q": "v1.1.0"}), None)
    monkeypatch.setattr(on_aws, "COMPRESSED_FROM", 100)
    for event in (balancer("/find.json", {"q": "v1.1.0"}), url("/find.json", "q=v1.1.0")):
        assert handler(event, None)["body"] == plain["body"]  # it does not say that it takes gzip
        event["headers"]["accept-encoding"] = "gzip, br"
        answer = handler(event, None)
        assert headers(answer)["content-encoding"] == "gzip"
        assert "content-security-policy" in headers(answer)
        assert gzip.decompress(base64.b64decode(answer["body"])).decode() == plain["body"]


def test_a_page_that_lambda_may_not_answer_says_so(handler: Handler, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, event in (("LONGEST_OF_BALANCER", balancer("/")), ("LONGEST_OF_URL", url("/"))):
        with monkeypatch.context() as smaller:
            smaller.setattr(on_aws, name, 2000)
            answer = handler(event, None)
        assert answer["statusCode"] == 500
        assert "`tallyman ui`" in answer["body"]


def test_a_pasted_policy_is_evaluated_and_nothing_can_be_changed(handler: Handler, everywhere: FakeStack) -> None:
    digest = everywhere.registries.held(DEV).tags["v1.1.0"]
    lenient = everywhere.policy.raw.decode().replace("critical: 0", "critical: 9")
    path = f"/why/dev/{NAME}/{digest}/prod"
    shown = handler(url(path, method="POST", body=urlencode({"policy": lenient})), None)
    assert "As the pasted policy would judge" in shown["body"]
    form = urlencode({"place": "prod", "because": "x"})
    done = handler(url("/do/freeze", method="POST", body=form), None)
    assert done["statusCode"] == 400
    assert "tallyman freeze prod" in done["body"]
    assert not everywhere.hints.take()


@pytest.mark.parametrize(
    "event",
    [
        url("/", authorizer=None),
        url("/", authorizer={}),
        url("/board.json", authorizer={"jwt": {}}),
        balancer("/", identity=None),
    ],
)
def test_an_unauthenticated_caller_sees_nothing(handler: Handler, event: dict[str, Any]) -> None:
    answer = handler(event, None)
    assert answer["statusCode"] == 403
    assert "rocketseat" not in answer["body"]


def test_the_function_takes_only_the_packages_that_it_carries() -> None:
    """Without cheroot, moto, cryptography and Powertools, which requirements/page.txt does not have."""
    code = (
        "import sys\n"
        "for name in ('cheroot', 'moto', 'cryptography', 'aws_lambda_powertools'): sys.modules[name] = None\n"
        "from tallyman_cli.ui import on_aws\n"
        "assert callable(on_aws.handler)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    carried = (ROOT / "requirements/page.txt").read_text()
    for name in ("apig-wsgi", "boto3", "jinja2", "pyyaml", "typer", "werkzeug"):
        assert f"\n{name}==" in f"\n{carried}", name


def test_its_role_only_reads_and_has_no_more_permissions_than_people() -> None:
    (policy,) = of_type(page(), "AWS::IAM::Role")["PageRole"]["Policies"]
    statements = [s for each in policy["PolicyDocument"]["Statement"] for s in ([each] if "Action" in each else [])]
    actions = {a for s in statements for a in listed(s["Action"])}
    allowed = of_type(hub(), "AWS::IAM::ManagedPolicy")["PeoplePolicy"]["PolicyDocument"]
    people = {a for s in statements_of(allowed) for a in listed(s["Action"])}
    assert actions - people == {"logs:CreateLogStream", "logs:PutLogEvents"}
    assert set(EveryNeed.PERMISSIONS) <= actions  # or a source of usage could never be read
    reading = ("BatchGet", "Describe", "Get", "List", "Query", "AssumeRole")
    assert [a for a in actions & people if not a.split(":")[1].startswith(reading)] == []
    spokes = next(s for s in statements if s["Sid"] == "Spokes")
    assert text(spokes["Resource"]).endswith("-spoke-people")


def test_its_role_reads_the_tables_and_the_archive_by_their_names_in_the_hub() -> None:
    (policy,) = of_type(page(), "AWS::IAM::Role")["PageRole"]["Policies"]
    named = json.dumps(policy).replace("HubStack", "AWS::StackName")
    for kind, key in (("AWS::DynamoDB::Table", "TableName"), ("AWS::S3::Bucket", "BucketName")):
        for resource in of_type(hub(), kind).values():
            assert text(resource[key]) in named
