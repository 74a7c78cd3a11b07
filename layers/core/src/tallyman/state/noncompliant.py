"""Noncompliant images: those in an environment that the present policy and facts would not promote."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest
from tallyman.state.base import StateValue, brief
from tallyman.state.items import ItemKind, Key
from tallyman.values import value


@value
class NoncompliantImage(StateValue):
    """A noncompliant image. `gates`: [{name, verdict, reason}] that do not pass; `notified`: a notice was sent;
    `uses_notified`: a notice named what runs it although it was recalled, and all sources could be read; `named`: the
    releases, uses and unread sources that such notices named; `runs`: what was last found to run it although another
    image is released."""

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
    named: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        gates = [{**gate, "reason": brief(gate["reason"])} for gate in self.gates]
        return StateValue.dump(self) | {"gates": gates}


def partition(environment: str) -> str:
    """The partition of an environment's noncompliant images; sort key: as of a pending image."""
    return f"WATCH#{environment}"


def key(environment: str, repository: str, digest: Digest, source: str) -> Key:
    """The key of one image that came from `source`."""
    return partition(environment), f"{repository}@{digest}@{source}"


NONCOMPLIANT = ItemKind(NoncompliantImage, "WATCH#<environment>", "as for `P#`", "a noncompliant image, and why")
