"""The settings of registries (an account in a region): policy, replication, scanning, signing, account settings,
templates, exclusions."""

import json
import sqlite3
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tallyman.domain.names import EcrRegistry, Repository
from tallyman_local.ecr.store.database import Database
from tallyman_local.ecr.store.rows import RepositoryRow

ROOT = "ROOT"
#: The account settings: their names, values and defaults.
ACCOUNT_SETTINGS: dict[str, tuple[tuple[str, ...], str]] = {
    "BASIC_SCAN_TYPE_VERSION": (("AWS_NATIVE",), "AWS_NATIVE"),
    "REGISTRY_POLICY_SCOPE": (("V1", "V2"), "V2"),
    "BLOB_MOUNTING": (("ENABLED", "DISABLED"), "DISABLED"),
}


@dataclass(frozen=True)
class Setting:
    """One document of a registry. `name` is empty for kinds with only one document. Times are seconds since the
    epoch."""

    name: str
    value: Any
    created: float
    updated: float


def _read(row: sqlite3.Row) -> Setting:
    return Setting(row["name"], json.loads(row["value"]), row["created"], row["updated"])


class Settings:
    """The settings of all registries."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def get(self, registry: EcrRegistry, kind: str, name: str = "") -> Setting | None:
        """One setting; None: there is none."""
        sql = "SELECT * FROM settings WHERE account = ? AND region = ? AND kind = ? AND name = ?"
        row = self._db.row(sql, registry.account, registry.region, kind, name)
        return _read(row) if row else None

    def all(self, registry: EcrRegistry, kind: str) -> list[Setting]:
        """All settings of a kind, sorted by name."""
        sql = "SELECT * FROM settings WHERE account = ? AND region = ? AND kind = ? ORDER BY name"
        return [_read(row) for row in self._db.rows(sql, registry.account, registry.region, kind)]

    def put(self, registry: EcrRegistry, kind: str, value: Any, at: float, name: str = "") -> Setting:
        """Store a setting; the time of its creation stays."""
        sql = (
            "INSERT INTO settings (account, region, kind, name, value, created, updated) VALUES (?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (account, region, kind, name) DO UPDATE"
            " SET value = excluded.value, updated = excluded.updated"
        )
        with self._db.transaction():
            self._db.run(sql, registry.account, registry.region, kind, name, json.dumps(value), at, at)
            found = self.get(registry, kind, name)
        assert found is not None
        return found

    def delete(self, registry: EcrRegistry, kind: str, name: str = "") -> None:
        """Remove a setting."""
        sql = "DELETE FROM settings WHERE account = ? AND region = ? AND kind = ? AND name = ?"
        self._db.run(sql, registry.account, registry.region, kind, name)

    # -- settings with their defaults

    def account(self, registry: EcrRegistry, name: str) -> str:
        """The value of an account setting, or its default."""
        found = self.get(registry, "account", name)
        return str(found.value) if found else ACCOUNT_SETTINGS[name][1]

    def policy(self, registry: EcrRegistry) -> str | None:
        """The registry's policy, JSON; None: there is none."""
        found = self.get(registry, "policy")
        return None if found is None else str(found.value)

    def scanning(self, registry: EcrRegistry) -> dict[str, Any]:
        """The registry's scanning configuration, or the default."""
        found = self.get(registry, "scanning")
        return dict(found.value) if found else {"scanType": "BASIC", "rules": []}

    def scan_frequency(self, row: RepositoryRow) -> tuple[str, list[dict[str, str]]]:
        """SCAN_ON_PUSH or MANUAL, by the registry's rules and the repository's own setting; and the filters that
        match."""
        applied = [
            one
            for rule in self.scanning(row.name.registry)["rules"]
            for one in rule["repositoryFilters"]
            if rule["scanFrequency"] == "SCAN_ON_PUSH" and fnmatchcase(row.name.name, one["filter"])
        ]
        return ("SCAN_ON_PUSH" if applied or row.scan_on_push else "MANUAL"), applied

    def template(self, repository: Repository, purpose: str) -> dict[str, Any] | None:
        """The creation template with the longest prefix that matches, or else ROOT's; None where it does not apply to
        this purpose. A prefix always ends with a slash, written or not (ECR's user guide)."""
        best: tuple[int, dict[str, Any]] | None = None
        for found in self.all(repository.registry, "template"):
            prefix = "" if found.name == ROOT else found.name.rstrip("/") + "/"
            if repository.name.startswith(prefix) and (best is None or len(prefix) > best[0]):
                best = len(prefix), found.value
        return best[1] if best and purpose in best[1]["appliedFor"] else None

    def excluded(self, registry: EcrRegistry, principal_arn: str) -> bool:
        """Whether this principal's pulls are not recorded. Compares names without paths: a session does not contain its
        role's path."""
        kind, _, name = principal_arn.partition("/")
        wanted = (kind, name.rpartition("/")[2])
        listed = (s.name.partition("/") for s in self.all(registry, "exclusion"))
        return any((k, n.rpartition("/")[2]) == wanted for k, _, n in listed)
