"""The command line finds region and credentials in each way that AWS's own command line supports."""

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from botocore.tokens import SSOTokenProvider
from typer.testing import CliRunner, Result

from tallyman_cli.main import app
from tallyman_cli.shared import context
from tallyman_cli.shared.aws import NEEDED
from tallyman_cli.shared.chosen import Chosen

IDENTITY = """<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::111111111111:user/ana</Arn><UserId>A</UserId><Account>111111111111</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""
NO_STACK = """<ErrorResponse><Error><Type>Sender</Type><Code>ValidationError</Code>
<Message>Stack with id tallyman does not exist</Message></Error></ErrorResponse>"""
SSO = {"accessKeyId": "SSO", "secretAccessKey": "s", "sessionToken": "t", "expiration": 4_000_000_000_000}
KEYS = {"AWS_ACCESS_KEY_ID": "KEY", "AWS_SECRET_ACCESS_KEY": "secret"}


class Aws:
    """STS that reports the caller, CloudFormation without the stack, SSO; `asked`: (access key, region) of each call;
    `stacks`: the answer about all stacks, None where they may not be listed."""

    def __init__(self) -> None:
        self.asked: set[tuple[str, str]] = set()
        self.stacks: str | None = None
        made, asked = self, self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, json.dumps({"roleCredentials": SSO}))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                key, _, region, *_ = self.headers["Authorization"].partition("Credential=")[2].split("/")
                asked.add((key, region))
                listed = made.stacks if "StackName" not in body else None
                found = IDENTITY if "GetCallerIdentity" in body else listed
                self._answer(200 if found else 400, found or NO_STACK)

            def _answer(self, status: int, text: str) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def aws() -> Iterator[Aws]:
    made = Aws()
    yield made
    made.server.shutdown()
    made.server.server_close()


def run(aws: Aws, home: Path, *options: str, **environment: str) -> Result:
    """Run `tallyman pending` with only these variables."""
    found = {"PATH": os.environ["PATH"], "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true", **environment}
    found["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{aws.server.server_port}"
    with (
        contextlib.chdir(home),
        mock.patch.dict(os.environ, found, clear=True),
        mock.patch.object(SSOTokenProvider, "_SSO_TOKEN_CACHE_DIR", str(home / ".aws/sso/cache")),  # set at its import
        mock.patch.object(context, "chosen", Chosen()),  # left over from a test of the command line
    ):
        return CliRunner().invoke(app, [*options, "pending"])


def configured(home: Path, config: str, credentials: str = "") -> None:
    (home / ".aws").mkdir()
    (home / ".aws/config").write_text(config)
    (home / ".aws/credentials").write_text(credentials)


PROCESS = json.dumps({"Version": 1, "AccessKeyId": "PROCESS", "SecretAccessKey": "s"})
KEPT = "".join(
    f"[{name}]\naws_access_key_id = {name.upper()}\naws_secret_access_key = s\n" for name in ("ops", "default")
)
WAYS: dict[str, tuple[str, tuple[str, ...], dict[str, str], tuple[str, str]]] = {
    "AWS_REGION": ("", (), {**KEYS, "AWS_REGION": "us-east-2"}, ("KEY", "us-east-2")),
    "AWS_DEFAULT_REGION": ("", (), {**KEYS, "AWS_DEFAULT_REGION": "us-east-2"}, ("KEY", "us-east-2")),
    "both": ("", (), {**KEYS, "AWS_REGION": "us-east-2", "AWS_DEFAULT_REGION": "x-x-1"}, ("KEY", "us-east-2")),
    "--region": ("", ("--region", "us-east-2"), {**KEYS, "AWS_REGION": "sa-east-1"}, ("KEY", "us-east-2")),
    "the default profile": ("[default]\nregion = us-east-2\n", (), {}, ("DEFAULT", "us-east-2")),
    "AWS_PROFILE": ("[profile ops]\nregion = us-east-2\n", (), {"AWS_PROFILE": "ops"}, ("OPS", "us-east-2")),
    "a profile, another region": (
        "[profile ops]\nregion = sa-east-1\n",
        (),
        {"AWS_PROFILE": "ops", "AWS_REGION": "us-east-2"},
        ("OPS", "us-east-2"),
    ),
    "a process": (
        f"[profile by-process]\nregion = us-east-2\ncredential_process = echo '{PROCESS}'\n",
        (),
        {"AWS_PROFILE": "by-process"},
        ("PROCESS", "us-east-2"),
    ),
    "SSO": (
        "[sso-session corp]\nsso_start_url = https://corp\nsso_region = us-east-2\n"
        "[profile sso]\nregion = us-east-2\nsso_session = corp\nsso_account_id = 111111111111\nsso_role_name = dev\n",
        (),
        {"AWS_PROFILE": "sso"},
        ("SSO", "us-east-2"),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_region_and_credentials_are_found_in_each_supported_way(aws: Aws, tmp_path: Path, way: str) -> None:
    config, options, environment, wanted = WAYS[way]
    configured(tmp_path, config, KEPT if "profile" in way.lower() else "")
    cache = tmp_path / ".aws/sso/cache" / f"{hashlib.sha1(b'corp').hexdigest()}.json"
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps({"accessToken": "t", "expiresAt": "2999-01-01T00:00:00Z", "startUrl": "https://corp"}))
    done = run(aws, tmp_path, *options, **environment)
    assert done.exit_code == 2, done.stderr
    assert "there is no stack 'tallyman' in 111111111111/us-east-2" in done.stderr
    assert aws.asked == {wanted}


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"AWS_PROFILE": "nope", "AWS_REGION": "us-east-2"}, "profile (nope) could not be found"),
        ({"AWS_PROFILE": "nope"}, "profile (nope) could not be found"),
        ({"AWS_REGION": "us-east-2"}, "choose a profile with AWS_PROFILE, or log in"),
        (KEYS, "no region: say --region, or set AWS_REGION"),
        ({**KEYS, "AWS_REGION": "not a region"}, "region"),
    ],
    ids=["no such profile", "no such profile, no region", "no credentials", "no region", "a bad region"],
)
def test_missing_settings_are_one_message_without_a_traceback(
    aws: Aws, tmp_path: Path, environment: dict[str, str], word: str
) -> None:
    done = run(aws, tmp_path, **environment)
    assert done.exit_code in (1, 2)
    assert done.exit_code == 2 or "log in" in word
    assert word in done.stderr
    assert "fault" not in done.stderr
    assert "Traceback" not in done.stderr
    assert aws.asked == set()


def test_a_wrong_name_of_the_stack_names_those_that_are_there(aws: Aws, tmp_path: Path) -> None:
    keys = "".join(f"<member><OutputKey>{key}</OutputKey><OutputValue>x</OutputValue></member>" for key in NEEDED)
    members = "".join(
        f"<member><StackName>{name}</StackName><StackStatus>CREATE_COMPLETE</StackStatus>"
        f"<CreationTime>2026-11-16T00:00:00Z</CreationTime><Outputs>{outputs}</Outputs></member>"
        for name, outputs in (("tallyman-dev", keys), ("other", ""))
    )
    aws.stacks = (
        '<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/"><DescribeStacksResult>'
        f"<Stacks>{members}</Stacks></DescribeStacksResult></DescribeStacksResponse>"
    )
    done = run(aws, tmp_path, **KEYS, AWS_REGION="us-east-2")
    assert done.exit_code == 2
    assert "; Tallyman's there: tallyman-dev: name the stack with --stack" in done.stderr
