"""The repository policy of a repository that Tallyman creates: who may pull, including Lambda, and with
`create.push: tallyman-only` that only promotions may push."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from tallyman.domain.images.documents import loads
from tallyman.domain.names import Repository
from tallyman.values import value

PUSH_ACTIONS = (
    "ecr:CompleteLayerUpload",
    "ecr:InitiateLayerUpload",
    "ecr:PutImage",
    "ecr:UploadLayerPart",
)
PULL_ACTIONS = ("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
LAMBDA_ACTIONS = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer")
"""The actions that Lambda itself needs on the repository of a function's image. Source: AWS Lambda Developer Guide,
"Create a Lambda function using a container image", "Amazon ECR permissions"."""
PULL, LAMBDA, PUSH = "Pull", "LambdaPulls", "OnlyTallymanPushes"
"""The names of our statements (`Sid`)."""


def role_arn(repository: Repository, role: str) -> str:
    """The ARN of `role` (`role/NAME`) in the repository's account."""
    partition = repository.arn.split(":", 2)[1]
    return f"arn:{partition}:iam::{repository.registry.account}:{role}"


def only_push(allowed: Sequence[str]) -> dict[str, Any]:
    """The statement that lets only these roles (ARNs) push, whatever IAM allows others."""
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

    Lambda adds such a statement itself where its caller may set repository policies; our roles may not.
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
    """The policy of a new repository; None: it needs none. `pull`: accounts that may pull, with their Lambda functions;
    `functions`: the functions of the repository's own account may pull too; `pushers`: ARNs of the only roles that may
    push, empty: anyone."""
    own = [repository.registry.account] if functions else []
    statements = [pull_by(repository, pull)] if pull else []
    if accounts := list(dict.fromkeys([*own, *pull])):
        statements.append(pull_for_functions(repository, accounts))
    if pushers:
        statements.append(only_push(pushers))
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


class Flaw(StrEnum):
    """The kinds of flaws of a repository policy that should let only promotions push."""

    NO_POLICY = "no_policy"
    NOT_JSON = "not_json"
    NO_STATEMENT = "no_statement"
    CHANGED = "changed"


@value
class Problem:
    """Why a repository policy does not let only promotions push. `text` is for people, and may change from version to
    version."""

    flaw: Flaw
    text: str

    def __str__(self) -> str:
        return self.text


def problem(found: str | None, allowed: Sequence[str]) -> Problem | None:
    """Why the policy `found` (its text; None: there is none) does not let only these roles push; None: it does."""
    if found is None:
        return Problem(Flaw.NO_POLICY, "the repository has no policy: every principal that IAM allows may push")
    try:
        statements = loads(found).get("Statement", [])
    except (ValueError, AttributeError):
        return Problem(Flaw.NOT_JSON, "the repository's policy is not JSON")
    listed = statements if isinstance(statements, list) else [statements]
    mine = next((s for s in listed if isinstance(s, dict) and s.get("Sid") == PUSH), None)
    if mine is None:
        lacks = f"the repository's policy lacks the statement {PUSH}: every principal that IAM allows may push"
        return Problem(Flaw.NO_STATEMENT, lacks)
    if normal(mine) != normal(only_push(allowed)):
        return Problem(Flaw.CHANGED, f"the statement {PUSH} of the repository's policy was changed")
    return None


def normal(value: Any) -> Any:
    """The value, a statement or a part of one, without meaningless differences: one value or a list of it, the order of
    lists, the forms of `*`."""
    if isinstance(value, dict):
        made = {key: normal(inner) for key, inner in value.items()}
        if made.get("Principal") == {"AWS": ["*"]}:
            made["Principal"] = ["*"]
        return made
    listed = value if isinstance(value, list) else [value]
    return sorted(str(each) for each in listed)
