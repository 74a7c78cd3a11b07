"""Find an image that a command names in the local registries."""

import json
from collections.abc import Sequence

from tallyman.domain.images.manifest import INDEX_TYPES, Manifest
from tallyman.domain.names import Digest, EcrRegistry, ImageName, Repository
from tallyman_local.cloud.environments import Place
from tallyman_local.ecr.identity import Api, Identity
from tallyman_local.ecr.store.tables import Store


class NoSuchImage(LookupError):
    """The name is valid, but there is no such image."""


def locate(text: str, places: Sequence[Place], api: Api) -> tuple[EcrRegistry, str, Digest]:
    """Registry, repository and digest of `dev/team/app:v1`, `prod[2]/team/app@sha256:…` or an ECR address.

    Raises BadName for an invalid name, and NoSuchImage.
    """
    name = ImageName.parse(text)
    registry = name.registry or _registry(name, places)
    identifier = {"imageDigest": name.digest} if name.digest else {"imageTag": name.tag}
    payload = json.dumps({
        "registryId": registry.account,
        "repositoryName": name.repository,
        "imageIds": [identifier],
        "filter": {"imageStatus": "ANY"},
    })  # fmt: skip
    status, _, body = api("DescribeImages", payload.encode(), registry, Identity.root(registry.account))
    answer = json.loads(body)
    if status != 200:
        raise NoSuchImage(answer.get("message") or answer.get("Message") or body.decode())
    return registry, name.repository, Digest.parse(answer["imageDetails"][0]["imageDigest"])


def platform_images(store: Store, repository: Repository, digest: Digest) -> list[str]:
    """`linux/amd64 sha256:…` for each image of an index and of its nested indexes; empty for an image."""
    row = store.get(repository)
    found: dict[Digest, str] = {}
    open_indexes = [digest]
    for index in open_indexes:  # the loop adds nested indexes to it; no index can list itself
        raw, image = store.raw(row.id, index), store.image(row.id, index)
        if raw is None or image is None or image.media_type not in INDEX_TYPES:
            continue
        for child in Manifest.parse(raw, image.media_type).platform_children:
            if child.media_type in INDEX_TYPES:
                open_indexes.append(child.digest)
            elif child.is_manifest:
                found[child.digest] = f"{child.platform or 'no platform'} {child.digest}"
    return list(found.values())


def _registry(name: ImageName, places: Sequence[Place]) -> EcrRegistry:
    number = name.index or 1
    listed = {place.number: place.registry for place in places if place.environment == name.environment}
    if number in listed:
        return listed[number]
    if listed:
        raise NoSuchImage(f"{name.text}: {name.environment} has no registry [{number}]")
    known = ", ".join(sorted({place.environment for place in places}))
    raise NoSuchImage(f"{name.text}: unknown environment '{name.environment}'; the policy defines {known}")
