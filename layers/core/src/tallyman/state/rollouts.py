"""The progress of roll-outs of releases."""

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
    """A service in one registry's account and region that was moved, or is being moved. `before`, `moved`: JSON data by
    which the adapter moves it back and waits for it; `said`: its state in its own words; `back`: after a failure
    `done`, or why it could not be moved back."""

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
        """What identifies a step of a roll-out: registry, service, and its container or alias."""
        return self.registry, self.service, self.part


@value
class RolloutState:
    """A roll-out. `status`: running, done or failed; `moving`: the service that is being moved; `not_before`: when the
    next registry may start; `reason`: why it failed; `said`: what it waits for; `at`: when this was written; `next_at`:
    when the next check is due."""

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
        """The services that were moved, and last the one that is moving."""
        return (*self.moved, self.moving) if self.moving else self.moved

    def having(self, **changes: Any) -> "RolloutState":
        """A copy with these fields changed."""
        return replace(self, **changes)


def partition(environment: str) -> str:
    """The partition of an environment's roll-outs; sort key: the repository."""
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


ROLLOUTS = ItemKind("RO#<environment>", "repository", "the progress of a roll-out", _parse, _dump)
