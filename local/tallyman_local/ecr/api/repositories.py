"""The JSON API: repositories, their settings, tags and documents; the registry; authorization."""

import json
from typing import Any

from tallyman.domain.names import EcrRegistry, Repository
from tallyman.domain.retention.lifecycle import BadLifecyclePolicy, parse_lifecycle_policy
from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Answer, Call, serves
from tallyman_local.ecr.model import moment
from tallyman_local.ecr.rules import creation
from tallyman_local.ecr.store.rows import RepositoryRow


def _shape(call: Call, row: RepositoryRow) -> Answer:
    host = call.parts.endpoint_of(row.name.registry).split("://", 1)[-1].rstrip("/")
    return {
        "repositoryArn": row.name.arn,
        "registryId": row.name.registry.account,
        "repositoryName": row.name.name,
        "repositoryUri": f"{host}/{row.name.name}",
        "createdAt": moment(row.created),
        "imageTagMutability": row.mutability,
        "imageTagMutabilityExclusionFilters": list(row.filters) or None,
        "imageScanningConfiguration": {"scanOnPush": row.scan_on_push},
        "encryptionConfiguration": row.encryption,
    }


@serves("CreateRepository", recorded=True)
def create_repository(call: Call) -> Answer:
    row = creation.create(call.store, call.parts.quotas, call.name, call.parameters, call.now)
    return {"repository": _shape(call, row)}


@serves("DescribeRepositories")
def describe_repositories(call: Call) -> Answer:
    if names := call.parameters.get("repositoryNames"):
        rows, token = [call.store.get(Repository(call.registry, name)) for name in names], None
    else:
        rows, token = call.page(call.store.repositories(call.registry), lambda row: row.name.name)
    return {"repositories": [_shape(call, row) for row in rows], "nextToken": token}


@serves("DeleteRepository", recorded=True)
def delete_repository(call: Call) -> Answer:
    with call.store.db.transaction():
        row = call.repository()
        if call.store.count_images(row.id) and not call.parameters.get("force"):
            raise errors.repository_not_empty(row.name)
        call.store.delete(row)
    return {"repository": _shape(call, row)}


@serves("GetAuthorizationToken")
def get_authorization_token(call: Call) -> Answer:
    token, expires = call.parts.tokens.issue(call.identity)
    accounts = call.parameters.get("registryIds") or [call.registry.account]
    endpoints = [call.parts.endpoint_of(EcrRegistry(account, call.registry.region)) for account in accounts]
    data = [{"authorizationToken": token, "expiresAt": expires, "proxyEndpoint": url} for url in endpoints]
    return {"authorizationData": data}


@serves("PutImageTagMutability", recorded=True)
def put_image_tag_mutability(call: Call) -> Answer:
    mutability, filters = creation.mutability(call.parameters)
    call.store.change(call.repository().id, mutability=mutability, filters=json.dumps(filters))
    return call.of_repository(imageTagMutability=mutability, imageTagMutabilityExclusionFilters=filters or None)


@serves("PutImageScanningConfiguration", recorded=True)
def put_image_scanning_configuration(call: Call) -> Answer:
    scan_on_push = call.parameters["imageScanningConfiguration"].get("scanOnPush", False)
    call.store.change(call.repository().id, scan_on_push=scan_on_push)
    return call.of_repository(imageScanningConfiguration={"scanOnPush": scan_on_push})


# -- tags of a repository (`entry.py` has read the call's repository from the ARN)


@serves("ListTagsForResource")
def list_tags_for_resource(call: Call) -> Answer:
    return {"tags": [{"Key": key, "Value": value} for key, value in call.repository().tags.items()]}


@serves("TagResource", recorded=True)
def tag_resource(call: Call) -> Answer:
    with call.store.db.transaction():
        row = call.repository()
        call.store.change(row.id, tags=creation.limited({**row.tags, **creation.tags_of(call.parameters["tags"])}))
    return {}


@serves("UntagResource", recorded=True)
def untag_resource(call: Call) -> Answer:
    with call.store.db.transaction():
        row = call.repository()
        kept = {key: value for key, value in row.tags.items() if key not in call.parameters["tagKeys"]}
        call.store.change(row.id, tags=json.dumps(kept))
    return {}


# -- documents


def _document(text: str, where: str, reason: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.invalid(where, reason) from error
    if not isinstance(document, dict):
        raise errors.invalid(where, reason)
    return document


def check_policy(text: str, reason: str) -> None:
    """Raise InvalidParameterException where the text is not a resource policy."""
    document = _document(text, "PolicyText", reason)
    statements = document.get("Statement")
    statements = [statements] if isinstance(statements, dict) else statements
    needed = ({"Action", "NotAction"}, {"Principal", "NotPrincipal"}, {"Effect"})
    if (
        not isinstance(statements, list)
        or not statements
        or not all(isinstance(s, dict) and all(keys & s.keys() for keys in needed) for s in statements)
    ):
        raise errors.invalid("PolicyText", reason)


@serves("SetRepositoryPolicy", recorded=True)
def set_repository_policy(call: Call) -> Answer:
    text = call.parameters["policyText"]
    check_policy(text, "Invalid repository policy provided")
    call.store.change(call.repository().id, policy=text)
    return call.of_repository(policyText=text)


@serves("GetRepositoryPolicy")
def get_repository_policy(call: Call) -> Answer:
    if (text := call.repository().policy) is None:
        raise errors.document_not_found("Repository policy", call.name)
    return call.of_repository(policyText=text)


@serves("DeleteRepositoryPolicy", recorded=True)
def delete_repository_policy(call: Call) -> Answer:
    answer = get_repository_policy(call)
    call.store.change(call.repository().id, policy=None)
    return answer


#: `lastEvaluatedAt` of a policy that was never run, in seconds since the epoch. The local ECR runs none.
NEVER = 0.0


def check_lifecycle(text: str) -> None:
    """Raise InvalidParameterException where the text is not a lifecycle policy."""
    failure = "Lifecycle policy validation failure: "
    rules = _document(text, "LifecyclePolicyText", failure + "the policy is not a JSON object").get("rules")
    if not isinstance(rules, list) or not 1 <= len(rules) <= 50:
        raise errors.invalid("LifecyclePolicyText", failure + "'rules' must be a list of 1 to 50 rules")
    for rule in rules:
        needed = ("rulePriority", "selection", "action")
        missing = [key for key in needed if not isinstance(rule, dict) or key not in rule]
        if missing:
            raise errors.invalid("LifecyclePolicyText", failure + f"object has missing required properties ({missing})")
    try:
        parse_lifecycle_policy(text)
    except BadLifecyclePolicy as error:
        raise errors.invalid("LifecyclePolicyText", f"{failure}{error}") from error


@serves("PutLifecyclePolicy", recorded=True)
def put_lifecycle_policy(call: Call) -> Answer:
    text = call.parameters["lifecyclePolicyText"]
    check_lifecycle(text)
    call.store.change(call.repository().id, lifecycle=text)
    return call.of_repository(lifecyclePolicyText=text)


@serves("GetLifecyclePolicy")
def get_lifecycle_policy(call: Call) -> Answer:
    if (text := call.repository().lifecycle) is None:
        raise errors.document_not_found("Lifecycle policy", call.name)
    return call.of_repository(lifecyclePolicyText=text, lastEvaluatedAt=moment(NEVER))


@serves("DeleteLifecyclePolicy", recorded=True)
def delete_lifecycle_policy(call: Call) -> Answer:
    answer = get_lifecycle_policy(call)
    call.store.change(call.repository().id, lifecycle=None)
    return answer
