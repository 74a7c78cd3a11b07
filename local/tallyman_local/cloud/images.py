"""An IMAGE as a person writes it, found in the local registries."""

import json
from collections.abc import Sequence

from tallyman.domain.images.manifest import INDEX_TYPES, Manifest
from tallyman.domain.names import Digest, EcrRegistry, ImageName, Repository
from tallyman_local.cloud.environments import Place
from tallyman_local.ecr.identity import Api, Identity
from tallyman_local.ecr.store.tables import Store


class NoSuchImage(LookupError):
    """The name is well-formed, but nothing is there."""


def locate(text: str, places: Sequence[Place], api: Api) -> tuple[EcrRegistry, str, Digest]:
    """Registry, repository and digest of `dev/team/app:v1`, `prod[2]/team/app@sha256:…` or an ECR address.

    Raises BadName (parses as nothing) and NoSuchImage.
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
    """`linux/amd64 sha256:…` of each image that an index lists, of nested indexes too; empty for an image."""
    row = store.get(repository)
    found: dict[Digest, str] = {}
    open_indexes = [digest]
    for index in open_indexes:  # grows as it is walked; an index can't list itself
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
    for place in places:
        if place.environment == name.environment and place.number == number:
            return place.registry
    known = ", ".join(sorted({place.environment for place in places}))
    if any(place.environment == name.environment for place in places):
        raise NoSuchImage(f"{name.text}: {name.environment} has no registry [{number}]")
    raise NoSuchImage(f"{name.text}: unknown environment '{name.environment}'; the policy defines {known}")
