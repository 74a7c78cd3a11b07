"""What functions tell each other to look at: parsed once, from the body of a message."""

import json
from typing import Any, Self

from tallyman.domain.names import Repository
from tallyman.domain.values import dataclass
from tallyman.errors import BadInput, BadMessage


@dataclass(frozen=True, slots=True)
class RetentionHint:
    """`repository` None: all in which the policy enforces something. `request`: who waits for the outcome; `policy`:
    the digest of the one whose plan was shown; `round`: how many runs came before."""

    repository: Repository | None
    request: Any = None
    policy: Any = None
    round: int = 0

    @classmethod
    def parse(cls, body: str) -> Self:
        """From `{"repository": "<account>/<region>/<name>", "request": …, "policy": …, "round": …}` or `{"all": true}`.
        BadMessage says what is wrong."""
        try:
            hint = json.loads(body)
        except ValueError:
            hint = None
        if not isinstance(hint, dict):
            raise BadMessage("the message is no hint of retention: expected a JSON object")
        if not isinstance(hint.get("round", 0), int):
            raise BadMessage("the round of a hint of retention is to be a number")
        if hint.get("all"):
            return cls(None)
        try:
            repository = Repository.parse(hint["repository"])
        except (KeyError, AttributeError, BadInput) as error:
            raise BadMessage(f"a hint of retention names its repository, as account/region/name: {error}") from None
        return cls(repository, hint.get("request"), hint.get("policy"), hint.get("round", 0))
