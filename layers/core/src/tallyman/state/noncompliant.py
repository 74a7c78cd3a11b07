"""Noncompliant images: those in an environment that the present policy and facts would not promote."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key, brief
from tallyman.values import value


@value
class NoncompliantImage:
    """A noncompliant image. `gates`: [{name, verdict, reason}] that do not pass; `notified`: a notice was sent;
    `uses_notified`: a notice named what runs it although it was recalled; `runs`: what was last found to run it
    although another image is released."""

    digest: Digest
    name: str
    source: str
    target: str
    tags: tuple[str, ...]
    gates: tuple[Mapping[str, str], ...]
    policy: str
    since: datetime
    notified: bool = False
    uses_notified: bool = False
    runs: tuple[str, ...] = ()


def partition(environment: str) -> str:
    """The partition of an environment's noncompliant images; sort key: as of a pending image."""
    return f"WATCH#{environment}"


def key(environment: str, repository: str, digest: Digest, source: str) -> Key:
    """The key of one image that came from `source`."""
    return partition(environment), f"{repository}@{digest}@{source}"


def _parse(data: Mapping[str, Any]) -> NoncompliantImage:
    return NoncompliantImage(
        digest=Digest(data["digest"]),
        name=data["name"],
        source=data["from"],
        target=data["to"],
        tags=tuple(data["tags"]),
        gates=tuple(data["gates"]),
        policy=data["policy"],
        since=parse_time(data["since"]),
        notified=bool(data["told"]),
        uses_notified=bool(data.get("uses_told")),
        runs=tuple(data.get("runs") or ()),
    )


def _dump(image: NoncompliantImage) -> dict[str, Any]:
    return {
        "digest": image.digest,
        "name": image.name,
        "from": image.source,
        "to": image.target,
        "tags": list(image.tags),
        "gates": [{**gate, "reason": brief(gate["reason"])} for gate in image.gates],
        "policy": image.policy,
        "since": format_time(image.since),
        "told": image.notified,
        "uses_told": image.uses_notified,
        "runs": list(image.runs),
    }


NONCOMPLIANT = ItemKind("WATCH#<environment>", "as of `P#`", "a noncompliant image, and why", _parse, _dump)
