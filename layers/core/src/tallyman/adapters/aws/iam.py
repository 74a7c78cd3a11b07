"""Who sent a command: SQS's SenderId against the unique ids that IAM gave the people of the policy."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from botocore.exceptions import ClientError

from tallyman.adapters.errors.translate import code_of, translate
from tallyman.domain.permissions import permissions
from tallyman.errors import BadInput

_CACHED = 300.0


class IamPeople:
    """`role/NAME` and `user/NAME` of the hub's account. A unique id is never used again, so a role that was deleted
    and made anew under its old name is another one; ids are asked for again after five minutes."""

    PERMISSIONS: tuple[str, ...] = permissions("iam:GetRole", "iam:GetUser")

    def __init__(self, client: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._client, self._clock = client, clock
        self._known: dict[str, tuple[float, str | None]] = {}
        self._lock = threading.Lock()

    def principal(self, sender_id: str, allowed: Sequence[str]) -> str | None:
        """At most one call an entry. A role's sender is `AROA…:session`, a user's `AIDA…`.

        What is remembered lets somebody in; nobody is refused by it: their role may have been made since.
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
            if kind == "role":
                return str(self._client.get_role(RoleName=name)["Role"]["RoleId"])
            return str(self._client.get_user(UserName=name)["User"]["UserId"])
        except ClientError as error:
            if code_of(error) in ("NoSuchEntity", "NoSuchEntityException"):
                return None
            raise translate(error, f"look up {entry}") from error
        except Exception as error:
            raise translate(error, f"look up {entry}") from error
