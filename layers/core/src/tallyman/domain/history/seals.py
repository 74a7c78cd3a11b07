"""The seal over the ledger: segments that name entries with their hashes, each with the digest of the one before.

Entries are sealed by arrival (`seen`), not by when they happened: a late event's entry belongs into the newest segment,
and no segment is ever written again. An entry is written at most LATE after its `seen`, so each sealing looks again at
what was seen up to LATE before the last one ended. What was seen earlier and is in no segment was put in afterwards.
"""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.images.documents import loads
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_time
from tallyman.errors import BadInput
from tallyman.values import value

LATE = timedelta(minutes=30)
"""How long after its `seen` an entry may still be written: a function ends after 15 minutes, clocks differ by seconds,
an index lags by less."""
VERSION = 1


@value
class LedgerEntry:
    """An item of the ledger as it is stored. `seen`: None where the index of arrival does not have it under the time
    that it names itself; no code of ours writes such a one. `hash`: see `entry_hash`. `item`: its attributes."""

    pk: str
    sk: str
    seen: datetime | None
    hash: str
    item: Mapping[str, str | int]


@value
class SealedEntry:
    """What a segment says of an entry: its key, and the hash of all that it held."""

    pk: str
    sk: str
    hash: str


@value
class Segment:
    """One link of the chain. `previous`: the digest of the segment before, None for the first. All entries that were
    seen from `since` up to `until` were looked at; `entries` are those of them that no earlier segment names."""

    number: int
    previous: Digest | None
    since: datetime
    until: datetime
    entries: tuple[SealedEntry, ...]

    def dump(self) -> bytes:
        """The bytes that are stored; their SHA-256 is the segment's digest."""
        data = {
            "version": VERSION,
            "number": self.number,
            "previous": self.previous,
            "since": format_time(self.since),
            "until": format_time(self.until),
            "entries": [[each.pk, each.sk, each.hash] for each in self.entries],
        }
        return json.dumps(data, separators=(",", ":")).encode()

    @classmethod
    def parse(cls, raw: bytes) -> "Segment":
        """The reverse; BadInput where these bytes are no segment of this version."""
        try:
            data = loads(raw)
            if data["version"] != VERSION:
                raise BadInput(f"a segment of version {data['version']!r}: this code reads {VERSION}")
            return cls(
                int(data["number"]),
                Digest.parse(data["previous"]) if data["previous"] is not None else None,
                parse_time(data["since"]),
                parse_time(data["until"]),
                tuple(SealedEntry(str(pk), str(sk), str(hashed)) for pk, sk, hashed in data["entries"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"these bytes are no segment of the seal: {type(error).__name__}: {error}") from None


def entry_hash(stored: Mapping[str, Any]) -> str:
    """The SHA-256 (hexadecimal) of an item in DynamoDB's wire form (`{"pk": {"S": "…"}, "size": {"N": "1"}}`), as JSON
    without blanks and with sorted keys: every attribute counts, one that nobody knows too."""
    text = json.dumps(stored, separators=(",", ":"), sort_keys=True, default=_other)
    return hashlib.sha256(text.encode()).hexdigest()


def _other(found: object) -> str:
    """Bytes, which an item of ours never holds."""
    return found.hex() if isinstance(found, bytes) else repr(found)
