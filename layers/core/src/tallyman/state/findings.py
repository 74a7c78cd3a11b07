"""Where a vulnerability or a package was found by the newest scans: beside the facts, so that it is one Query."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

LONGEST = 512
"""Characters of a name; a key of the table takes 2,048 bytes."""


@value
class Found:
    """What the scan that ended at `at` says: the vulnerabilities of a package, or the packages of a vulnerability
    (the first of them), and the worst severity."""

    at: datetime
    severity: str
    names: tuple[str, ...]


@value
class Indexed:
    """All scans of a repository are in the index, since then."""

    since: datetime


def vulnerability(name: str) -> str:
    """The partition of a vulnerability such as CVE-2026-1234."""
    return f"FI#v:{name[:LONGEST].lower()}"


def package(name: str) -> str:
    """The partition of a package such as openssl."""
    return f"FI#p:{name[:LONGEST].lower()}"


def key(partition: str, repository: Repository, digest: Digest) -> Key:
    """The key of what was found in one image."""
    return partition, f"{digest}@{repository}"


def parse_key(key: Key) -> tuple[Digest, Repository]:
    """Digest and repository of a key."""
    digest, _, repository = key[1].partition("@")
    return Digest(digest), Repository.parse(repository)


def indexed_key(repository: Repository) -> Key:
    """The key of a repository whose scans are in the index."""
    return "FX#indexed", str(repository)


def _parse(data: Mapping[str, Any]) -> Found:
    return Found(parse_time(data["at"]), data["severity"], tuple(data["names"]))


def _dump(found: Found) -> dict[str, Any]:
    return {"at": format_time(found.at), "severity": found.severity, "names": list(found.names)}


def _parse_indexed(data: Mapping[str, Any]) -> Indexed:
    return Indexed(parse_time(data["since"]))


def _dump_indexed(indexed: Indexed) -> dict[str, Any]:
    return {"since": format_time(indexed.since)}


FINDINGS = ItemKind("FI#<finding>", "`<digest>@<registry>/<repository>`", "that a scan found it there", _parse, _dump)
INDEXED = ItemKind(
    "FX#indexed", "`<registry>/<repository>`", "that all its scans are in the index", _parse_indexed, _dump_indexed
)
