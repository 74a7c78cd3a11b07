"""The progress of this user's uploads, a small file for each in the cache folder, so that the next run continues them.

`$XDG_CACHE_HOME/tallyman/uploads` or `~/.cache/tallyman/uploads`. A file holds a repository, a digest and the
registry's session, no credentials. One run at a time owns it, by a lock that ends with the process.
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


class KeptUploads:
    """`Progress` of services/copying/parts.py, in files."""

    def __init__(self, where: Path) -> None:
        """Remove files that are older than a day."""
        self._where = where
        self._held: dict[tuple[Location, Digest], int] = {}
        self._lock = threading.Lock()
        with suppress(OSError):  # another user's, as after sudo
            for path in where.glob("*"):
                old = path.stat().st_mtime < time.time() - _DAY  # locks and incomplete files of runs that died
                if old or (path.suffix == ".json" and _read(path) is None):
                    path.unlink(missing_ok=True)

    def take(self, repository: Location, digest: Digest) -> bool:
        """Lock the upload for this run. False: another run has it, or the folder can't be written to."""
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
            if not same:  # another run removed the file between our two calls: the lock is void
                os.close(file)
                return False
            self._held[repository, digest] = file
            return True

    def holds(self, repository: Location, digest: Digest) -> bool:
        """Whether this run has the upload."""
        return (repository, digest) in self._held

    def release(self, repository: Location, digest: Digest) -> None:
        """Unlock the upload for other runs."""
        with self._lock:
            file = self._held.pop((repository, digest))
            self._path(*uploads.key(repository, digest)).with_suffix(".lock").unlink(missing_ok=True)
            os.close(file)

    def get(self, pk: str, sk: str) -> StateItem | None:
        """The item; None if there is none, or it is damaged or older than a day."""
        found = _read(self._path(pk, sk))
        return found if found and (found.pk, found.sk) == (pk, sk) else None

    def put(self, change: StateChange) -> None:
        """Replace the file in one step, or remove it. Raises RevisionConflict if another run wrote it."""
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
        with suppress(OSError):  # a full disk: this run goes on, and the next one starts from the beginning
            with NamedTemporaryFile("w", dir=self._where, prefix=".new-", delete=False) as file:  # mode 0600
                json.dump(document, file)
            Path(file.name).replace(self._path(change.pk, change.sk))

    def drop(self, pk: str, sk: str) -> None:
        """Remove the file, if there is one."""
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
