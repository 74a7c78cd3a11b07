"""Calls to AWS of the command line alone: finds the stack, and runs its `reconcile`."""

import json
import os
import socket
from collections.abc import Mapping
from typing import Any

from botocore.config import Config

from tallyman.adapters.aws.sessions import new_session
from tallyman.adapters.errors.translate import translated
from tallyman.adapters.http.client import origin
from tallyman.domain.names import EcrRegistry
from tallyman.domain.partitions import nearest, partition_of
from tallyman.errors import BadInput, NotAllowed, NotFound, Refused, TallymanError

NEEDED = ("LedgerTable", "StateTable", "ArchiveBucket", "CommandsQueueUrl", "VerifyQueueUrl", "ReconcileFunction")
"""Outputs that every stack of ours has."""

LONGEST_RUN = 900
"""The longest run of a Lambda function, in seconds."""

_LOG_IN = "`aws sso login`, `aws configure`"


def find_stack(name: str) -> tuple[dict[str, str], EcrRegistry]:
    """The outputs of the stack, and the hub: account and region of the credentials that boto3 finds.

    Two calls. Raises BadInput, with what to do, if there is no region or no such stack, or the stack is not ours.
    """
    with translated("read the configuration of AWS"):
        session = new_session()
        region = session.get_config_variable("region")
    if not region:
        raise BadInput(
            "no region: say --region, or set AWS_REGION (or the region of your profile), to that of Tallyman's stack"
        )
    if region not in partition_of(region).regions:
        meant = nearest(region)
        raise BadInput(f"the installed botocore does not know the region {region}" + (f": {meant}?" if meant else ""))
    _check_local_cloud()
    account = account_of(session, region)
    hub = EcrRegistry.parse(f"{account}/{region}")
    advice = "name the stack with --stack or TALLYMAN_STACK, choose its region with AWS_REGION, or deploy it"
    client = session.create_client("cloudformation", region_name=region)
    try:
        with translated(f"find the stack '{name}'"):
            answer = client.describe_stacks(StackName=name)
    except TallymanError as error:
        if isinstance(error, NotFound) or "does not exist" in str(error):
            others = ", ".join(_stacks(client))
            there = f"; Tallyman's there: {others}" if others else ""
            raise BadInput(f"there is no stack '{name}' in {hub}{there}: {advice} (make deploy)") from error
        raise
    outputs = _outputs(answer["Stacks"])
    missing = [key for key in NEEDED if key not in outputs]
    if missing:
        raise BadInput(f"the stack '{name}' in {hub} is not Tallyman's (it lacks {', '.join(missing)}): {advice}")
    return outputs, hub


def account_of(session: Any, region: str) -> str:
    """The account of the credentials that boto3 finds. One call. Raises NotAllowed or TransientError, with what to do
    where there are no credentials, or not valid ones."""
    try:
        with translated("ask who we are"):
            return str(session.create_client("sts", region_name=region).get_caller_identity()["Account"])
    except TallymanError as error:
        if isinstance(error, NotAllowed) or "Expired" in error.code:
            raise type(error)(f"{error}; choose a profile with AWS_PROFILE, or log in ({_LOG_IN})") from error
        raise


def _outputs(stacks: list[dict[str, Any]]) -> dict[str, str]:
    return {o["OutputKey"]: o["OutputValue"] for stack in stacks for o in stack.get("Outputs", [])}


def _stacks(client: Any) -> list[str]:
    """The names of Tallyman's stacks, for a message; empty where they may not be listed. One call, the first page."""
    try:
        with translated("list the stacks"):
            found = client.describe_stacks()["Stacks"]
    except TallymanError:
        return []
    return sorted(str(stack["StackName"]) for stack in found if not set(NEEDED) - set(_outputs([stack])))


def _check_local_cloud() -> None:
    """Raise BadInput where AWS_ENDPOINT_URL is not valid, or that of a local cloud that has ended; else boto3 tries
    for ten seconds, and its error names a port only. One connection to this machine."""
    url = os.environ.get("AWS_ENDPOINT_URL")
    if not url:
        return
    _, host, port = origin(url)
    if not port:
        raise BadInput(f"AWS_ENDPOINT_URL={url}: expected a URL such as http://127.0.0.1:4566")
    if host not in ("127.0.0.1", "localhost"):
        return
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        raise BadInput(
            f"nothing answers at {url} (AWS_ENDPOINT_URL): the local cloud of this shell has ended; start another with "
            "`tallyman local start` and export what it prints, or unset AWS_ENDPOINT_URL and its credentials"
        ) from None


class Reconciler:
    """Runs the stack's `reconcile` and waits for its answer."""

    def __init__(self, function: str, region: str) -> None:
        self._function, self._region = function, region
        self._client: Any = None

    def __call__(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """One run, which is never repeated. Raises Refused with the function's own words if it failed."""
        what = f"run {self._function}"
        with translated(what):
            if self._client is None:
                config = Config(read_timeout=LONGEST_RUN + 30, retries={"total_max_attempts": 1}, tcp_keepalive=True)
                self._client = new_session().create_client("lambda", region_name=self._region, config=config)
            answer = self._client.invoke(
                FunctionName=self._function,
                InvocationType="RequestResponse",
                Payload=json.dumps(payload).encode(),
            )
            raw = answer["Payload"].read()
        try:
            outcome = json.loads(raw or b"null")
        except ValueError:
            outcome = None
        if answer.get("FunctionError"):
            failure = outcome if isinstance(outcome, dict) else {}
            words = f"{failure.get('errorType', 'error')}: {failure.get('errorMessage', 'no message')}"
            raise Refused(f"{what}: it failed: {words} (its log group has the details)")
        if not isinstance(outcome, dict):
            raise Refused(f"{what}: its answer is not a JSON object: {raw[:200]!r}")
        return outcome
