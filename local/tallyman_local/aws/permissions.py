"""Check the permissions of the templates' roles, so that a function lacks here what it lacks on AWS.

Only roles that the stacks created are held to their policies; people of the local cloud may do everything. The
policies, inline and attached, are moto's; this module knows the actions and resources of the calls that functions make.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, unquote

from moto.iam.exceptions import NoSuchEntity, NotFoundException
from moto.iam.models import Role, iam_backends
from moto.s3.models import s3_backends

from tallyman_local.aws import lambda_calls
from tallyman_local.ecr.identity import Identity
from tallyman_local.ecr.policies import Statement, allows, statements
from tallyman_local.moto import calls as moto_calls

Context = Mapping[str, str]  # condition keys of the call
Needed = tuple[str, str] | tuple[str, str, Context]  # action, resource ARN or *

# Calls whose permission has another name.
_ACTIONS = {
    "sqs:SendMessageBatch": "sqs:SendMessage",
    "sqs:DeleteMessageBatch": "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
    "sns:PublishBatch": "sns:Publish",
}
_PREFIXES = {"monitoring": "cloudwatch"}
_FREE = {"sts:GetCallerIdentity"}
_TRANSACTION = {
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
    "Get": "GetItem",
}


class Permissions:
    """Checks calls of the roles whose ARNs are in `held`; the set may grow.

    `needed`: each statement (ARN, Sid) that alone allowed a call, which would have failed without it. The ARN is the
    role's, or the managed policy's that contains the statement.
    """

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.needed: set[tuple[str, str]] = set()

    def hold(self, account: str) -> None:
        """From now on holds every role of the account to its policies."""
        with moto_calls.LOCK:
            self.held |= {role.arn for role in iam_backends[account][moto_calls.PARTITION].roles.values()}

    def allow(self, identity: Identity, action: str, resource: str, call: Context | None = None) -> bool:
        """Whether the identity's own policies allow the action. `call`: condition keys besides the principal's."""
        role = self._role(identity)
        return role is None or self._may(role, identity, action, resource, call)

    def role_may(self, arn: str, action: str, resource: str) -> bool:
        """Whether a role's own policies allow the action, also for a role that is not held: for services that use
        it."""
        role = moto_calls.role(arn)
        return role is not None and self._allowed(role, action, resource, {})

    def statements(self) -> set[tuple[str, str]]:
        """Every statement of the held roles, in the form of `needed`."""
        roles = [role for arn in self.held if (role := moto_calls.role(arn))]
        return {(origin, str(statement.get("Sid"))) for role in roles for origin, statement in _statements(role)}

    def _may(self, role: Role, identity: Identity, action: str, resource: str, call: Context | None = None) -> bool:
        context = {"aws:PrincipalArn": role.arn, "aws:PrincipalAccount": identity.account, **(call or {})}
        return action in _FREE or self._allowed(role, action, resource, context)

    def _allowed(self, role: Role, action: str, resource: str, context: Context) -> bool:
        every = _statements(role)
        allowing = [
            (origin, one) for origin, one in every if allows([one], action=action, resource=resource, context=context)
        ]
        if not allowing or not allows([one for _, one in every], action=action, resource=resource, context=context):
            return False
        if len(allowing) == 1 and role.arn in self.held:
            ((origin, only),) = allowing
            self.needed.add((origin, str(only.get("Sid"))))
        return True

    def missing(self, identity: Identity, needed: Iterator[Needed]) -> Needed | None:
        """The first permission that the identity lacks."""
        role = self._role(identity)
        if role is None:
            return None
        return next((need for need in needed if not self._may(role, identity, *need)), None)

    def _role(self, identity: Identity) -> Role | None:
        kind, _, rest = identity.arn.split(":", 5)[5].partition("/")
        if kind != "assumed-role":
            return None
        name = rest.rpartition("/")[0]
        with moto_calls.LOCK, suppress(NotFoundException):
            role = iam_backends[identity.account][moto_calls.PARTITION].get_role(name)
            return role if role.arn in self.held else None
        return None


def _statements(role: Role) -> list[tuple[str, Statement]]:
    """The statements of the role's inline policies and of its managed ones, each with the ARN of the role or policy."""
    documents = [(str(role.arn), document) for document in role.policies.values()]
    documents += [
        (str(policy.arn), version.document)
        for policy in role.managed_policies.values()
        for version in policy.versions
        if version.is_default
    ]
    return [(origin, {**each, "Principal": "*"}) for origin, document in documents for each in statements(document)]


def needed(  # noqa: C901 - a table: a branch for each service
    service: str, operation: str, body: bytes, environ: dict[str, Any], account: str, region: str
) -> Iterator[Needed]:
    """The permissions that a call needs; none for ECR, which checks its own."""
    action = f"{_PREFIXES.get(service, service)}:{operation}"
    action = _ACTIONS.get(action, action)
    at = f"{region}:{account}"
    if service == "dynamodb":
        yield from _dynamodb(operation, json.loads(body), at)
    elif service == "s3":
        yield from _s3(environ, account)
    elif service == "sqs":
        request = _request(body, environ)
        queue = str(request.get("QueueUrl") or request.get("QueueName", "")).rsplit("/", 1)[-1]
        yield action, f"arn:aws:sqs:{at}:{queue}" if queue else "*"
    elif service == "sns":
        request = _request(body, environ)
        yield action, request.get("TopicArn") or request.get("TargetArn") or "*"
    elif service == "sts":
        yield action, _request(body, environ).get("RoleArn", "*")
    elif service == "cloudtrail" and operation == "GetTrailStatus":
        trail = str(json.loads(body).get("Name", "*"))
        yield action, trail if trail.startswith("arn:") else f"arn:aws:cloudtrail:{at}:trail/{trail}"
    elif service == "cloudformation":
        name = _request(body, environ).get("StackName")
        yield action, f"arn:aws:cloudformation:{at}:stack/{name}/*" if name else "*"
    elif service == "events" and operation == "PutEvents":
        for entry in json.loads(body)["Entries"]:
            name = entry.get("EventBusName", "default")
            context = {"events:source": str(entry.get("Source")), "events:detail-type": str(entry.get("DetailType"))}
            yield action, name if name.startswith("arn:") else f"arn:aws:events:{at}:event-bus/{name}", context
    elif service == "events" and operation == "DescribeEventBus":
        yield action, f"arn:aws:events:{at}:event-bus/{json.loads(body).get('Name', 'default')}"
    elif service == "events" and operation == "DescribeRule":
        asked = json.loads(body)
        bus = asked.get("EventBusName", "default").rpartition("/")[2]
        yield action, f"arn:aws:events:{at}:rule/{'' if bus == 'default' else bus + '/'}{asked['Name']}"
    elif service == "lambda":
        yield lambda_calls.named(environ, body, account, region)
    elif service == "iam" and operation in ("GetRole", "GetUser"):
        yield action, _principal(_request(body, environ), account)
    elif service == "eks" and environ["REQUEST_METHOD"] == "GET":
        cluster = str(environ["PATH_INFO"]).removeprefix("/clusters").strip("/")
        yield ("eks:DescribeCluster", f"arn:aws:eks:{at}:cluster/{cluster}") if cluster else ("eks:ListClusters", "*")
    elif service == "ecs" and operation in ("DescribeServices", "UpdateService"):
        asked = json.loads(body)
        for name in asked.get("services", [asked.get("service", "*")]):
            cluster = str(asked.get("cluster", "default")).rpartition("/")[2]
            yield action, name if name.startswith("arn:") else f"arn:aws:ecs:{at}:service/{cluster}/{name}"
    elif service == "ecs" and operation == "RegisterTaskDefinition":
        yield from _task_definition(action, json.loads(body), at)
    elif service == "ecs" and operation == "DescribeServiceRevisions":
        for revision in json.loads(body).get("serviceRevisionArns", []):
            yield action, revision
    elif service == "ecs" and operation == "DescribeTasks":
        for task in json.loads(body).get("tasks", []):
            yield action, task
    elif operation and service != "ecr":
        yield action, "*"


def _task_definition(action: str, asked: Mapping[str, Any], at: str) -> Iterator[Needed]:
    """The permissions for RegisterTaskDefinition, its roles and its tags."""
    family = f"arn:aws:ecs:{at}:task-definition/{asked.get('family', '*')}:*"
    yield action, family
    for role in (asked.get("taskRoleArn"), asked.get("executionRoleArn")):
        if role:
            yield "iam:PassRole", str(role), {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    if asked.get("tags"):
        yield "ecs:TagResource", family, {"ecs:CreateAction": "RegisterTaskDefinition"}


def _principal(request: dict[str, Any], account: str) -> str:
    """The ARN of the role or user in a call, with its path where it exists."""
    kind = "role" if "RoleName" in request else "user"
    name = str(request.get("RoleName") or request.get("UserName", ""))
    backend = iam_backends[account][moto_calls.PARTITION]
    with moto_calls.LOCK, suppress(NotFoundException, NoSuchEntity):
        return str((backend.get_role(name) if kind == "role" else backend.get_user(name)).arn)
    return f"arn:aws:iam::{account}:{kind}/{name}"


def _request(body: bytes, environ: dict[str, Any]) -> dict[str, Any]:
    if environ.get("HTTP_X_AMZ_TARGET"):
        request: dict[str, Any] = json.loads(body or b"{}")
        return request
    return {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}


def _dynamodb(operation: str, request: dict[str, Any], at: str) -> Iterator[Needed]:
    def table(name: str) -> str:
        return name if name.startswith("arn:") else f"arn:aws:dynamodb:{at}:table/{name}"

    if operation in ("TransactWriteItems", "TransactGetItems"):
        for item in request["TransactItems"]:
            for kind, part in item.items():
                yield f"dynamodb:{_TRANSACTION[kind]}", table(part["TableName"])
    elif operation in ("BatchGetItem", "BatchWriteItem"):
        for name in request["RequestItems"]:
            yield f"dynamodb:{operation}", table(name)
    elif "TableName" in request:
        index = f"/index/{request['IndexName']}" if request.get("IndexName") else ""
        yield f"dynamodb:{operation}", table(request["TableName"]) + index
    else:
        yield f"dynamodb:{operation}", "*"


def _s3(environ: dict[str, Any], account: str) -> Iterator[Needed]:
    bucket, _, key = environ["PATH_INFO"].lstrip("/").partition("/")
    method = environ["REQUEST_METHOD"]
    if key:
        action = {"GET": "GetObject", "HEAD": "GetObject", "DELETE": "DeleteObject"}.get(method, "PutObject")
        yield f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}"
        if action == "GetObject" and not _is_there(bucket, key, account):
            yield "s3:ListBucket", f"arn:aws:s3:::{bucket}"  # without it the answer is 403, not 404
    else:
        reading = "ListBucketVersions" if "versions" in environ["QUERY_STRING"].split("&") else "ListBucket"
        action = {"GET": reading, "HEAD": reading, "DELETE": "DeleteBucket"}.get(method, "CreateBucket")
        yield f"s3:{action}", f"arn:aws:s3:::{bucket}" if bucket else "*"


def _is_there(bucket: str, key: str, account: str) -> bool:
    with moto_calls.LOCK:
        found = s3_backends[account][moto_calls.PARTITION].buckets.get(bucket)
        return bool(found and unquote(key) in found.keys)
