"""The HTTP proxy that HttpClient connects through."""

from dataclasses import field

from tallyman.values import value


@value(slots=False)
class Proxy:
    """A proxy, reached without TLS. `authorization`: the value of `Proxy-Authorization`; empty: none."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers for the proxy itself."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}
