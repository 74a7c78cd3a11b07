"""The policy in force: the one that the functions were deployed with."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.policy import ANY_ROOTS
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEY: Key = ("POLICY", "in-force")


@value
class PolicyInForce:
    """The policy's digest in the archive, since when it is in force, and the SHA-256 of the trust roots beside it
    (`any`: an earlier version did not record it)."""

    digest: Digest
    at: datetime
    roots: str | None = ANY_ROOTS


def _parse(data: Mapping[str, Any]) -> PolicyInForce:
    return PolicyInForce(Digest(data["digest"]), parse_time(data["at"]), data.get("roots", ANY_ROOTS))


def _dump(policy: PolicyInForce) -> dict[str, Any]:
    roots = {} if policy.roots == ANY_ROOTS else {"roots": policy.roots}
    return {"digest": policy.digest, "at": format_time(policy.at), **roots}


POLICY = ItemKind("POLICY", "in-force", "the policy in force", _parse, _dump)
