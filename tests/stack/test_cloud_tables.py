"""DynamoDB of the local cloud: moto's, made faster; transactions stay atomic and queries sorted."""

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.dynamodb.models.dynamo_type import Item
from moto.dynamodb.models.table import Table
from moto.sqs.models import Message

from support.stacks import sample_stack as sample
from tallyman_local.cloud.cloud import Cloud

TABLE = "facts"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with sample.cloud(tmp_path_factory.mktemp("sample")) as running:
        yield running


@pytest.fixture
def tables(cloud: Cloud) -> Iterator[Any]:
    client = sample.client(cloud, "dynamodb")
    names = ("pk", "sk", "other")
    client.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in names],
        GlobalSecondaryIndexes=[
            {
                "IndexName": "by-other",
                "KeySchema": [
                    {"AttributeName": "other", "KeyType": "HASH"},
                    {"AttributeName": "sk", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "ALL"},
            }
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    yield client
    client.delete_table(TableName=TABLE)


def item(pk: str, sk: str, **more: str) -> dict[str, dict[str, str]]:
    return {name: {"S": value} for name, value in {"pk": pk, "sk": sk, **more}.items()}


def everything(client: Any) -> list[dict[str, str]]:
    found = [{name: value["S"] for name, value in row.items()} for row in client.scan(TableName=TABLE)["Items"]]
    return sorted(found, key=lambda row: (row["pk"], row["sk"]))


def put(pk: str, sk: str, **more: str) -> dict[str, Any]:
    return {"Put": {"TableName": TABLE, "Item": item(pk, sk, **more)}}


def fails() -> dict[str, Any]:
    return {
        "ConditionCheck": {
            "TableName": TABLE,
            "Key": item("not", "there"),
            "ConditionExpression": "attribute_exists(pk)",
        }
    }


def set_to(value: str) -> dict[str, Any]:
    return {
        "TableName": TABLE,
        "Key": item("a", "1"),
        "UpdateExpression": "SET colour = :c",
        "ExpressionAttributeValues": {":c": {"S": value}},
    }


def test_a_transaction_that_fails_changes_nothing(tables: Any) -> None:
    tables.put_item(TableName=TABLE, Item=item("a", "1", colour="red"))
    tables.put_item(TableName=TABLE, Item=item("a", "2"))
    before = everything(tables)
    with pytest.raises(ClientError, match="TransactionCanceledException"):
        tables.transact_write_items(
            TransactItems=[
                {"Update": set_to("blue")},
                {"Delete": {"TableName": TABLE, "Key": item("a", "2")}},
                put("a", "3"),
                put("new", "1"),
                fails(),
            ]
        )
    assert everything(tables) == before


def test_a_transaction_that_succeeds_changes_all(tables: Any) -> None:
    tables.put_item(TableName=TABLE, Item=item("a", "1", colour="red"))
    tables.transact_write_items(TransactItems=[{"Update": set_to("blue")}, put("b", "1"), put("b", "2")])
    tables.update_item(**set_to("green"))
    assert [(row["pk"], row["sk"], row.get("colour")) for row in everything(tables)] == [
        ("a", "1", "green"),
        ("b", "1", None),
        ("b", "2", None),
    ]


def test_a_query_gives_its_partition_in_order_and_in_pages(tables: Any) -> None:
    for sk in ("3", "1", "2"):
        tables.put_item(TableName=TABLE, Item=item("a", sk))
        tables.put_item(TableName=TABLE, Item=item("b", sk))
    ask = {
        "TableName": TABLE,
        "KeyConditionExpression": "pk = :p",
        "ExpressionAttributeValues": {":p": {"S": "a"}},
    }
    assert [row["sk"]["S"] for row in tables.query(**ask)["Items"]] == ["1", "2", "3"]
    assert [row["sk"]["S"] for row in tables.query(**ask, ScanIndexForward=False)["Items"]] == ["3", "2", "1"]
    page = tables.query(**ask, Limit=2)
    rest = tables.query(**ask, ExclusiveStartKey=page["LastEvaluatedKey"])
    assert [row["sk"]["S"] for row in page["Items"] + rest["Items"]] == ["1", "2", "3"]
    assert tables.query(**{**ask, "ExpressionAttributeValues": {":p": {"S": "none"}}})["Items"] == []


def test_a_query_of_an_index_is_in_its_order(tables: Any) -> None:
    for pk, sk in (("a", "3"), ("b", "1"), ("c", "2")):
        tables.put_item(TableName=TABLE, Item=item(pk, sk, other="x"))
    tables.put_item(TableName=TABLE, Item=item("d", "0", other="y"))
    tables.put_item(TableName=TABLE, Item=item("e", "0"))
    got = tables.query(
        TableName=TABLE,
        IndexName="by-other",
        KeyConditionExpression="other = :o",
        ExpressionAttributeValues={":o": {"S": "x"}},
    )
    assert [row["pk"]["S"] for row in got["Items"]] == ["b", "c", "a"]


def test_a_finished_transaction_keeps_no_copy(cloud: Cloud, tables: Any) -> None:
    """Regression: a copy of a table per transaction made garbage collection stop a page for 2 s at 5,000 images."""

    def alive() -> list[int]:
        gc.collect()
        return [sum(isinstance(each, kind) for each in gc.get_objects()) for kind in (Table, Item, Message)]

    queue = sample.client(cloud, "sqs")
    url = queue.create_queue(QueueName="over")["QueueUrl"]
    tables.put_item(TableName=TABLE, Item=item("a", "1"))
    before = alive()
    for number in range(20):
        tables.transact_write_items(TransactItems=[{"Update": set_to(str(number))}])
        tables.put_item(TableName=TABLE, Item=item("a", "1", other=str(number)))
        queue.send_message(QueueUrl=url, MessageBody=str(number))
        (message,) = queue.receive_message(QueueUrl=url)["Messages"]
        queue.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    assert alive() == before


def test_two_writers_with_the_same_condition_do_not_both_succeed(cloud: Cloud, tables: Any) -> None:

    won: list[int] = []

    def write(n: int) -> None:
        client = sample.client(cloud, "dynamodb")
        for row in range(20):
            try:
                client.put_item(
                    TableName=TABLE, Item=item("race", str(row)), ConditionExpression="attribute_not_exists(pk)"
                )
            except client.exceptions.ConditionalCheckFailedException:
                continue
            won.append(row)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == list(range(20))
