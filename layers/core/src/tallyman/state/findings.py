"""An index of the newest scans: in which images a vulnerability or a package was found. One Query for each."""

from datetime import datetime

from tallyman.domain.names import Digest, Repository
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

LONGEST = 512
"""The number of characters of a name in a key; DynamoDB allows 2,048 bytes."""


@value
class Found(StateValue):
    """A finding of the scan that ended at `at`. `names`: the first vulnerabilities of a package, or packages of a
    vulnerability; `severity`: the worst of them."""

    at: datetime
    severity: str
    names: tuple[str, ...]


@value
class Indexed(StateValue):
    """Since when all scans of a repository are in the index."""

    since: datetime


def vulnerability(name: str) -> str:
    """The partition of a vulnerability such as CVE-2026-1234."""
    return f"FI#v:{name[:LONGEST].lower()}"


def package(name: str) -> str:
    """The partition of a package such as openssl."""
    return f"FI#p:{name[:LONGEST].lower()}"


def key(partition: str, repository: Repository, digest: Digest) -> Key:
    """The key of a finding in one image."""
    return partition, f"{digest}@{repository}"


def parse_key(key: Key) -> tuple[Digest, Repository]:
    """Digest and repository of a key."""
    digest, _, repository = key[1].partition("@")
    return Digest(digest), Repository.parse(repository)


def indexed_key(repository: Repository) -> Key:
    """The key of a repository whose scans are in the index."""
    return "FX#indexed", str(repository)


FINDINGS = ItemKind(Found, "FI#<finding>", "`<digest>@<registry>/<repository>`", "a scan found it in the image")
INDEXED = ItemKind(Indexed, "FX#indexed", "`<registry>/<repository>`", "all its scans are in the index")
