"""Locations other than ECR: repositories of a registry at any host, and OCI layouts in a folder."""

import re

from tallyman.domain.names import REPOSITORY, Digest, Location
from tallyman.errors import BadName
from tallyman.values import value

_HOST = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?"

DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")
"""Docker Hub's names. The last one answers, the others stand in addresses and in Docker's configuration."""


@value
class OciHost:
    """A registry that speaks OCI's distribution protocol at `host[:port]`, as written: `docker login` stores it so. Two
    are equal if they differ by the case of letters alone, or are two names of Docker Hub."""

    host: str

    @property
    def known_as(self) -> str:
        """The host in lower case; `docker.io` for every name of Docker Hub."""
        host = self.host.lower()
        return "docker.io" if host in DOCKER_HUB else host

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OciHost) and self.known_as == other.known_as

    def __hash__(self) -> int:
        return hash(self.known_as)

    def __str__(self) -> str:
        return self.host


@value
class OciLayout:
    """The folder above an OCI layout; the layout's own folder is the name of its `OciRepository`."""

    folder: str

    @property
    def host(self) -> str:
        """`oci:FOLDER`; never resolved as the name of a host."""
        return f"oci:{self.folder.rstrip('/')}"

    def __str__(self) -> str:
        return self.host


@value
class OciRepository:
    """A repository of a registry that is not ECR, or an OCI layout."""

    registry: OciHost | OciLayout
    name: str

    def at(self, reference: str) -> str:
        """The address of an image: `host/name@sha256:…` or `host/name:tag`."""
        return f"{self}{'@' if isinstance(reference, Digest) else ':'}{reference}"

    def __str__(self) -> str:
        return f"{self.registry}/{self.name}"


def repository_at(host: str, name: str) -> OciRepository:
    """The repository `name` of the registry at `host`. Raises BadName (OCI: lower case, parts joined by `/`)."""
    if len(name) > 255 or not REPOSITORY.fullmatch(name):
        raise BadName(
            f"'{name}' is not a repository: expected lower-case letters, digits and . _ - / as in team/service"
        )
    if not re.fullmatch(_HOST, host):
        raise BadName(f"'{host}' is not a host: expected a name or address, with :PORT unless it is the default")
    return OciRepository(OciHost(host), name)


def layout_at(path: str) -> OciRepository:
    """The OCI layout in the folder `path`. Raises BadName for a path that can't be a folder."""
    above, _, last = path.rstrip("/").rpartition("/")
    if not last or "\0" in path:
        raise BadName(f"'{path}' is not a folder for an OCI layout")
    return OciRepository(OciLayout(above or ("/" if path.startswith("/") else ".")), last)


def layout_path(location: Location) -> str:
    """The folder of a layout. Raises TypeError for a location that is not a layout: the caller chose the wrong
    adapter."""
    if not isinstance(location.registry, OciLayout):
        raise TypeError(f"{location} is not an OCI layout")
    return f"{location.registry.folder.rstrip('/')}/{location.name}"
