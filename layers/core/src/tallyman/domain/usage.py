"""Uses of images, as a source of usage (ECS, Lambda, EKS …) reports them."""

from datetime import datetime

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.values import value


@value
class Use:
    """One thing that runs an image now. `kind`: such as `ecs task` or `lambda function`; `name`: its name there.

    `image` is the address as the source reports it; `repository`, `tag` and `digest` are its parts (None: the address
    does not name it). The digest may be of an index or of one of its platform images. `where`: account and region that
    it runs in. `since`: when it started; None: not known.
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
