"""An IMAGE as a person writes it, found in the local registries."""

import json
from collections.abc import Callable, Sequence

from tallyman.domain.names import Digest, EcrRegistry, ImageName
from tallyman_local.cloud.environments import Place
from tallyman_local.ecr.identity import Identity

Api = Callable[[str, bytes, EcrRegistry, Identity], tuple[int, dict[str, str], bytes]]


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
    owner = Identity(registry.account, f"arn:aws:iam::{registry.account}:root", registry.account)
    status, _, body = api("DescribeImages", payload.encode(), registry, owner)
    answer = json.loads(body)
    if status != 200:
        raise NoSuchImage(answer.get("message") or answer.get("Message") or body.decode())
    return registry, name.repository, Digest.parse(answer["imageDetails"][0]["imageDigest"])


def _registry(name: ImageName, places: Sequence[Place]) -> EcrRegistry:
    number = name.index or 1
    for place in places:
        if place.environment == name.environment and place.number == number:
            return place.registry
    known = ", ".join(sorted({place.environment for place in places}))
    if any(place.environment == name.environment for place in places):
        raise NoSuchImage(f"{name.text}: {name.environment} has no registry [{number}]")
    raise NoSuchImage(f"{name.text}: unknown environment '{name.environment}'; the policy defines {known}")
