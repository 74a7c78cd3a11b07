"""Images that retention marked or removed."""

from tallyman.domain.history.details.base import Details
from tallyman.values import value


@value
class Marked(Details):
    """Details of marked and unmarked. `policy`: the digest of the policy."""

    reason: str
    policy: str


@value
class Removed(Details):
    """Details of removed. `proof`: the digest of the proof in the archive. `action`: `remove` or `archive`."""

    reason: str
    policy: str
    proof: str | None
    action: str
