"""Find out who sent a command: compare SQS's SenderId with the unique ids of the policy's roles and users in IAM."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from tallyman.adapters.errors.translate import translated
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput, NotFound

_CACHED = 300.0


class IamPeople:
    """`role/NAME` and `user/NAME` of the hub's account. IAM never reuses a unique id: a role that was deleted and
    created again under its old name has another id. Ids are cached for five minutes."""

    PERMISSIONS: tuple[str, ...] = permissions("iam:GetRole", "iam:GetUser")

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self._known: dict[str, tuple[float, str | None]] = {}
        self._lock = threading.Lock()

    def principal(self, sender_id: str, allowed: Sequence[str]) -> str | None:
        """At most one call for each entry. A role's SenderId is `AROA…:session`, a user's `AIDA…`.

        A cached id may admit a sender, but never refuses one: the role may have been created since.
        """
        who = sender_id.partition(":")[0]
        if not who:
            return None
        remembered = [entry for entry in allowed if self._remembers(entry)]
        for entry in (*remembered, *(e for e in allowed if e not in remembered)):
            if self._unique_id(entry) == who:
                return entry
        return next((entry for entry in remembered if self._unique_id(entry, anew=True) == who), None)

    def _remembers(self, entry: str) -> bool:
        asked, _ = self._known.get(entry, (float("-inf"), None))
        return self._clock() - asked < _CACHED

    def _unique_id(self, entry: str, anew: bool = False) -> str | None:
        with self._lock:
            if not anew and self._remembers(entry):
                return self._known[entry][1]
            found = self._ask(entry)
            self._known[entry] = (self._clock(), found)
            return found

    def _ask(self, entry: str) -> str | None:
        kind, _, path = entry.partition("/")
        name = path.rpartition("/")[2]  # IAM's calls take the name without its path
        if kind not in ("role", "user") or not name:
            raise BadInput(f"'{entry}' is invalid: expected role/NAME or user/NAME")
        try:
            with translated(f"look up {entry}"):
                if kind == "role":
                    return str(self._client.get_role(RoleName=name)["Role"]["RoleId"])
                return str(self._client.get_user(UserName=name)["User"]["UserId"])
        except NotFound:
            return None
