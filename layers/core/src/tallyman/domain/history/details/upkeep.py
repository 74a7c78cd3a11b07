"""What the hub noted about itself."""

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Missed(Details):
    """Of missed: how many events of a repository (`<registry>/<name>`) were never delivered."""

    count: int
    repository: str


@value
class InForce(Details):
    """Of policy: the digest of the policy that came into force."""

    policy: str
