"""The policy of a repository that we create: who may pull, Lambda among them, and, for prevention, that only promotions
push (`create.push: tallyman-only`)."""

from collections.abc import Sequence
from typing import Any

from tallyman.domain.images.documents import loads
from tallyman.domain.names import Repository

PUSH_ACTIONS = (
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
PULL_ACTIONS = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
LAMBDA_ACTIONS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
"""What Lambda itself needs of the repository of a function's image: AWS Lambda Developer Guide, "Create a Lambda
function using a container image", "Amazon ECR permissions"."""
PULL, LAMBDA, PUSH = "Pull", "LambdaPulls", "OnlyTallymanPushes"
"""The names of our statements (`Sid`)."""


def role_arn(repository: Repository, role: str) -> str:
    """`role/NAME` in the repository's account, as an ARN."""
    partition = repository.arn.split(":", 2)[1]
    return f"arn:{partition}:iam::{repository.registry.account}:{role}"


def only_push(allowed: Sequence[str]) -> dict[str, Any]:
    """The statement that keeps everybody but these roles (ARNs) from pushing, whatever IAM lets them do."""
    return {
        "Sid": PUSH,
        "Effect": "Deny",
        "Principal": "*",
        "Action": list(PUSH_ACTIONS),
        "Condition": {"ArnNotLike": {"aws:PrincipalArn": list(allowed)}},
    }


def pull_by(repository: Repository, accounts: Sequence[str]) -> dict[str, Any]:
    """The statement that lets these accounts pull."""
    principals = [role_arn(repository, "root").replace(repository.registry.account, a) for a in accounts]
    return {"Sid": PULL, "Effect": "Allow", "Principal": {"AWS": principals}, "Action": list(PULL_ACTIONS)}


def pull_for_functions(repository: Repository, accounts: Sequence[str]) -> dict[str, Any]:
    """The statement that lets Lambda pull for the functions of these accounts, in the repository's region.

    Lambda adds one like it by itself, if whoever calls it may set repository policies; nobody of ours who calls it may.
    """
    partition, region = repository.arn.split(":", 2)[1], repository.registry.region
    functions = [f"arn:{partition}:lambda:{region}:{account}:function:*" for account in accounts]
    return {
        "Sid": LAMBDA,
        "Effect": "Allow",
        "Principal": {"Service": "lambda.amazonaws.com"},
        "Action": list(LAMBDA_ACTIONS),
        "Condition": {"ArnLike": {"aws:SourceArn": functions}},
    }


def repository_policy(
    repository: Repository, pull: Sequence[str], pushers: Sequence[str], functions: bool = False
) -> dict[str, Any] | None:
    """The whole policy of a new repository: who may pull (accounts, with their Lambda functions; `functions`: those of
    the repository's own account too), who alone may push (ARNs; none: anyone). None where there is nothing to say."""
    own = [repository.registry.account] if functions else []
    statements = [pull_by(repository, pull)] if pull else []
    if accounts := list(dict.fromkeys([*own, *pull])):
        statements.append(pull_for_functions(repository, accounts))
    if pushers:
        statements.append(only_push(pushers))
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


def problem(found: str | None, allowed: Sequence[str]) -> str | None:
    """What is wrong with a repository's policy (its text; None: it has none), if only these roles may push."""
    if found is None:
        return "the repository has no policy: anyone whom IAM lets may push"
    try:
        statements = loads(found).get("Statement", [])
    except (ValueError, AttributeError):
        return "the repository's policy is not JSON"
    listed = statements if isinstance(statements, list) else [statements]
    mine = next((s for s in listed if isinstance(s, dict) and s.get("Sid") == PUSH), None)
    if mine is None:
        return f"the repository's policy lacks the statement {PUSH}: anyone whom IAM lets may push"
    if _normal(mine) != _normal(only_push(allowed)):
        return f"the statement {PUSH} of the repository's policy was changed"
    return None


def _normal(value: Any) -> Any:
    """Without differences that mean nothing: one value or a list of it, the order of a list, a principal's forms."""
    if isinstance(value, dict):
        made = {key: _normal(inner) for key, inner in value.items()}
        if made.get("Principal") == {"AWS": ["*"]}:
            made["Principal"] = ["*"]
        return made
    listed = value if isinstance(value, list) else [value]
    return sorted(str(each) for each in listed)
