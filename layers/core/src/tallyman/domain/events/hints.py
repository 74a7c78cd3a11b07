"""Hints: messages by which functions tell each other what to look at. Each is parsed from the body of a message."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from tallyman.domain.images.documents import loads_writable
from tallyman.domain.names import Digest, Repository, parse_repository_name
from tallyman.domain.plain import Plain
from tallyman.errors import BadInput, BadMessage
from tallyman.values import value

_NO_HINT_TO_PROMOTE = "the message is not a hint to promote: expected digest, repository, from and to"


@value
class RetentionHint:
    """A hint for `apply_retention`. `repository` None: all whose retention the policy enforces. `request`: the id of
    the person's request that waits for the outcome; `policy`: the digest of the policy whose plan the person saw;
    `round`: the number of runs before this one."""

    repository: Repository | None
    request: Any = None
    policy: Any = None
    round: int = 0

    @classmethod
    def parse(cls, body: str) -> Self:
        """Parse `{"repository": "<account>/<region>/<name>", "request": …, "policy": …, "round": …}` or
        `{"all": true}`. Raises BadMessage."""
        try:
            hint = loads_writable(body)
        except ValueError:
            hint = None
        if not isinstance(hint, dict):
            raise BadMessage("the message is not a hint for retention: expected a JSON object")
        if not isinstance(hint.get("round", 0), int):
            raise BadMessage("a hint for retention: 'round' must be a whole number")
        if hint.get("all"):
            return cls(None)
        try:
            repository = Repository.parse(hint["repository"])
        except (KeyError, AttributeError, BadInput) as error:
            raise BadMessage(f"a hint for retention: expected 'repository' as account/region/name: {error}") from None
        return cls(repository, hint.get("request"), hint.get("policy"), hint.get("round", 0))


@value
class Promote(Plain):
    """A hint that an image may be promoted from `source` to `target`, both names of environments.

    `attempt`: the number of the attempt that this hint is for; None: any. `round`: how many runs the promotion took
    before; `waits`: how often it waited for a lease; `check`: decide again even where the image is promoted; `due`:
    the hint was delayed to the moment at which time may open a gate; `anew`: a person asks to bring an image that is
    promoted once more, because the target may have lost it.
    """

    RENAMED: ClassVar = {"source": "from", "target": "to"}

    digest: Digest
    repository: str
    source: str
    target: str
    correlation: str | None = None
    attempt: int | None = None
    round: int = 0
    waits: int = 0
    check: bool = False
    due: bool = False
    anew: bool = False

    @property
    def candidate(self) -> tuple[str, str, str]:
        """Repository, source and target of the promotion."""
        return self.repository, self.source, self.target

    @classmethod
    def parse(cls, message: Mapping[str, Any]) -> Self:
        """Parse {digest, repository, from, to, correlation, attempt, round, waits, check, due, anew}, the last seven
        optional. Raises BadMessage."""
        if any(not isinstance(message.get(k), str) for k in ("repository", "from", "to")):
            raise BadMessage(_NO_HINT_TO_PROMOTE)
        attempt, rounds, waits = message.get("attempt"), message.get("round", 0), message.get("waits", 0)
        if (
            not (attempt is None or isinstance(attempt, int))
            or not isinstance(rounds, int)
            or not isinstance(waits, int)
        ):
            raise BadMessage("a hint to promote: 'attempt', 'round' and 'waits' must be whole numbers")
        correlation = message.get("correlation")
        try:
            return cls(
                digest=Digest.parse(message.get("digest")),
                repository=parse_repository_name(message["repository"]),
                source=message["from"],
                target=message["to"],
                correlation=None if correlation is None else str(correlation),
                attempt=attempt,
                round=rounds,
                waits=waits,
                check=bool(message.get("check")),
                due=bool(message.get("due")),
                anew=bool(message.get("anew")),
            )
        except BadInput as error:
            raise BadMessage(f"a hint to promote: {error}") from None


@value
class RollBack(Plain):
    """A hint that a person asked, by the command with the id `request`, to release an earlier digest again. `attempt`:
    how many attempts failed before."""

    digest: Digest
    request: str
    attempt: int = 0

    @classmethod
    def parse(cls, message: object) -> Self:
        """Parse {digest, request, attempt}, the last optional. Raises BadMessage."""
        if not isinstance(message, Mapping) or not isinstance(message.get("request"), str):
            raise BadMessage("the message is not a hint to roll back: expected digest and request")
        attempt = message.get("attempt", 0)
        try:
            digest = Digest.parse(message.get("digest"))
        except BadInput as error:
            raise BadMessage(f"a hint to roll back: {error}") from None
        return cls(digest, message["request"], attempt if isinstance(attempt, int) else 0)

    def dump(self) -> dict[str, Any]:
        """What `parse_promotion_hint` reads."""
        return {"roll_back": Plain.dump(self)}


@value
class FinishCreation:
    """A hint that the creation of a repository in a target was begun, and not finished."""

    repository: Repository

    @classmethod
    def parse(cls, message: object) -> Self:
        """Parse `<account>/<region>/<name>`. Raises BadMessage."""
        try:
            return cls(Repository.parse(str(message)))
        except BadInput as error:
            raise BadMessage(f"a hint to create: expected account/region/name: {error}") from None

    def dump(self) -> dict[str, Any]:
        """What `parse_promotion_hint` reads."""
        return {"create": str(self.repository)}


@value
class DecideAbove(Plain):
    """A hint to decide again about the indexes that list an image, starting after the position `after` of their list
    (see `Evaluator`). `again`: send hints also for decisions that have sent theirs."""

    digest: Digest
    after: str = ""
    correlation: str | None = None
    again: bool = False

    @classmethod
    def parse(cls, message: object) -> Self:
        """Parse {digest, after, correlation, again}, the last three optional. Raises BadMessage."""
        if not isinstance(message, Mapping) or not isinstance(message.get("after", ""), str):
            raise BadMessage("the message is not a hint to decide about indexes: expected digest and after")
        correlation = message.get("correlation")
        try:
            digest = Digest.parse(message.get("digest"))
        except BadInput as error:
            raise BadMessage(f"a hint to decide about indexes: {error}") from None
        text = None if correlation is None else str(correlation)
        return cls(digest, message.get("after", ""), text, bool(message.get("again")))

    def dump(self) -> dict[str, Any]:
        """What `parse_promotion_hint` reads."""
        return {"above": Plain.dump(self)}


PromotionHint = Promote | RollBack | FinishCreation | DecideAbove
"""Every hint that `promote_image` takes."""


def parse_promotion_hint(body: str) -> PromotionHint:
    """Parse the body of a message to `promote_image`: {roll_back: …}, {create: …}, {above: …}, or a `Promote`. Raises
    BadMessage."""
    try:
        message = loads_writable(body)
    except ValueError as error:
        raise BadMessage(f"the message is not JSON ({error}): expected a hint to promote") from None
    if not isinstance(message, dict):
        raise BadMessage(_NO_HINT_TO_PROMOTE)
    if "roll_back" in message:
        return RollBack.parse(message["roll_back"])
    if "create" in message:
        return FinishCreation.parse(message["create"])
    if "above" in message:
        return DecideAbove.parse(message["above"])
    return Promote.parse(message)
