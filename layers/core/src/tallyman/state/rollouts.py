"""How far roll-outs of releases are."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key, brief, text_or_none, time_or_none
from tallyman.values import value


@value
class MovedService:
    """One service in one registry that was moved, or is being moved. `before`, `moved`: what the adapter needs to put
    it back and to wait for it, plain JSON data; `back`: after a failure `done`, or why it could not be put back."""

    registry: str
    service: str
    part: str | None
    before: Any
    moved: Any
    since: datetime
    image: str | None = None
    said: str | None = None
    back: str | None = None

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What no other step of a roll-out has: registry, service, and its container or alias."""
        return self.registry, self.service, self.part


@value
class RolloutState:
    """`status`: running, done or failed; `not_before`: no next registry before then; `reason`: why it failed; `said`:
    what it waits for; `at`: when it was written; `next_at`: when the next look is due."""

    release: str
    digest: Digest
    status: str
    moving: MovedService | None = None
    moved: tuple[MovedService, ...] = ()
    not_before: datetime | None = None
    reason: str | None = None
    said: str | None = None
    at: datetime | None = None
    next_at: datetime | None = None

    @property
    def entries(self) -> tuple[MovedService, ...]:
        """What was moved, the one that is moving last."""
        return (*self.moved, self.moving) if self.moving else self.moved

    def having(self, **changes: Any) -> "RolloutState":
        """The same, with changes."""
        return replace(self, **changes)


def partition(environment: str) -> str:
    """An environment's roll-outs, sk the repository."""
    return f"RO#{environment}"


def key(environment: str, repository: str) -> Key:
    """The key of one roll-out."""
    return partition(environment), repository


def _parse_service(data: Mapping[str, Any]) -> MovedService:
    return MovedService(
        registry=data["registry"],
        service=data["service"],
        part=data.get("part"),
        before=data["before"],
        moved=data.get("moved"),
        since=parse_time(data["since"]),
        image=data.get("image"),
        said=data.get("said"),
        back=data.get("back"),
    )


def _dump_service(entry: MovedService) -> dict[str, Any]:
    optional = {"image": entry.image, "said": entry.said, "back": entry.back}
    return {
        "registry": entry.registry,
        "service": entry.service,
        "part": entry.part,
        "before": entry.before,
        "moved": entry.moved,
        "since": format_time(entry.since),
    } | {name: value for name, value in optional.items() if value is not None}


def _parse(data: Mapping[str, Any]) -> RolloutState:
    return RolloutState(
        release=data["release"],
        digest=Digest(data["digest"]),
        status=data["status"],
        moving=_parse_service(data["moving"]) if data.get("moving") else None,
        moved=tuple(_parse_service(each) for each in data.get("moved") or ()),
        not_before=time_or_none(data.get("not_before")),
        reason=data.get("reason"),
        said=data.get("said"),
        at=time_or_none(data.get("at")),
        next_at=time_or_none(data.get("next_at")),
    )


def _dump(rollout: RolloutState) -> dict[str, Any]:
    return {
        "release": rollout.release,
        "digest": rollout.digest,
        "status": rollout.status,
        "moving": _dump_service(rollout.moving) if rollout.moving else None,
        "moved": [_dump_service(each) for each in rollout.moved],
        "not_before": text_or_none(rollout.not_before),
        "reason": brief(rollout.reason),
        "said": brief(rollout.said),
        "at": text_or_none(rollout.at),
        "next_at": text_or_none(rollout.next_at),
    }


ROLLOUTS = ItemKind("RO#<environment>", "repository", "how far a roll-out is", _parse, _dump)
