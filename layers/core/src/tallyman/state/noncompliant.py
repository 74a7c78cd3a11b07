"""What is in an environment, but would not get in today."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key, brief
from tallyman.values import value


@value
class NoncompliantImage:
    """`gates`: [{name, verdict, reason}] that would keep it out; `notified`: people know; `uses_notified`: they
    know who runs it although it was recalled; `runs`: what was last seen to run it although another image is
    released."""

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
    """All such images of an environment, sk as of a pending item."""
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


NONCOMPLIANT = ItemKind("WATCH#<environment>", "as of `P#`", "what is in, but would not get in today", _parse, _dump)
