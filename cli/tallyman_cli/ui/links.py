"""Addresses of the pages, in the server and in an export."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

Arguments = Mapping[str, str | int | None]


def path(*parts: str) -> str:
    """The parts as one path; characters with a meaning in addresses are escaped."""
    return "/".join(quote(part, safe="/@:-._~[]") for part in parts)


class Links(ABC):
    """The address of each page, by its name and parts; None: there is no such page here. `live`: whether a server
    answers."""

    live: bool

    @abstractmethod
    def page(self, where: str, **arguments: str | int | None) -> str | None:
        """The address of the page at this path."""

    @abstractmethod
    def static(self, name: str) -> str:
        """The address of a file of the page."""

    @abstractmethod
    def twin(self, here: str, given: Arguments) -> str | None:
        """The JSON twin of the page at `here`."""

    def board(self, **arguments: str | int | None) -> str | None:
        return self.page("", **arguments)

    def repository(self, environment: str | None, name: str, **arguments: str | int | None) -> str | None:
        return self.page(path("repository", environment, name), **arguments) if environment else None

    def image(self, environment: str | None, name: str, digest: str, **arguments: str | int | None) -> str | None:
        return self.page(path("image", environment, name, digest), **arguments) if environment else None

    def why(
        self, environment: str | None, name: str, digest: str, to: str, **arguments: str | int | None
    ) -> str | None:
        return self.page(path("why", environment, name, digest, to), **arguments) if environment else None

    def find(self, **arguments: str | int | None) -> str | None:
        return self.page("find", **arguments)

    def compare(self, **arguments: str | int | None) -> str | None:
        return self.page("compare", **arguments)

    def retention(self, environment: str | None = None, name: str = "", **arguments: str | int | None) -> str | None:
        return self.page(path("retention", environment, name) if environment else "retention", **arguments)

    def health(self, part: str = "", **arguments: str | int | None) -> str | None:
        return self.page(f"health/{part}" if part else "health", **arguments)

    def do(self, command: str, **arguments: str | int | None) -> str | None:
        return self.page(path("do", command), **arguments)


def query(arguments: Arguments) -> str:
    """`?a=b`, without what is None or empty."""
    given = {key: value for key, value in arguments.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else ""


class ServerLinks(Links):
    """Paths of the server."""

    live = True

    def page(self, where: str, **arguments: str | int | None) -> str | None:
        if where.endswith(".json"):
            arguments["format"] = "html"  # a repository may be called so
        return f"/{where}{query(arguments)}"

    def static(self, name: str) -> str:
        return f"/static/{name}"

    def twin(self, here: str, given: Arguments) -> str | None:
        return f"{'/board' if here == '/' else here}.json{query(given)}"


@dataclass(frozen=True)
class FileLinks(Links):
    """Paths of an export, relative to the page at `here`; only what is exported has one."""

    here: str
    exported: Mapping[str, str]
    live = False

    def page(self, where: str, **arguments: str | int | None) -> str | None:
        target = self.exported.get(f"{where}{query(arguments)}")
        return f"{'../' * self.here.count('/')}{quote(target)}" if target else None

    def static(self, name: str) -> str:
        return f"{'../' * self.here.count('/')}static/{name}"

    def twin(self, here: str, given: Arguments) -> str | None:
        return quote(self.here.rpartition("/")[2].removesuffix(".html") + ".json")
