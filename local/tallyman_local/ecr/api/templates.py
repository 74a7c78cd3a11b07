"""The JSON API: repository creation templates."""

from typing import Any

from tallyman_local.ecr import errors
from tallyman_local.ecr.api.calls import Answer, Call, serves
from tallyman_local.ecr.api.repositories import check_lifecycle, check_policy
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.model import moment
from tallyman_local.ecr.rules import creation
from tallyman_local.ecr.store.settings import Setting

_MOST = 25


def _shape(found: Setting) -> Answer:
    return {
        "prefix": found.name,
        **found.value,
        "createdAt": moment(found.created),
        "updatedAt": moment(found.updated),
    }


def _answer(call: Call, found: Setting) -> Answer:
    return {"registryId": call.registry.account, "repositoryCreationTemplate": _shape(found)}


def _get(call: Call, prefix: str) -> Setting:
    found = call.settings.get(call.registry, "template", prefix)
    if found is None:
        what = f"The Repository Creation Template with prefix '{prefix}'"
        raise errors.not_in_registry("TemplateNotFoundException", what, call.registry)
    return found


def _checked(call: Call, value: dict[str, Any]) -> dict[str, Any]:
    """The template's values, checked as on the creation of a repository, so that no push fails on the template
    later."""
    creation.mutability(value)
    given = value.get("encryptionConfiguration", {"encryptionType": "AES256"})
    creation.encryption({"encryptionConfiguration": given}, call.registry)
    creation.limited(creation.tags_of(value.get("resourceTags", [])))
    if text := value.get("repositoryPolicy"):
        check_policy(text, "Invalid repository policy provided")
    if text := value.get("lifecyclePolicy"):
        check_lifecycle(text)
    return value


@serves("CreateRepositoryCreationTemplate", recorded=True)
def create_repository_creation_template(call: Call) -> Answer:
    prefix = call.parameters["prefix"]
    value = _checked(call, {key: item for key, item in call.parameters.items() if key != "prefix"})
    value.setdefault("imageTagMutability", "MUTABLE")
    value.setdefault("encryptionConfiguration", {"encryptionType": "AES256"})
    with call.store.db.transaction():
        listed = call.settings.all(call.registry, "template")
        if any(found.name.rstrip("/") == prefix.rstrip("/") for found in listed):
            text = f"The Repository Creation Template with prefix '{prefix}' already exists in the registry with id "
            raise EcrError("TemplateAlreadyExistsException", text + f"'{call.registry.account}'")
        if len(listed) >= _MOST:
            raise EcrError("LimitExceededException", f"The limit of {_MOST} repository creation templates is reached")
        return _answer(call, call.settings.put(call.registry, "template", value, call.now, prefix))


@serves("UpdateRepositoryCreationTemplate", recorded=True)
def update_repository_creation_template(call: Call) -> Answer:
    prefix = call.parameters["prefix"]
    with call.store.db.transaction():
        value = {**_get(call, prefix).value, **{k: v for k, v in call.parameters.items() if k != "prefix"}}
        filters = "imageTagMutabilityExclusionFilters"
        if not value["imageTagMutability"].endswith("_EXCLUSION") and filters not in call.parameters:
            value.pop(filters, None)
        return _answer(call, call.settings.put(call.registry, "template", _checked(call, value), call.now, prefix))


@serves("DeleteRepositoryCreationTemplate", recorded=True)
def delete_repository_creation_template(call: Call) -> Answer:
    found = _get(call, call.parameters["prefix"])
    call.settings.delete(call.registry, "template", found.name)
    return _answer(call, found)


@serves("DescribeRepositoryCreationTemplates")
def describe_repository_creation_templates(call: Call) -> Answer:
    if prefixes := call.parameters.get("prefixes"):
        # The model lists no TemplateNotFoundException for this call: an absent prefix is left out of the answer.
        listed = [call.settings.get(call.registry, "template", prefix) for prefix in sorted(set(prefixes))]
        found, token = call.page([one for one in listed if one], lambda one: one.name)
    else:
        found, token = call.page(call.settings.all(call.registry, "template"), lambda one: one.name)
    templates = [_shape(one) for one in found]
    return {"registryId": call.registry.account, "repositoryCreationTemplates": templates, "nextToken": token}
