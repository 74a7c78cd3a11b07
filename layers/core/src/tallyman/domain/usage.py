"""Uses of images, as a source of usage (ECS, Lambda, EKS …) reports them."""

from datetime import datetime

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.values import value


@value
class Use:
    """One thing that runs an image, or is set up to. `kind`: such as `ecs task` or `lambda function`; `name`: its name
    there.

    `image` is the address as the source reports it; `repository`, `tag` and `digest` are its parts (None: the address
    does not name it). The digest may be of an index or of one of its platform images. `where`: account and region that
    it runs in. `since`: when it started; None: not known. `runs` False: it only names the image, and pulls it when it
    is used next, such as a scaled-down service, a published version of a function or a job definition.
    """

    kind: str
    name: str
    image: str
    where: EcrRegistry
    repository: Repository | None = None
    tag: str | None = None
    digest: Digest | None = None
    since: datetime | None = None
    runs: bool = True

    def __str__(self) -> str:
        return f"{self.kind} {self.name} in {self.where}"


@value
class Reading:
    """One reading of one source of usage in one account and region. `error`: why it could not be read, so that its uses
    are not known. `regional`: what runs there can pull only from a registry of its own region."""

    source: str
    where: EcrRegistry
    at: datetime
    uses: tuple[Use, ...] = ()
    error: str | None = None
    regional: bool = False

    def reaches(self, registry: EcrRegistry) -> bool:
        """Whether the source's uses could run an image of this registry."""
        return not self.regional or self.where.region == registry.region


def used_tag(use: Use) -> str | None:
    """The tag of a use; `latest` where the address has neither tag nor digest, as in every container runtime; None: the
    use has a digest only."""
    if use.tag is not None or use.digest is not None:
        return use.tag
    last = use.image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2] or "latest"
