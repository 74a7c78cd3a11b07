"""The seal over the ledger: a chain of segments with hashes of the entries and the digest of the previous segment.

Entries are sealed by their arrival (`seen`), not by when they happened: a late event's entry is in the newest segment,
and no segment is ever rewritten. An entry is written at most LATE after its `seen`, so each run reads again from LATE
before the end of the previous run. An entry with an earlier `seen` that is in no segment was inserted afterwards.
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
and the index lags by less than that."""
VERSION = 1


@value
class LedgerEntry:
    """An item of the ledger as it is stored. `seen`: None where the index by arrival does not have the item under its
    own `seen`; Tallyman writes no such item. `hash`: see `entry_hash`. `item`: its attributes."""

    pk: str
    sk: str
    seen: datetime | None
    hash: str
    item: Mapping[str, str | int]


@value
class SealedEntry:
    """An entry in a segment: its key, and the hash of all its attributes."""

    pk: str
    sk: str
    hash: str


@value
class Segment:
    """One segment of the chain. `previous`: the digest of the previous segment; None: it is the first. `entries`: those
    with `seen` from `since` to `until` that no earlier segment has."""

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
        """Parse what `dump` returned. Raises BadInput for bytes that are not a segment of this version."""
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
            raise BadInput(f"the bytes are not a segment of the seal: {type(error).__name__}: {error}") from None


def entry_hash(stored: Mapping[str, Any]) -> str:
    """The SHA-256 (hexadecimal) of an item in DynamoDB's JSON form (`{"pk": {"S": "…"}, "size": {"N": "1"}}`), without
    blanks and with sorted keys: every attribute counts, including unknown ones."""
    text = json.dumps(stored, separators=(",", ":"), sort_keys=True, default=_other)
    return hashlib.sha256(text.encode()).hexdigest()


def _other(found: object) -> str:
    """A text for a value that JSON lacks, such as bytes; Tallyman stores none in the ledger."""
    return found.hex() if isinstance(found, bytes) else repr(found)
