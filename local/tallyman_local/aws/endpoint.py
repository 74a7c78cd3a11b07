"""The endpoint of all AWS APIs (AWS_ENDPOINT_URL): identify the caller and pass the call to its service.

ECR, PutEvents, LookupEvents and Invoke are our own; moto serves everything else. A call that nothing serves gets an
error that names service and call, never a 500.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

from moto.sqs.models import Queue

from tallyman.domain.names import EcrRegistry
from tallyman_local.aws import lambda_calls, lambda_images
from tallyman_local.aws.permissions import Permissions, needed
from tallyman_local.aws.trail import BadLookup, Trail
from tallyman_local.ecr.identity import Api, Identity
from tallyman_local.ecr.policies import allows, statements
from tallyman_local.events.bus import Bus
from tallyman_local.moto import calls as moto_calls
from tallyman_local.server import answers
from tallyman_local.server.answers import Answer, json_answer
from tallyman_local.server.http import Environ, StartResponse, read_body

log = logging.getLogger("tallyman.local")

_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/,\s]+)/([^/,\s]+)/aws4_request")
_INVOKE = re.compile(r"/2015-03-31/functions/([^/]+)/invocations/?")

# Calls that moto lacks, of sources of usage and others: nothing runs, nothing is found, and ECR has the quotas of a new
# account.
EMPTY: dict[tuple[str, str], dict[str, Any]] = {
    ("lambda", "/2016-08-19/account-settings"): {
        "AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 1000},
        "AccountUsage": {},
    },
    ("inspector2", "/coverage/list"): {"coveredResources": []},
    ("inspector2", "/coverage/statistics/list"): {"totalCounts": 0, "countsByGroup": []},
    ("apprunner", "AppRunner.ListServices"): {"ServiceSummaryList": []},
    ("servicequotas", "ServiceQuotasV20190624.ListServiceQuotas"): {
        "Quotas": [
            {"ServiceCode": "ecr", "QuotaName": name, "Value": value, "Adjustable": True}
            for name, value in (
                ("Rate of PutImage requests", 10.0),
                ("Images per repository", 100_000.0),
                ("Registered repositories", 100_000.0),
            )
        ]
    },
}


@dataclass(frozen=True, slots=True)
class Call:
    """One API request. `operation` is empty where only the path names it."""

    identity: Identity
    region: str
    service: str
    operation: str
    body: bytes
    environ: Environ

    @property
    def has_target(self) -> bool:
        """Whether the call has X-Amz-Target, and so uses a JSON protocol."""
        return "HTTP_X_AMZ_TARGET" in self.environ

    def refuse(self, code: str, message: str, status: int = 400) -> Answer:
        """An error in the service's own protocol."""
        return answers.error(self.service, code, message, status=status, target=self.has_target)


class Endpoint:
    """The WSGI application behind AWS_ENDPOINT_URL.

    `invoke`: runs a function and returns its answer; None: there is no such function. `control`: answers paths below
    `/_tallyman/`.
    """

    def __init__(
        self,
        *,
        ecr: Api,
        bus: Bus,
        trail: Trail,
        invoke: Callable[[str, str, bytes, str], Answer | None],
        control: Callable[[str, Environ], Answer],
        permissions: Permissions,
    ) -> None:
        self._ecr, self._bus, self._trail = ecr, bus, trail
        self._invoke, self._control = invoke, control
        self._permissions = permissions

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        try:
            if path.startswith("/_tallyman/"):
                answer = self._control(path.removeprefix("/_tallyman/"), environ)
            else:
                answer = self._answer(environ)
        except ConnectionResetError:
            raise  # an injected failure: the connection is to break
        except Exception as failure:
            # Last resort: named and logged. Not a 500, which clients would repeat for half a minute.
            log.exception("%s %s", environ["REQUEST_METHOD"], path)
            answer = json_answer({"__type": "LocalCloudError", "message": f"{path}: {failure!r}"}, 400)
        return answer.send(environ, start_response)

    def _answer(self, environ: Environ) -> Answer:
        scope = _SCOPE.search(environ.get("HTTP_AUTHORIZATION", "")) or _SCOPE.search(
            unquote("Credential=" + parse_qs(environ["QUERY_STRING"]).get("X-Amz-Credential", [""])[0])
        )
        if not scope:
            text = "The request has no AWS signature: the local cloud serves signed calls only."
            return answers.error("", "MissingAuthenticationToken", text, status=403)
        access_key, region, service = scope.groups()
        service = service.lower()
        body = read_body(environ)
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        operation = target.rpartition(".")[2] or _action(environ, body)
        identity = moto_calls.identify(access_key)
        if identity is None:
            code = "InvalidClientTokenId" if service in ("sts", "iam", "sqs") else "UnrecognizedClientException"
            text = "The security token included in the request is invalid."
            return answers.error(service, code, text, status=403, target=bool(target))
        call = Call(identity, region, service, operation, body, environ)
        needs = needed(service, operation, body, environ, identity.account, region)
        if lacking := self._permissions.missing(identity, needs):
            return _denied(call, *lacking[:2])
        return self._serve(call)

    def _serve(self, call: Call) -> Answer:  # noqa: C901 - a table: a case for each operation
        match call.service, call.operation:
            case "ecr", operation:
                where = EcrRegistry(call.identity.account, call.region)
                status, headers, body = self._ecr(operation, call.body, where, call.identity)
                return Answer(status, body, dict(headers))
            case "events", "PutEvents":
                entries, who = json.loads(call.body)["Entries"], call.identity
                if shut := self._bus.shut_to(entries, who.account, call.region, who.principal_arn):
                    return _denied(call, "events:PutEvents", shut)
                return json_answer(self._bus.put_events(entries, who.account, call.region))
            case "cloudtrail", "LookupEvents":
                try:
                    return json_answer(self._trail.lookup(json.loads(call.body), call.identity.account, call.region))
                except BadLookup as problem:
                    return call.refuse(problem.code, str(problem))
            case "lambda", _ if found := _INVOKE.fullmatch(call.environ["PATH_INFO"]):
                kind = call.environ.get("HTTP_X_AMZ_INVOCATION_TYPE", "RequestResponse")
                name = unquote(found[1])
                answer = self._invoke(name, kind, call.body, call.identity.account + "/" + call.region)
                return answer or call.refuse("ResourceNotFoundException", f"Function not found: {name}", 404)
            case "lambda", _ if not self._takes_image(call):
                return call.refuse("AccessDeniedException", lambda_images.DENIED, 403)
            case "sqs", "ReceiveMessage":
                return _receive(call)
            case "sts", "AssumeRole":
                return self._assume_role(call)
        what = call.environ.get("HTTP_X_AMZ_TARGET") or call.environ["PATH_INFO"]
        if (call.service, what) in EMPTY:
            return json_answer(EMPTY[call.service, what])
        return _moto(call)

    def _takes_image(self, call: Call) -> bool:
        action, function = lambda_calls.named(call.environ, call.body, call.identity.account, call.region)
        if action not in lambda_images.NAMING:
            return True
        return lambda_images.may_take(self._ecr, self._permissions, call.identity, call.region, function, call.body)

    def _assume_role(self, call: Call) -> Answer:
        """As STS: the role must exist and trust the caller. People of the local cloud may assume any role; it is
        created where it does not exist."""
        parameters = {key: values[0] for key, values in parse_qs(call.body.decode()).items()}
        arn = parameters.get("RoleArn", "")
        if not re.fullmatch(r"arn:aws:iam::\d{12}:role/[\w+=,.@/-]+", arn):
            return call.refuse("ValidationError", f"{arn} is invalid")
        if call.identity.principal_arn not in self._permissions.held:
            moto_calls.ensure_role(arn)
        elif not _trusts(arn, call.identity):
            return _denied(call, "sts:AssumeRole", arn)
        return _moto(call)


def _denied(call: Call, action: str, resource: str) -> Answer:
    """IAM's message under the service's own error code."""
    text = f"User: {call.identity.arn} is not authorized to perform: {action} on resource: {resource}"
    log.warning("%s", text)
    if call.service == "sns":
        return call.refuse("AuthorizationError", text, 403)
    if call.service in ("sts", "s3", "sqs", "iam", "cloudformation"):
        return call.refuse("AccessDenied", text, 403)
    text += f" because no identity-based policy allows the {action} action"
    return call.refuse("AccessDeniedException", text, 403 if call.service == "lambda" else 400)


def _trusts(arn: str, identity: Identity) -> bool:
    role = moto_calls.role(arn)
    return role is not None and allows(
        statements(role.assume_role_policy_document),
        action="sts:AssumeRole",
        resource="*",
        account=identity.account,
        arn=identity.principal_arn,
        context={"aws:PrincipalArn": identity.principal_arn, "aws:PrincipalAccount": identity.account},
    )


def _action(environ: Environ, body: bytes) -> str:
    """The operation of a call in the query protocol, from its form or its query string."""
    if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
        return parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]
    return parse_qs(str(environ["QUERY_STRING"])).get("Action", [""])[0]


def _moto(call: Call, body: bytes | None = None) -> Answer:
    what = f"{call.service}:{call.operation or call.environ['REQUEST_METHOD'] + ' ' + call.environ['PATH_INFO']}"
    sender = moto_calls.SENDER.set(call.identity.principal_id)
    try:
        status, headers, content = moto_calls.call(
            call.service, call.region, call.identity.account, call.environ, call.body if body is None else body
        )
    except (moto_calls.NotServed, NotImplementedError) as failure:
        log.info("not served: %s (%s)", what, failure)
        return call.refuse("UnknownOperationException", f"The local cloud does not serve {what}.")
    except Exception as failure:
        log.warning("moto failed at %s", what, exc_info=failure)
        return call.refuse("LocalCloudError", f"The local cloud failed at {what}: {failure!r}")
    finally:
        moto_calls.SENDER.reset(sender)
    if status >= 500 or (status == 404 and content == b"Not yet implemented"):
        return call.refuse(
            "UnknownOperationException",
            f"The local cloud does not serve {what}: {content[:300].decode('utf-8', 'replace')}",
        )
    return Answer(status, content, headers)


def _receive(call: Call) -> Answer:
    """ReceiveMessage that waits as long as requested. moto's own would block every other call meanwhile."""
    if not call.has_target:
        return _moto(call)
    request = json.loads(call.body)
    with moto_calls.LOCK:
        queue = moto_calls.queue(request.get("QueueUrl", ""), call.identity.account, call.region)
        seconds = request.get("WaitTimeSeconds", queue.receive_message_wait_time_seconds if queue else 0)
    wait = min(20.0, max(0.0, float(seconds)))
    if not 0 <= seconds <= 20 or queue is None:
        wait = 0.0
    else:
        request["WaitTimeSeconds"] = 0
    body, ends = json.dumps(request).encode(), time.monotonic() + wait
    while True:
        answer = _moto(call, body)
        if answer.status != 200 or b'"Messages"' in answer.body or not _wait_for_messages(queue, ends):
            return answer


def _wait_for_messages(queue: Queue | None, ends: float) -> bool:
    """Whether the queue has a message to receive before this time of the monotonic clock, and the cloud goes on."""
    with moto_calls.CHANGED:
        while queue and (left := ends - time.monotonic()) > 0 and not moto_calls.STOPPING.is_set():
            moto_calls.CHANGED.wait(min(left, 0.2))
            if queue.messages:
                return True
    return False
