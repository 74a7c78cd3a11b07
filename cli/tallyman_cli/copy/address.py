"""Parses the addresses of `tallyman copy` into repositories."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tallyman.domain.locations import DOCKER_HUB, layout_at, repository_at
from tallyman.domain.names import Digest, ImageName, Location, Repository, parse_tag
from tallyman.errors import BadName

_WITH_DIGEST = re.compile("@sha[0-9]+:[^@/]*$")  # an @ may also be part of the name of a folder
_URL = re.compile("[A-Za-z][A-Za-z0-9+.-]*://(?!/)")  # `oci://` is Helm's prefix for registries
_ECR = re.compile(r"\d{12}\.dkr[.-]ecr[.-].*")


@dataclass(frozen=True, slots=True)
class Address:
    """One address as written. An environment with several registries means several repositories."""

    text: str
    repositories: tuple[Location, ...]
    tag: str | None = None
    digest: Digest | None = None

    @property
    def reference(self) -> str | None:
        """The digest, else the tag; None: a whole repository."""
        return self.digest or self.tag


def parse(text: str, in_policy: Callable[[str], Any], environ: Mapping[str, str] | None = None) -> Address:
    """Parse an address: `oci:PATH[:TAG]`, `HOST[:PORT]/NAME[:TAG|@DIGEST]`, or a name that needs the policy (of an
    environment, or of a port of the local cloud), which `in_policy` looks up. Raises BadName."""
    if _URL.match(text):
        raise BadName(f"'{text}' is a URL: expected HOST/REPOSITORY or oci:FOLDER, without ://")
    if text.startswith("oci:"):
        path, digest = _digest(text[4:]) if _WITH_DIGEST.search(text) else (text[4:], None)
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
    if _ECR.fullmatch(where.lower()):  # complete by itself: needs no policy and no stack
        image = ImageName.parse_any(f"{where.lower()}/{rest}")
        assert image.registry is not None  # a host is a registry
        return Address(text, (Repository(image.registry, image.repository),), image.tag, image.digest)
    if local or not ("." in where or ":" in where or where == "localhost"):
        named = in_policy(text)
        return Address(text, named.repositories, named.tag, named.digest)
    rest, digest = _digest(rest)
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, colon = rest, ""
    if where.lower() in DOCKER_HUB[:2] and "/" not in name:
        name = f"library/{name}"
    return Address(text, (repository_at(where, name),), parse_tag(tag) if colon else None, digest)


def _digest(text: str) -> tuple[str, Digest | None]:
    rest, at, digest = text.rpartition("@")
    return (rest, Digest.parse(digest)) if at else (text, None)
