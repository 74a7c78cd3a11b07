"""What retention marked and removed."""

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Marked(Details):
    """Of marked and unmarked. `policy`: the digest of the policy."""

    reason: str
    policy: str


@value
class Removed(Details):
    """Of removed. `proof`: the digest of its object in the archive. `action`: `remove` or `archive`."""

    reason: str
    policy: str
    proof: str | None
    action: str
