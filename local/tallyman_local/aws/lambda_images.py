"""Check whether Lambda accepts the image in CreateFunction or UpdateFunctionCode.

Source: AWS's page "Create a Lambda function using a container image" ("Amazon ECR permissions"). The caller must have
permission to read the image, and so must Lambda: by the repository's policy or, within an account, by the function's
role. Where Lambda has none, it adds one to the repository's policy, if the caller may read and set that policy.
"""

import json
import re
from contextlib import suppress
from typing import Any

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import lambda_backends

from tallyman.domain.names import EcrRegistry
from tallyman_local.aws.permissions import Permissions
from tallyman_local.ecr.identity import Api, Identity
from tallyman_local.ecr.policies import allows, statements
from tallyman_local.moto import calls as moto_calls

DENIED = "Lambda does not have permission to access the ECR image. Check the ECR permissions."
PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
NAMING = ("lambda:CreateFunction", "lambda:UpdateFunctionCode")
_IMAGE = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com/([^@:]+)[@:].+")


def may_take(ecr: Api, permissions: Permissions, identity: Identity, region: str, function: str, body: bytes) -> bool:
    """Whether Lambda accepts the image for the function (an ARN) from this caller. True for images outside this cloud,
    which moto checks."""
    request = json.loads(body or b"{}")
    address = _IMAGE.fullmatch(str(request.get("ImageUri") or request.get("Code", {}).get("ImageUri") or ""))
    if address is None:
        return True
    registry, name = EcrRegistry(address[1], address[2]), address[3]
    arn = f"arn:aws:ecr:{registry.region}:{registry.account}:repository/{name}"

    def call(operation: str, who: Identity, **more: str) -> Any:
        asked = {"registryId": registry.account, "repositoryName": name, **more}
        status, _, answer = ecr(operation, json.dumps(asked).encode(), registry, who)
        return json.loads(answer) if status == 200 else None

    owner = Identity.root(registry.account)
    if call("ListImages", owner) is None:
        return True
    if not all(permissions.allow(identity, action, arn) for action in PULL):
        return False
    found = statements((call("GetRepositoryPolicy", owner) or {}).get("policyText"))
    context = {"aws:SourceArn": function, "aws:SourceAccount": identity.account}
    lambdas = {"service": "lambda.amazonaws.com", "context": context}
    if all(allows(found, action=action, resource=arn, **lambdas) for action in PULL):  # type: ignore[arg-type]
        return True
    role = request.get("Role") or _role(function, identity.account, region)
    own = role and registry.account == identity.account
    if own and all(permissions.role_may(str(role), action, arn) for action in PULL):
        return True
    if not permissions.allow(identity, "ecr:GetRepositoryPolicy", arn):
        return False
    added = {
        "Sid": "LambdaECRImageRetrievalPolicy",
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": list(PULL),
        "Condition": {"StringLike": {"aws:sourceArn": f"arn:aws:lambda:{region}:{identity.account}:function:*"}},
    }
    text = json.dumps({"Version": "2012-10-17", "Statement": [*found, added]})
    return call("SetRepositoryPolicy", identity, policyText=text) is not None


def _role(function: str, account: str, region: str) -> str | None:
    with moto_calls.LOCK, suppress(UnknownFunctionException):
        return str(lambda_backends[account][region].get_function(function.split(":")[6]).role)
    return None
