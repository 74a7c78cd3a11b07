"""An HTTP proxy, as HttpClient goes through it."""

from dataclasses import field

from tallyman.values import value


@value(slots=False)
class Proxy:
    """A proxy that is spoken to without TLS. `authorization`: the value of `Proxy-Authorization`, empty for none."""

    host: str
    port: int
    authorization: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What it wants of us beside the request."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}
