"""Which findings of an image VEX statements ignore, by the newest recorded decisions about it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tallyman.domain.history.details.decisions import Decided
from tallyman.domain.history.facts import Fact, Kind

_VERSION = re.compile(r"[\s@].*")
"""What follows a package's name."""


def ignored_by_vex(facts: Iterable[Fact], name: str, environment: str | None, wanted: str) -> list[dict[str, Any]]:
    """Of an image's facts, oldest first: what the last decision about each way into or out of the environment ignored
    of a vulnerability or a package: `{finding, package, to, status, because, by, author, at, referrer}`.

    A decision names the first hundred findings that VEX ignores; it is made anew when a statement comes or goes.
    """
    newest: dict[tuple[str, str, str], Decided] = {}
    for decided in Decided.of(fact for fact in facts if fact.kind is Kind.DECIDED):
        if decided.name == name and environment in (decided.source, decided.target):
            newest[decided.candidate] = decided
    rows: dict[tuple[str, str | None, str], dict[str, Any]] = {}
    for decided in newest.values():
        for said in _said(decided):
            if wanted.lower() in (said["id"].lower(), _VERSION.sub("", said["package"] or "").lower()):
                row = {"finding": said["id"], "package": said["package"], "to": decided.target}
                rest = {key: said[key] for key in ("status", "because", "by", "author", "at", "referrer")}
                rows.setdefault((said["id"], said["package"], decided.target), {**row, **rest})
    return list(rows.values())


def words(row: Mapping[str, Any]) -> str:
    """One of them for people."""
    by = f"{row['author']} ({row['by']})" if row["author"] else row["by"]
    return f"{row['finding']} is ignored for {row['to']} by VEX of {by}: {row['because']}"


def _said(decided: Decided) -> Iterator[Mapping[str, Any]]:
    """Of the image, or of each platform image of an index."""
    for gate in decided.gates:
        if gate["name"] == "scan":
            facts: Mapping[str, Any] = gate.get("facts") or {}
            for evidence in [facts] if "vex" in facts else facts.values():
                if isinstance(evidence, Mapping):
                    yield from evidence.get("vex", {}).get("ignored", ())
