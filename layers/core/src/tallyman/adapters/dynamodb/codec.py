"""How facts and state items are stored in DynamoDB: attributes for keys and what people look for, JSON for the rest.

JSON text, not DynamoDB's maps: numbers stay numbers without Decimal.
"""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from tallyman.domain.history.facts import Fact, Kind, Via
from tallyman.domain.history.seals import LedgerEntry, entry_hash
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time, parse_time, sort_time
from tallyman.errors import BadInput
from tallyman.state.items import StateChange, StateItem

LIMIT = 350 * 1024
"""Bytes that an item may have. DynamoDB takes up to 400 KB, names of attributes included; larger data belongs in the
archive."""

Plain = dict[str, str | int]


def to_json(data: Mapping[str, Any], what: str) -> str:
    """Compact JSON. Raises BadInput where the data is not plain JSON data."""
    try:
        return json.dumps(data, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise BadInput(f"{what} is not plain JSON data: {error}") from None


def seen_partition(day: date) -> str:
    """The partition of the index by-seen that holds the facts written on that day (UTC)."""
    return f"S#{day:%Y-%m-%d}"


def fact_to_plain(fact: Fact) -> Plain:
    """The fact's attributes, without those that are None: DynamoDB leaves an item without an index's key out of that
    index."""
    item: Plain = {
        "pk": fact.partition,
        "sk": fact.sort,
        "seen_pk": seen_partition(fact.seen.astimezone(UTC).date()),
        "seen_sk": f"{sort_time(fact.seen)}#{fact.id}",
        "kind": fact.kind.value,
        "id": fact.id,
        "at": format_time(fact.at),
        "seen": format_time(fact.seen),
        "via": fact.via.value,
        "detail": to_json(fact.detail, f"the detail of a fact {fact.kind.value} of {fact.partition}"),
    }
    if fact.repository:
        item["repository"] = str(fact.repository)
        item["repo_pk"] = f"R#{fact.repository}"
        if fact.tag:
            item["tag_pk"] = f"T#{fact.repository}:{fact.tag}"
    for name in ("digest", "tag", "environment", "media_type", "size", "actor"):
        value = getattr(fact, name)
        if value is not None:
            item[name] = value if isinstance(value, int) else str(value)
    _check_size(item, f"a fact {fact.kind.value} of {fact.partition}")
    return item


def fact_from_plain(item: Mapping[str, Any]) -> Fact:
    """The fact of these attributes; times are stored to the millisecond."""
    return Fact(
        kind=Kind(item["kind"]),
        id=item["id"],
        at=parse_time(item["at"]),
        seen=parse_time(item["seen"]),
        via=Via(item["via"]),
        digest=Digest(item["digest"]) if "digest" in item else None,
        repository=Repository.parse(item["repository"]) if "repository" in item else None,
        tag=item.get("tag"),
        environment=item.get("environment"),
        media_type=item.get("media_type"),
        size=int(item["size"]) if "size" in item else None,
        actor=item.get("actor"),
        detail=json.loads(item["detail"]),
    )


def ledger_entry(raw: Mapping[str, Mapping[str, str]]) -> LedgerEntry:
    """An item of the ledger from DynamoDB's JSON. It never raises: the item may have been tampered with."""
    item = unmarshal(raw)
    return LedgerEntry(str(item.get("pk", "")), str(item.get("sk", "")), _arrived(item), entry_hash(raw), item)


def _arrived(item: Plain) -> datetime | None:
    """`seen`, where the item's keys in the index by-seen match it; otherwise None."""
    try:
        seen = parse_time(str(item["seen"]))
    except (KeyError, BadInput):
        return None
    keys = {"seen_pk": seen_partition(seen.date()), "seen_sk": f"{sort_time(seen)}#{item.get('id')}"}
    return seen if keys.items() <= item.items() else None


def change_to_plain(change: StateChange) -> Plain:
    """The attributes that a StateChange writes: with a revision one above the one it expects."""
    item: Plain = {
        "pk": change.pk,
        "sk": change.sk,
        "revision": change.revision + 1,
        "data": to_json(change.data, f"the state {change.pk} {change.sk}"),
    }
    if change.expires is not None:
        item["expires"] = int(change.expires.timestamp())
    if change.removed:
        item["removed"] = 1
    _check_size(item, f"the state {change.pk} {change.sk}")
    return item


def state_from_plain(item: Mapping[str, Any]) -> StateItem:
    """The state item of these attributes; `expires` is stored in whole seconds."""
    return StateItem(
        pk=item["pk"],
        sk=item["sk"],
        revision=int(item["revision"]),
        data=json.loads(item["data"]),
        expires=datetime.fromtimestamp(int(item["expires"]), UTC) if "expires" in item else None,
        removed="removed" in item,
    )


def marshal(item: Mapping[str, str | int]) -> dict[str, dict[str, str]]:
    """The item in DynamoDB's JSON (`{"S": …}`, `{"N": …}`): we store only text and integers."""
    return {k: {"N": str(v)} if isinstance(v, int) else {"S": v} for k, v in item.items()}


def unmarshal(item: Mapping[str, Mapping[str, str]]) -> dict[str, str | int]:
    """The attributes of an item in DynamoDB's JSON; other types than text and numbers are left out. A number that is
    not an integer, which we never store, stays text: the item may have been tampered with."""
    return {k: _number(v["N"]) if "N" in v else v["S"] for k, v in item.items() if "N" in v or "S" in v}


def _number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _check_size(item: Plain, what: str) -> None:
    size = sum(len(name) + len(str(value).encode()) for name, value in item.items())
    if size > LIMIT:
        raise BadInput(
            f"{what} has {size} bytes; a DynamoDB item may have {LIMIT}: put the data into the archive and store its "
            "digest"
        )
