"""The policy that the functions carry."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEY: Key = ("POLICY", "in-force")


@value
class PolicyInForce:
    """Its digest in the archive, and since when it is in force."""

    digest: Digest
    at: datetime


def _parse(data: Mapping[str, Any]) -> PolicyInForce:
    return PolicyInForce(Digest(data["digest"]), parse_time(data["at"]))


def _dump(policy: PolicyInForce) -> dict[str, Any]:
    return {"digest": policy.digest, "at": format_time(policy.at)}


POLICY = ItemKind("POLICY", "in-force", "the policy that the functions carry", _parse, _dump)
