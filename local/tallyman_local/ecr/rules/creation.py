"""Create repositories: with the parameters of CreateRepository, or by a creation template of the registry."""

import json
import uuid
from typing import Any

from tallyman.domain.names import EcrRegistry, Repository
from tallyman_local.ecr import errors
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.rules.quotas import REPOSITORIES, Quotas
from tallyman_local.ecr.store.rows import RepositoryRow
from tallyman_local.ecr.store.tables import Store


def mutability(parameters: dict[str, Any]) -> tuple[str, list[dict[str, str]]]:
    """imageTagMutability and its exclusion filters. Raises InvalidParameterException where they contradict each
    other."""
    chosen = parameters.get("imageTagMutability", "MUTABLE")
    filters = parameters.get("imageTagMutabilityExclusionFilters")
    where = "imageTagMutabilityExclusionFilters"
    if (filters is None) == chosen.endswith("_EXCLUSION"):
        word = "can't be" if filters is None else "must be"
        reason = f"ImageTagMutabilityExclusionFilters {word} null when imageTagMutability is set as {chosen}"
        raise errors.invalid(where, reason)
    if any(f["filter"].count("*") > 2 for f in filters or ()):
        raise errors.invalid(where, "a filter may have at most 2 wildcards")
    return chosen, filters or []


def encryption(parameters: dict[str, Any], registry: EcrRegistry) -> dict[str, str]:
    """encryptionConfiguration, with a new key where one is needed and none is given."""
    chosen = dict(parameters.get("encryptionConfiguration", {"encryptionType": "AES256"}))
    if chosen["encryptionType"] == "AES256" and chosen.get("kmsKey"):
        raise errors.invalid("encryptionConfiguration", "kmsKey must be null when encryptionType is AES256")
    if chosen["encryptionType"] != "AES256":
        chosen.setdefault("kmsKey", f"arn:aws:kms:{registry.region}:{registry.account}:key/{uuid.uuid4()}")
    return chosen


def tags_of(listed: list[dict[str, str]]) -> dict[str, str]:
    """Resource tags by key. Raises InvalidTagParameterException."""
    tags = {tag["Key"]: tag["Value"] for tag in listed}
    for key, value in tags.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise EcrError("InvalidTagParameterException", f"The tag with key '{key}' is not valid")
    return tags


def limited(tags: dict[str, str]) -> str:
    """The tags as JSON, as stored. Raises TooManyTagsException for more than 50."""
    if len(tags) > 50:
        raise EcrError("TooManyTagsException", "A repository can have at most 50 tags")
    return json.dumps(tags)


def create(store: Store, quotas: Quotas, name: Repository, parameters: dict[str, Any], at: float) -> RepositoryRow:
    """A new repository with CreateRepository's parameters. Raises RepositoryAlreadyExistsException."""
    chosen, filters = mutability(parameters)
    text = f"The registry with id '{name.registry.account}'"
    quotas.count(REPOSITORIES, lambda: len(store.repositories(name.registry)), text)
    return store.create(
        name,
        at,
        mutability=chosen,
        filters=json.dumps(filters),
        scan_on_push=parameters.get("imageScanningConfiguration", {}).get("scanOnPush", False),
        encryption=json.dumps(encryption(parameters, name.registry)),
        tags=limited(tags_of(parameters.get("tags", []))),
    )


def from_template(
    store: Store, quotas: Quotas, name: Repository, template: dict[str, Any] | None, at: float
) -> RepositoryRow:
    """A new repository by a template, or with ECR's defaults where there is none."""
    given = template or {}
    wanted: dict[str, Any] = {
        k: given[k] for k in ("imageTagMutability", "imageTagMutabilityExclusionFilters") if k in given
    }
    if "encryptionConfiguration" in given:
        chosen = {key: value for key, value in given["encryptionConfiguration"].items() if value}
        wanted["encryptionConfiguration"] = chosen
    wanted["tags"] = given.get("resourceTags", [])
    with store.db.transaction():
        row = create(store, quotas, name, wanted, at)
        documents = {"policy": given.get("repositoryPolicy"), "lifecycle": given.get("lifecyclePolicy")}
        store.change(row.id, **{column: text for column, text in documents.items() if text})
        return store.get(name)
