"""Places other than ECR, and their repositories: registries at any host, and OCI layouts in a folder."""

import re

from tallyman.domain.names import Digest, Location
from tallyman.errors import BadName
from tallyman.values import value

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:{_PART}/)*{_PART}")


@value
class OciHost:
    """A registry that speaks OCI's distribution protocol at `host[:port]`, as written."""

    host: str

    def __str__(self) -> str:
        return self.host


@value
class OciLayout:
    """Where an OCI layout is: the folder above it. The layout's own name is that of the repository."""

    folder: str

    @property
    def host(self) -> str:
        """`oci:FOLDER`, which nobody asks over a network."""
        return f"oci:{self.folder}"

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
    """A repository of a registry at a host; raises BadName (OCI: lower case, parts joined by `/`)."""
    if len(name) > 255 or not _NAME.fullmatch(name):
        raise BadName(
            f"'{name}' is not a repository: expected lower-case letters, digits and . _ - / as in team/service"
        )
    if not _HOST.fullmatch(host):
        raise BadName(f"'{host}' is not a host: expected a name or address, with :PORT where it is not the usual one")
    return OciRepository(OciHost(host), name)


def layout_at(path: str) -> OciRepository:
    """An OCI layout in a folder; raises BadName where the path names none."""
    above, _, last = path.rstrip("/").rpartition("/")
    if not last or "\0" in path:
        raise BadName(f"'{path}' is not a folder for an OCI layout")
    return OciRepository(OciLayout(above or ("/" if path.startswith("/") else ".")), last)


def layout_path(location: Location) -> str:
    """The folder of a layout. TypeError: the location is none, and the wrong adapter was chosen for it."""
    if not isinstance(location.registry, OciLayout):
        raise TypeError(f"{location} is not an OCI layout")
    return f"{location.registry.folder.rstrip('/')}/{location.name}"
