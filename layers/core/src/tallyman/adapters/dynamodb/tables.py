"""Ledger and state on DynamoDB: conditional writes, consistent reads, a fact and its projection in one transaction."""

import builtins
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from botocore.exceptions import ClientError

from tallyman.adapters.aws.paging import batches, listed
from tallyman.adapters.dynamodb.codec import (
    change_to_plain,
    fact_from_plain,
    fact_to_plain,
    ledger_entry,
    marshal,
    seen_partition,
    state_from_plain,
    unmarshal,
)
from tallyman.adapters.errors.translate import code_of, translated
from tallyman.domain.history.facts import BEFORE_ALL, Fact
from tallyman.domain.history.seals import LedgerEntry
from tallyman.domain.names import Digest, Repository
from tallyman.domain.permissions import permissions
from tallyman.domain.times import sort_time
from tallyman.errors import BadInput, RevisionConflict, TallymanError, Throttled, Unreachable
from tallyman.ports.records import Appended
from tallyman.state.items import StateChange, StateCheck, StateItem

_LAST = "#~"  # sorts after `#` and any id, since ids are hexadecimal
_NEXT = "\x00"
"""Added to a sort key, it makes the next possible one."""
_INDEXES = {"repo_pk": "by-repository", "tag_pk": "by-tag"}
_REASONS: dict[str, type[TallymanError]] = {
    "ConditionalCheckFailed": RevisionConflict,
    "TransactionConflict": RevisionConflict,
    "ThrottlingError": Throttled,
    "ProvisionedThroughputExceeded": Throttled,
    "ItemCollectionSizeLimitExceeded": BadInput,
    "ValidationError": BadInput,
}


class DynamoLedger:
    """The ledger. It only adds: no method updates or deletes, and the role that it needs may not either.

    TransactWriteItems has no permission of its own: each Put in it needs dynamodb:PutItem on its table.
    """

    PERMISSIONS: tuple[str, ...] = permissions("dynamodb:PutItem", "dynamodb:Query")

    def __init__(self, client: Any, table: str, state_table: str) -> None:
        self._client, self._table, self._state_table = client, table, state_table

    def append(self, fact: Fact, change: StateChange | None = None, *more: StateChange | StateCheck) -> Appended:
        """One PutItem, or one TransactWriteItems with the changes. A write that botocore repeats because its answer was
        lost is KNOWN (a plain put) or WRITTEN (a transaction, by its token)."""
        put = {
            "TableName": self._table,
            "Item": marshal(fact_to_plain(fact)),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
        what = f"write the fact {fact.kind.value} of {fact.partition}"
        with translated(what):
            try:
                if change is None:
                    self._client.put_item(**put)
                else:
                    items = [{"Put": put}, *(_item_of(each, self._state_table) for each in (change, *more))]
                    self._client.transact_write_items(TransactItems=items)
            except ClientError as error:
                code = code_of(error)
                if code == "ConditionalCheckFailedException" and change is None:
                    return Appended.KNOWN
                if code != "TransactionCanceledException":
                    raise
                reasons = [str(r.get("Code", "None")) for r in error.response.get("CancellationReasons", [])]
                if reasons and reasons[0] == "ConditionalCheckFailed":
                    return Appended.KNOWN
                raise _cancelled(reasons, what) from error
        return Appended.WRITTEN

    def of_digest(self, digest: Digest) -> list[Fact]:
        return list(self._read(f"D#{digest}", since=sort_time(BEFORE_ALL) + _LAST, forward=True))

    def indexes_of(self, digest: Digest, after: str = "", most: int | None = None) -> list[Fact]:
        since = max(after + _NEXT, sort_time(BEFORE_ALL))
        if since > sort_time(BEFORE_ALL) + _LAST:
            return []
        found = self._read(f"D#{digest}", since=since, until=BEFORE_ALL, forward=True, page=most)
        return list(islice(found, most))

    def of_repository(
        self, repository: Repository, until: datetime | None = None, page: int | None = None
    ) -> Iterator[Fact]:
        return self._read(f"R#{repository}", key="repo_pk", until=until, page=page)

    def of_tag(self, repository: Repository, tag: str, until: datetime | None = None) -> Iterator[Fact]:
        return self._read(f"T#{repository}:{tag}", key="tag_pk", until=until)

    def of_environment(self, environment: str, repository: str | None = None) -> Iterator[Fact]:
        return self._read(f"E#{environment}/{repository}" if repository else f"E#{environment}")

    def written_since(self, moment: datetime) -> Iterator[Fact]:
        return (fact_from_plain(unmarshal(raw)) for raw in self._arrived(moment))

    def arrived(self, since: datetime) -> Iterator[LedgerEntry]:
        return map(ledger_entry, self._arrived(since))

    def _arrived(self, moment: datetime) -> Iterator[dict[str, Any]]:
        day, today = moment.astimezone(UTC).date(), datetime.now(UTC).date()
        while day <= today:
            query = {
                "TableName": self._table,
                "IndexName": "by-seen",
                "KeyConditionExpression": "seen_pk = :pk AND seen_sk >= :since",
                "ExpressionAttributeValues": {":pk": {"S": seen_partition(day)}, ":since": {"S": sort_time(moment)}},
            }
            yield from _pages(self._client.query, query, f"read the facts written on {day}")
            day += timedelta(days=1)

    def _read(
        self,
        value: str,
        *,
        key: str = "pk",
        since: str = "0",
        until: datetime | None = None,
        forward: bool = False,
        page: int | None = None,
    ) -> Iterator[Fact]:
        query: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": f"{key} = :pk AND sk BETWEEN :since AND :until",
            "ExpressionAttributeValues": marshal(
                {":pk": value, ":since": since, ":until": sort_time(until) + _LAST if until else "~"}
            ),
            "ScanIndexForward": forward,
        }
        if page is not None:
            query["Limit"] = page
        if key in _INDEXES:
            query["IndexName"] = _INDEXES[key]
        else:
            query["ConsistentRead"] = True
        for raw in _pages(self._client.query, query, f"read the facts of {value}"):
            yield fact_from_plain(unmarshal(raw))


class DynamoReleaseLedger(DynamoLedger):
    """The ledger for functions that move releases: their transactions also check items that they do not write."""

    PERMISSIONS: tuple[str, ...] = (*DynamoLedger.PERMISSIONS, "dynamodb:ConditionCheckItem")


class DynamoEntries(DynamoLedger):
    """The ledger for commands that verify or export all of it: only people use it."""

    PERMISSIONS: tuple[str, ...] = permissions("dynamodb:Query", "dynamodb:Scan")

    def every(self) -> Iterator[LedgerEntry]:
        scan = {"TableName": self._table, "ConsistentRead": True}
        return map(ledger_entry, _pages(self._client.scan, scan, "read the whole ledger"))


class DynamoState:
    """The state table. An item past `expires` may still be read: DynamoDB removes it within a few days."""

    PERMISSIONS: tuple[str, ...] = permissions(
        "dynamodb:BatchGetItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
    )

    def __init__(self, client: Any, table: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client, self._table, self._sleep = client, table, sleep

    def get(self, pk: str, sk: str) -> StateItem | None:
        with translated(f"read the state {pk} {sk}"):
            answer = self._client.get_item(
                TableName=self._table, Key=marshal({"pk": pk, "sk": sk}), ConsistentRead=True
            )
        return state_from_plain(unmarshal(answer["Item"])) if "Item" in answer else None

    def get_many(self, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], StateItem]:
        """One BatchGetItem for 100 keys. Keys that it returns unread (throttled, over 16 MB) are read again, five
        times; then it raises Throttled."""
        found: dict[tuple[str, str], StateItem] = {}
        for batch in batches(keys):
            ask: Any = [marshal({"pk": pk, "sk": sk}) for pk, sk in batch]
            for attempt in range(6):
                with translated(f"read {len(ask)} state items"):
                    answer = self._client.batch_get_item(
                        RequestItems={self._table: {"Keys": ask, "ConsistentRead": True}}
                    )
                if "Responses" not in answer and not answer.get("UnprocessedKeys"):
                    raise Unreachable(f"read {len(ask)} state items: the answer lacks 'Responses'")
                for raw in answer.get("Responses", {}).get(self._table, []):
                    item = state_from_plain(unmarshal(raw))
                    found[item.pk, item.sk] = item
                ask = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
                if not ask:
                    break
                self._sleep(0.05 * 2**attempt)
            else:
                raise Throttled(f"read state items: {len(ask)} keys of {self._table} were left unread")
        return found

    def list(self, pk: str, prefix: str = "") -> Iterator[StateItem]:
        values = {":pk": {"S": pk}} | ({":prefix": {"S": prefix}} if prefix else {})
        query = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk" + (" AND begins_with(sk, :prefix)" if prefix else ""),
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
        }
        for raw in _pages(self._client.query, query, f"list the state {pk}"):
            yield state_from_plain(unmarshal(raw))

    def put(self, change: StateChange) -> None:
        """One conditional PutItem. A write that botocore repeats because its answer was lost raises RevisionConflict
        although it succeeded."""
        what = f"write the state {change.pk} {change.sk}"
        with translated(what):
            try:
                self._client.put_item(**_put_of(change, self._table))
            except ClientError as error:
                if code_of(error) != "ConditionalCheckFailedException":
                    raise
                raise RevisionConflict(f"{what}: another writer was faster") from error


def _item_of(each: StateChange | StateCheck, table: str) -> dict[str, Any]:
    if isinstance(each, StateChange):
        return {"Put": _put_of(each, table)}
    return {"ConditionCheck": {"TableName": table, "Key": marshal({"pk": each.pk, "sk": each.sk}), **_condition(each)}}


def _put_of(change: StateChange, table: str) -> dict[str, Any]:
    return {"TableName": table, "Item": marshal(change_to_plain(change)), **_condition(change)}


def _condition(each: StateChange | StateCheck) -> dict[str, Any]:
    """The condition that the item still has the revision that was read."""
    if not each.revision:
        return {"ConditionExpression": "attribute_not_exists(pk)"}
    return {
        "ConditionExpression": "revision = :revision",
        "ExpressionAttributeValues": {":revision": {"N": str(each.revision)}},
    }


def _cancelled(reasons: builtins.list[str], what: str) -> TallymanError:
    """The error for a transaction that was cancelled for another reason than a known fact: the gravest reason."""
    for kind in (BadInput, Throttled, RevisionConflict):
        if any(_REASONS.get(reason) is kind for reason in reasons):
            return kind(f"{what}: nothing was written ({', '.join(reasons)})")
    return Unreachable(f"{what}: the transaction was cancelled ({', '.join(reasons) or 'no reason given'})")


def _pages(ask: Callable[..., dict[str, Any]], query: dict[str, Any], what: str) -> Iterator[dict[str, Any]]:
    """The items of a Query or Scan in DynamoDB's JSON."""
    while True:
        with translated(what):
            answer = ask(**query)
        yield from listed(answer, "Items", what)
        if "LastEvaluatedKey" not in answer:
            return
        query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
