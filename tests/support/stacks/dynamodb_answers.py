"""What moto's DynamoDB answers to many calls, as JSON on standard output: `dynamodb_answers.py plain|patched`.

`patched` answers with the local cloud's patches. A process of its own, because the patches change the whole process.
"""

import importlib
import json
import sys
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import ClientError
from moto import mock_aws

Json = dict[str, Any]
KeyOf = Callable[[int], Json]

FULL = {
    "s": {"S": ""},
    "n": {"N": "1.50"},
    "b": {"B": b"\x00\xff"},
    "no bytes": {"B": b""},
    "true": {"BOOL": True},
    "null": {"NULL": True},
    "ss": {"SS": ["x", "ü"]},
    "ns": {"NS": ["1", "2.5"]},
    "bs": {"BS": [b"a", b"\xff"]},
    "l": {"L": [{"S": ""}, {"B": b"q"}, {"L": [{"BS": [b"z"]}, {"M": {}}]}, {"BOOL": False}, {"NULL": True}]},
    "m": {"M": {"a": {"S": ""}, "b": {"B": b"x"}, "c": {"M": {"d": {"L": []}, "ss": {"SS": ["k"]}}}, "S": {"N": "3"}}},
    "S": {"S": "the name of a type"},
}
UPDATES: list[tuple[str, Json]] = [
    ("SET m.c.d = list_append(m.c.d, :l), l[1] = :m", {":l": {"L": [{"B": b"n"}]}, ":m": {"M": {"q": {"BS": [b"1"]}}}}),
    ("ADD ss :s, ns :n, bs :b", {":s": {"SS": ["new"]}, ":n": {"NS": ["9"]}, ":b": {"BS": [b"new"]}}),
    ("DELETE ss :s, bs :b", {":s": {"SS": ["x"]}, ":b": {"BS": [b"a"]}}),
    ("ADD counted :n SET n = n + :n", {":n": {"N": "1.5"}}),
    ("SET again = if_not_exists(again, :s), m.a = :s", {":s": {"S": "changed"}}),
    ("REMOVE m.c.ss, l[0]", {}),
    ("SET large = :s", {":s": {"S": "x" * 410_000}}),
]
LEGACY: list[Json] = [{"BOOL": True}, {"B": b"b"}, {"S": ""}, {"N": "4"}, {"L": [{"S": "q"}]}, {"SS": ["a"]}]
SIZES = (404_900, 404_981, 404_991, 405_001)
KEYS: dict[str, KeyOf] = {
    "sorted": lambda n: {"pk": {"S": "a"}, "sk": {"S": str(n)}},
    "numbers": lambda n: {"pk": {"N": "1"}, "sk": {"N": str(n)}},
    "binary": lambda n: {"pk": {"B": b"\x01"}, "sk": {"B": bytes([n])}},
    "unsorted": lambda n: {"pk": {"S": str(n)}},
}


class Calls:
    """Makes calls for one table, and keeps their answers."""

    def __init__(self, client: Any, table: str, key: KeyOf) -> None:
        self.client, self.table, self.key, self.answers = client, table, key, list[Any]()

    def call(self, operation: str, **parameters: Any) -> Any:
        """The answer, with the table's contents after a call that writes."""
        try:
            answer = getattr(self.client, operation)(**parameters)
            del answer["ResponseMetadata"]
        except ClientError as error:
            answer = {name: error.response.get(name) for name in ("Error", "Item", "CancellationReasons")}
        self.answers.append([operation, str(parameters)[:200], _plain(answer)])
        return answer

    def item(self, operation: str, **parameters: Any) -> None:
        """A call of the table, and a look at all its items."""
        self.call(operation, TableName=self.table, **parameters)
        self.call("scan", TableName=self.table)

    def create(self) -> None:
        key = self.key(1)
        types = {**{name: next(iter(value)) for name, value in key.items()}, "other": "S"}
        self.client.create_table(
            TableName=self.table,
            KeySchema=[{"AttributeName": n, "KeyType": k} for n, k in zip(key, ("HASH", "RANGE"), strict=False)],
            AttributeDefinitions=[{"AttributeName": n, "AttributeType": t} for n, t in types.items()],
            GlobalSecondaryIndexes=[
                {
                    "IndexName": "by-other",
                    "KeySchema": [
                        {"AttributeName": n, "KeyType": k}
                        for n, k in zip(["other", *list(key)[1:]], ("HASH", "RANGE"), strict=False)
                    ],
                    "Projection": {"ProjectionType": "ALL"},
                }
            ],
            BillingMode="PAY_PER_REQUEST",
        )

    def make(self) -> None:
        """All calls."""
        self.create()
        for n in (10, 9, 2, 1):
            item = {**(FULL if n == 1 else {}), **self.key(n), "other": {"S": str(n % 2)}}
            self.item("put_item", Item=item, ReturnValues="ALL_OLD")
        self.reads()
        for expression, values in UPDATES:
            self.item("update_item", **self.update(1, expression, values), ReturnValues="ALL_NEW")
        for value in LEGACY:
            updates = {"legacy": {"Action": "PUT", "Value": value}}
            self.item("update_item", Key=self.key(2), AttributeUpdates=updates, ReturnValues="ALL_NEW")
        if self.table == "sorted":
            self.sizes()
        self.transactions()
        self.reads()

    def update(self, n: int, expression: str, values: Json) -> Json:
        return {
            "Key": self.key(n),
            "UpdateExpression": expression,
            **({"ExpressionAttributeValues": values} if values else {}),
        }

    def reads(self) -> None:
        table, some = self.table, "m.c.d, l[2], bs, m.b, b, s"
        self.call("get_item", TableName=table, Key=self.key(1))
        self.call("get_item", TableName=table, Key=self.key(1), ProjectionExpression=some)
        self.call("batch_get_item", RequestItems={table: {"Keys": [self.key(1), self.key(9)]}})
        wanted = {":k": self.key(1)["pk"]}
        for more in ({}, {"ScanIndexForward": False, "Limit": 2}, {"ProjectionExpression": some}):
            by_key = {"KeyConditionExpression": "pk = :k", "ExpressionAttributeValues": wanted}
            self.call("query", TableName=table, **by_key, **more)
            by_other = {"KeyConditionExpression": "other = :k", "ExpressionAttributeValues": {":k": {"S": "1"}}}
            self.call("query", TableName=table, IndexName="by-other", **by_other, **more)

    def sizes(self) -> None:
        """The largest items, whose contents are not printed."""
        for n in SIZES:
            for value in ({"S": "a" * n}, {"M": {"l": {"L": [{"S": "€" * (n // 3)}, {"B": b"a"}]}}}):
                self.call("put_item", TableName=self.table, Item={**self.key(50), "true": {"BOOL": True}, "v": value})
        self.call("delete_item", TableName=self.table, Key=self.key(50))

    def transactions(self) -> None:
        table = self.table
        missing = {"TableName": table, "Key": self.key(99), "ConditionExpression": "attribute_exists(pk)"}
        for expression, values in UPDATES:
            update = {"TableName": table, **self.update(1, expression, values)}
            put, delete = {"TableName": table, "Item": self.key(60)}, {"TableName": table}
            writes = [{"Update": update}, {"Put": put}, {"Delete": {**delete, "Key": self.key(9)}}]
            self.call("transact_write_items", TransactItems=[*writes, {"ConditionCheck": missing}])
            self.call("scan", TableName=table)
            if "again" not in expression:
                continue
            self.call("transact_write_items", TransactItems=[writes[0], {"Delete": {**delete, "Key": self.key(1)}}])
            self.call("scan", TableName=table)
            self.call("transact_write_items", TransactItems=writes)
            self.call("scan", TableName=table)
        for n in (10, 2, 60, 1):  # an empty partition
            self.item("delete_item", Key=self.key(n), ReturnValues="ALL_OLD")
        self.call("transact_write_items", TransactItems=[{"Put": put}, {"ConditionCheck": missing}])
        self.call("scan", TableName=table)
        self.item("put_item", Item={**FULL, **self.key(1)})


def _plain(answer: Any) -> Any:
    """The answer for JSON; a set has no order."""
    if isinstance(answer, dict):
        return {
            name: sorted(map(str, value)) if name in ("SS", "NS", "BS") else _plain(value)
            for name, value in answer.items()
        }
    if isinstance(answer, list):
        return [_plain(value) for value in answer]
    return str(answer) if isinstance(answer, bytes) else answer


def main() -> None:
    """Print the answers of all tables."""
    with mock_aws():
        tables = answered()
    json.dump([[table.table, *answer] for table in tables for answer in table.answers], sys.stdout)


def answered() -> list[Calls]:
    """Make all calls of all tables."""
    if sys.argv[1] == "patched":
        importlib.import_module("tallyman_local.moto.dynamodb")
    client = boto3.client("dynamodb", "us-east-2", aws_access_key_id="-", aws_secret_access_key="-")
    tables = [Calls(client, table, key) for table, key in KEYS.items()]
    for table in tables:
        table.make()
    return tables


if __name__ == "__main__":
    main()
