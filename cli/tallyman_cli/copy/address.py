"""The addresses of `tallyman copy`, as repositories."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tallyman.domain.locations import layout_at, repository_at
from tallyman.domain.names import Digest, ImageName, Location, Repository, parse_tag
from tallyman.errors import BadName

_ECR = re.compile(r"\d{12}\.dkr[.-]ecr[.-].*")


@dataclass(frozen=True, slots=True)
class Address:
    """One address as written: an environment of several registries is several repositories."""

    text: str
    repositories: tuple[Location, ...]
    tag: str | None = None
    digest: Digest | None = None

    @property
    def reference(self) -> str | None:
        """What is asked for: the digest, where both are given."""
        return self.digest or self.tag


def parse(text: str, in_policy: Callable[[str], Any], environ: Mapping[str, str] | None = None) -> Address:
    """An address: `oci:PATH[:TAG]`, `HOST[:PORT]/NAME[:TAG|@DIGEST]`, or what the policy knows: an environment's,
    or a port of a local cloud. `in_policy` looks such a name up. Raises BadName."""
    if text.startswith("oci:"):
        path, digest = _digest(text[4:])
        head, colon, last = path.rpartition(":")
        if colon and "/" not in last:
            return Address(text, (layout_at(head),), parse_tag(last), digest)
        return Address(text, (layout_at(path),), None, digest)
    where, slash, rest = text.partition("/")
    if not slash or not rest:
        raise BadName(
            f"'{text}' is not an image: expected ENVIRONMENT/REPOSITORY:TAG, HOST/REPOSITORY:TAG or oci:FOLDER:TAG"
        )
    ports = {v for k, v in (os.environ if environ is None else environ).items() if k.startswith("TALLYMAN_REGISTRY_")}
    local = where.replace("127.0.0.1", "localhost") in ports
    if _ECR.fullmatch(where):  # says all that there is to know: no policy and no stack has to be there
        image = ImageName.parse_any(text)
        assert image.registry is not None  # a host is a registry
        return Address(text, (Repository(image.registry, image.repository),), image.tag, image.digest)
    if local or not ("." in where or ":" in where or where == "localhost"):
        named = in_policy(text)
        return Address(text, named.repositories, named.tag, named.digest)
    rest, digest = _digest(rest)
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, tag = rest, ""
    if where == "docker.io" and "/" not in name:
        name = f"library/{name}"
    return Address(text, (repository_at(where, name),), parse_tag(tag) if colon and tag else None, digest)


def _digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.partition("@")
    return rest, Digest.parse(digest) if at else None
