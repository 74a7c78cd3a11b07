"""The releases of a repository as far back as a retention needs; each read continues where the last one ended."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from tallyman.domain.names import Digest
from tallyman.domain.policy import CountedFrom, KeepNewerThan, Retention
from tallyman.domain.retention.inputs import Release
from tallyman.ports.records import Ledger, State
from tallyman.services.releases.pointer import releases
from tallyman.state.releases import RELEASES, key

_OVERLAP = timedelta(hours=1)
"""The time that is read again: a release is recorded when it is announced, which may be after a later one."""

Entry = tuple[datetime, str, Digest]
"""When a release came into force, its id, its digest."""


def releases_needed(retention: Retention) -> timedelta:
    """The time for which a release is needed after its end: for a roll-back, or by a rule that counts from releases."""
    ages = [
        rule.age
        for rule in retention.keep or ()
        if isinstance(rule, KeepNewerThan) and rule.counted_from is CountedFrom.RELEASE
    ]
    return max(retention.roll_back, *ages) if ages else retention.roll_back


class ReleaseLog:
    """The releases of one repository in every environment: those in force, and those that ended within `needed`.

    The first `read` costs a Query for each MiB of the entries since then, a further one reads those of the last hour;
    each also a GetItem for each environment.
    """

    def __init__(self, name: str, needed: timedelta) -> None:
        self._name, self._needed = name, needed
        self._entries: dict[str, list[Entry]] = {}  # by environment, the newest first

    def read(
        self, ledger: Ledger, state: State, environments: Mapping[str, Sequence[str]], now: datetime
    ) -> dict[Digest, tuple[Release, ...]]:
        """The releases by digest. `environments`: the names that each had before. The pointer in the state table counts
        even without its fact: the worker that moved it may have died before it announced the release."""
        found: dict[Digest, list[Release]] = {}
        for environment, former in environments.items():
            for name in (environment, *former):
                self._entries[name] = self._newer(ledger, name, self._entries.get(name, []), now)
            entries = sorted((e for name in (environment, *former) for e in self._entries[name]), reverse=True)
            pointer = RELEASES.get(state, key(environment, self._name))
            if pointer is not None and (not entries or pointer.digest != entries[0][2]):
                entries = [(pointer.at, pointer.id, pointer.digest), *entries]
            until: datetime | None = None
            for at, _, digest in entries:
                found.setdefault(digest, []).append(Release(environment, at, until))
                until = at
        return {digest: tuple(each) for digest, each in found.items()}

    def _newer(self, ledger: Ledger, environment: str, known: list[Entry], now: datetime) -> list[Entry]:
        """The known entries and those that were written since, newest first."""
        stop = known[0][0] - _OVERLAP if known else None
        fresh: dict[str, Entry] = {}
        until: datetime | None = None
        for fact in releases(ledger, environment, self._name):
            if stop is not None and fact.at < stop:
                break
            if until is not None and now - until >= self._needed:
                break  # this release and all earlier ones ended too long ago
            if fact.digest is not None:
                fresh[fact.id] = (fact.at, fact.id, fact.digest)
            until = fact.at
        merged = {**{entry[1]: entry for entry in known}, **fresh}
        return sorted(merged.values(), reverse=True)
