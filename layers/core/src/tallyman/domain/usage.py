"""What runs an image: plain values, as a source of usage reported them."""

from datetime import datetime

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.values import value


@value
class Use:
    """One thing that runs an image now. `kind`: `ecs task`, `lambda function`; `name`: what to look for there.

    `image` is the address as the source reports it; `repository`, `tag` and `digest` what could be read of it (None:
    not said). A digest may be of an index or of one of its platform images. `where`: account and region it runs in.
    """

    kind: str
    name: str
    image: str
    where: EcrRegistry
    repository: Repository | None = None
    tag: str | None = None
    digest: Digest | None = None
    since: datetime | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.name} in {self.where}"
