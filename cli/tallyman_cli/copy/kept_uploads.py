"""How far uploads of this user are: a small file for each, in the cache folder, so that the next run goes on.

`$XDG_CACHE_HOME/tallyman/uploads` or `~/.cache/tallyman/uploads`; a file names a repository, a digest and the
registry's session, no credentials. One run at a time has it, by a lock that ends with the process.
"""

import fcntl
import hashlib
import json
import os
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile

from tallyman.domain.images.documents import loads
from tallyman.domain.names import Digest, Location
from tallyman.errors import RevisionConflict
from tallyman.state import uploads
from tallyman.state.items import StateChange, StateItem

_DAY = 86400.0  # seconds


def folder() -> Path:
    """Where they lie. Somebody without a home keeps nothing: that folder can't be made."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tallyman" / "uploads"
    except RuntimeError:
        return Path(os.devnull) / "uploads"


class KeptUploads:
    """`Progress` of services/parts.py in files."""

    def __init__(self, where: Path) -> None:
        """Removes what is past its day."""
        self._where = where
        self._held: dict[tuple[Location, Digest], int] = {}
        self._lock = threading.Lock()
        with suppress(OSError):  # another user's, as after sudo
            for path in where.glob("*"):
                old = path.stat().st_mtime < time.time() - _DAY  # locks, and files half written, of runs that died
                if old or (path.suffix == ".json" and _read(path) is None):
                    path.unlink(missing_ok=True)

    def take(self, repository: Location, digest: Digest) -> bool:
        """Makes the upload this run's own. False: another run has it, or there is no folder to write to."""
        with self._lock:
            if (repository, digest) in self._held:
                return True
            path = self._path(*uploads.key(repository, digest)).with_suffix(".lock")
            try:
                self._where.mkdir(0o700, parents=True, exist_ok=True)
                file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError:
                return False
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                same = os.path.samestat(os.fstat(file), path.stat())
            except OSError:
                same = False
            if not same:  # the one before removed it as we opened it: a lock on nothing
                os.close(file)
                return False
            self._held[repository, digest] = file
            return True

    def holds(self, repository: Location, digest: Digest) -> bool:
        """Whether `take` got it."""
        return (repository, digest) in self._held

    def release(self, repository: Location, digest: Digest) -> None:
        """Another run may have it."""
        with self._lock:
            file = self._held.pop((repository, digest))
            self._path(*uploads.key(repository, digest)).with_suffix(".lock").unlink(missing_ok=True)
            os.close(file)

    def get(self, pk: str, sk: str) -> StateItem | None:
        """None too where it is damaged or a day old."""
        found = _read(self._path(pk, sk))
        return found if found and (found.pk, found.sk) == (pk, sk) else None

    def put(self, change: StateChange) -> None:
        """Replaces the file in one step; an upload that is over leaves none."""
        now = self.get(change.pk, change.sk)
        if (now.revision if now else 0) != change.revision:
            raise RevisionConflict(f"the upload of {change.sk} was written by another run")
        if change.removed:
            self.drop(change.pk, change.sk)
            return
        document = {
            "pk": change.pk,
            "sk": change.sk,
            "revision": change.revision + 1,
            "data": dict(change.data),
            "expires": change.expires.timestamp() if change.expires else time.time() + _DAY,
        }
        with suppress(OSError):  # no room: the next run begins anew, this one need not fail
            with NamedTemporaryFile("w", dir=self._where, prefix=".new-", delete=False) as file:  # mode 0600
                json.dump(document, file)
            Path(file.name).replace(self._path(change.pk, change.sk))

    def drop(self, pk: str, sk: str) -> None:
        """What is gone is fine."""
        self._path(pk, sk).unlink(missing_ok=True)

    def _path(self, pk: str, sk: str) -> Path:
        return self._where / f"{hashlib.sha256(f'{pk} {sk}'.encode()).hexdigest()}.json"


def _read(path: Path) -> StateItem | None:
    try:
        document = loads(path.read_bytes())
        if document["expires"] < time.time():
            return None
        until = datetime.fromtimestamp(document["expires"], UTC)
        return StateItem(document["pk"], document["sk"], int(document["revision"]), dict(document["data"]), until)
    except (OSError, ValueError, LookupError, TypeError):
        return None
