"""Places that are no ECR: registries at any host, and OCI layouts in a folder.

They stand where a Registry stands, so that copying knows one kind of place: `account` is empty.
"""

import re
from typing import Self

from tallyman.domain.names import EcrRegistry, Repository
from tallyman.errors import BadName

_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"(?:{_PART}/)*{_PART}")


class Host(EcrRegistry):
    """A registry that speaks OCI's distribution protocol at `host[:port]`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `host` or `host:port`; raises BadName."""
        if not _HOST.fullmatch(text):
            raise BadName(f"'{text}' is no host: expected a name or address, with :PORT where it is not the usual one")
        return cls("", text)

    @property
    def host(self) -> str:
        """As written."""
        return self.region

    def __str__(self) -> str:
        return self.region


class Folder(EcrRegistry):
    """The folder above an OCI layout; the layout's own name is that of the repository."""

    __slots__ = ()

    @property
    def host(self) -> str:
        """Never asked over a network."""
        return f"oci:{self.region}"

    def __str__(self) -> str:
        return f"oci:{self.region}"


def repository_at(host: str, name: str) -> Repository:
    """A repository of a registry at a host; raises BadName (OCI: lower case, parts joined by `/`)."""
    if len(name) > 255 or not _NAME.fullmatch(name):
        raise BadName(f"'{name}' is no repository: expected lower-case letters, digits and . _ - / as in team/service")
    return Repository(Host.parse(host), name)


def layout_at(path: str) -> Repository:
    """An OCI layout in a folder; raises BadName where the path names none."""
    above, _, last = path.rstrip("/").rpartition("/")
    if not last or "\0" in path:
        raise BadName(f"'{path}' is no folder for an OCI layout")
    return Repository(Folder("", above or ("/" if path.startswith("/") else ".")), last)


def layout_path(repository: Repository) -> str:
    """Where the layout is."""
    return f"{repository.registry.region.rstrip('/')}/{repository.name}"
