"""The store's metadata: one SQLite file (WAL), one connection, one lock."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCHEMA = """
CREATE TABLE IF NOT EXISTS repositories (
  id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL, region TEXT NOT NULL, name TEXT NOT NULL,
  created REAL NOT NULL, mutability TEXT NOT NULL, filters TEXT NOT NULL, scan_on_push INTEGER NOT NULL,
  encryption TEXT NOT NULL, tags TEXT NOT NULL, policy TEXT, lifecycle TEXT,
  UNIQUE (account, region, name));
CREATE TABLE IF NOT EXISTS layers (
  repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE, digest TEXT NOT NULL,
  size INTEGER NOT NULL, PRIMARY KEY (repository, digest));
CREATE INDEX IF NOT EXISTS layers_by_digest ON layers (digest);
CREATE TABLE IF NOT EXISTS images (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE, digest TEXT NOT NULL,
  media_type TEXT NOT NULL, artifact_type TEXT, subject TEXT, scannable INTEGER NOT NULL, size INTEGER NOT NULL,
  pushed REAL NOT NULL, pulled REAL, status TEXT NOT NULL DEFAULT 'ACTIVE', archived REAL, activated REAL,
  raw BLOB NOT NULL,
  annotations TEXT NOT NULL, UNIQUE (repository, digest));
CREATE INDEX IF NOT EXISTS images_in_order ON images (repository, id);
CREATE INDEX IF NOT EXISTS images_by_subject ON images (repository, subject);
CREATE TABLE IF NOT EXISTS children (
  repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE, parent TEXT NOT NULL,
  child TEXT NOT NULL, PRIMARY KEY (repository, child, parent));
CREATE INDEX IF NOT EXISTS children_by_parent ON children (repository, parent);
CREATE TABLE IF NOT EXISTS tags (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE, tag TEXT NOT NULL,
  digest TEXT NOT NULL, UNIQUE (repository, tag));
CREATE INDEX IF NOT EXISTS tags_by_digest ON tags (repository, digest);
CREATE TABLE IF NOT EXISTS scans (
  repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE, digest TEXT NOT NULL,
  status TEXT NOT NULL, description TEXT, started REAL NOT NULL, completed REAL, findings TEXT NOT NULL,
  PRIMARY KEY (repository, digest));
CREATE TABLE IF NOT EXISTS settings (
  account TEXT NOT NULL, region TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
  created REAL NOT NULL, updated REAL NOT NULL, PRIMARY KEY (account, region, kind, name));
CREATE TABLE IF NOT EXISTS replications (
  repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE, digest TEXT NOT NULL,
  account TEXT NOT NULL, region TEXT NOT NULL, status TEXT NOT NULL, failure TEXT,
  PRIMARY KEY (repository, digest, account, region));
CREATE TABLE IF NOT EXISTS signings (
  repository INTEGER NOT NULL REFERENCES repositories(id) ON DELETE CASCADE, digest TEXT NOT NULL,
  profile TEXT NOT NULL, status TEXT NOT NULL, failure TEXT, reason TEXT, PRIMARY KEY (repository, digest, profile));
CREATE TABLE IF NOT EXISTS previews (
  repository INTEGER PRIMARY KEY REFERENCES repositories(id) ON DELETE CASCADE, text TEXT NOT NULL,
  results TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""


class Database:
    """One connection for all threads. Every statement takes the lock, for microseconds."""

    def __init__(self, path: Path) -> None:
        self.lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")  # a crash of the host may lose the last commits
        self._connection.execute("PRAGMA foreign_keys = ON")
        self._connection.executescript(_SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A block whose statements all take effect, or none. May be nested: the outermost block commits."""
        with self.lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, sql: str, *values: object) -> list[sqlite3.Row]:
        """All rows of a query."""
        with self.lock:
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: object) -> sqlite3.Row | None:
        """The first row of a query; None: there is none."""
        with self.lock:
            found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return found

    def run(self, sql: str, *values: object) -> None:
        """Run a statement."""
        with self.lock:
            self._connection.execute(sql, values)

    def close(self) -> None:
        """Close the file; later use is an error."""
        with self.lock:
            self._connection.close()
