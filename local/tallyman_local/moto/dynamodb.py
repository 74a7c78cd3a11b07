"""Speed up moto's DynamoDB: a request costs as much as the items that it touches, not as the whole table.

moto copies whole tables before each transaction, for a roll-back, and sorts a whole table for each Query: 45 ms and
17 ms at a few hundred items. Here a transaction copies only the partitions that it names, and a Query reads only its
partition. A Query of an index selects the items with its key before moto compares them one by one, and sorts them by
plain values: moto parses two values for each comparison. For most of the time of a Query, moto walks through the
service's model for each attribute of each item; an item in DynamoDB's own JSON does not need that. moto measures an
item again for each attribute that it gets, and asks each value several questions before it measures, copies or prints
it: here an item is measured once, and strings are recognised first.

Callers hold moto_calls.LOCK, as for all of moto.
"""

import copy
from typing import Any

from moto.core.serialize import BaseJSONSerializer
from moto.dynamodb import responses
from moto.dynamodb.exceptions import ItemSizeTooLarge
from moto.dynamodb.models import DynamoDBBackend, utilities
from moto.dynamodb.models.dynamo_type import DynamoType, Item, LimitedSizeDict
from moto.dynamodb.models.table import Table

_transact, _update, _query, _all_items = (
    DynamoDBBackend.transact_write_items,
    DynamoDBBackend.update_item,
    Table.query,
    Table.all_items,
)


_map, _size, _to_dict = BaseJSONSerializer._serialize_type_map, DynamoType.size, utilities.dynamo_to_dict
_SCALARS = {"S", "N", "BOOL", "NULL"}
_PLAIN = _SCALARS | {"SS", "NS"}
_LARGEST = 405_000
"""Bytes of an item, as moto counts them."""


def _transact_write_items(backend: DynamoDBBackend, transact_items: list[dict[str, Any]]) -> None:
    """Note in each table which partitions the transaction may change, before moto saves its state."""
    named: list[Table] = []
    for item in transact_items:
        (operation,) = item.values()
        table = backend.tables.get(operation.get("TableName"))
        if table is None:
            continue
        key = (operation.get("Item") or operation.get("Key") or {}).get(table.hash_key_attr)
        if key:
            table.__dict__.setdefault("_touched", []).append(DynamoType(key))
            named.append(table)
    try:
        _transact(backend, transact_items)
    finally:
        for table in named:
            table.__dict__.pop("_touched", None)


def _save(table: Table, memo: dict[int, Any]) -> Table:
    """A copy of the table that copies only the touched partitions; outside transactions a whole copy (for backups)."""
    saved = copy.copy(table)
    touched = table.__dict__.get("_touched")
    if touched is None:
        memo[id(table)] = saved
        saved.__dict__.update({name: copy.deepcopy(value, memo) for name, value in table.__dict__.items()})
        return saved
    saved.__dict__.pop("_touched", None)
    saved.items = table.items.copy()
    for key in touched:
        if key in table.items:
            held = table.items[key]  # a partition, or the item itself in a table without a sort key
            saved.items[key] = copy.deepcopy(held) if isinstance(held, Item) else copy.copy(held)
    return saved


def _update_item(
    backend: DynamoDBBackend, table_name: str, key: dict[str, dict[str, Any]], *args: Any, **kwargs: Any
) -> Item:
    """Let moto change a copy of the stored item: it changes items in place, and so those that a transaction saved."""
    table = backend.tables.get(table_name)
    if table is not None and table.range_key_attr and {table.hash_key_attr, table.range_key_attr} <= set(key):
        partition = table.items.get(DynamoType(key[table.hash_key_attr]), {})
        sort = DynamoType(key[table.range_key_attr])
        if sort in partition:
            partition[sort] = copy.deepcopy(partition[sort])
    return _update(backend, table_name, key, *args, **kwargs)


def _query_partition(
    table: Table, hash_key: DynamoType | None, *args: Any, index_name: str | None = None, **kwargs: Any
) -> Any:
    # positional: range_comparison, range_objs, limit, start key, forward, projections, index
    index_name = args[6] if len(args) > 6 else index_name
    if len(args) <= 6:
        kwargs["index_name"] = index_name
    table.__dict__["_query"] = (hash_key, index_name)
    try:
        return _query(table, hash_key, *args, **kwargs)
    finally:
        table.__dict__.pop("_query", None)


def _items(table: Table) -> list[Item]:
    """All items, as moto's; within a Query only the items of its key, unsorted: the Query sorts them itself."""
    query = table.__dict__.get("_query")
    if query is None or not table.range_key_attr:
        return list(_all_items(table))
    hash_key, index_name = query
    if index_name:
        every = (item for partition in table.items.values() for item in partition.values())
        if hash_key is None:
            return list(every)
        keys = table.get_index(index_name).schema
        name, wanted = next(key["AttributeName"] for key in keys if key["KeyType"] == "HASH"), hash_key.value
        return [item for item in every if (key := item.attrs.get(name)) is not None and key.value == wanted]
    return list(table.items[hash_key].values()) if hash_key in table.items else []


def _sorted_items(
    table: Table, hash_key_attrs: list[str], range_key_attrs: list[str | None], items: list[Item]
) -> list[Item]:
    names = table._generate_attr_to_sort_by(hash_key_attrs, range_key_attrs)
    items.sort(key=lambda item: tuple(_plain(item.attrs[name]) for name in names))
    return items


def _plain(attribute: DynamoType) -> Any:
    """moto's cast_value, which asks a string six questions first."""
    return attribute.value if attribute.type == "S" else attribute.cast_value


def _new_item(item: Item, hash_key: DynamoType, range_key: DynamoType | None, attrs: dict[str, Any]) -> None:
    item.hash_key, item.range_key = hash_key, range_key
    item.attrs = LimitedSizeDict.__new__(LimitedSizeDict)
    dict.update(item.attrs, {name: DynamoType(value) for name, value in attrs.items()})
    if item.size() > _LARGEST:
        raise ItemSizeTooLarge


def _copied(value: Any) -> Any:
    """A copy of an attribute's value, which is a tree of moto's types, lists and maps."""
    if isinstance(value, DynamoType):
        made = DynamoType.__new__(DynamoType)
        made.type = value.type
        made.value = value.value if value.type in _SCALARS else _copied(value.value)
        return made
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def _copied_item(item: Item, memo: dict[int, Any]) -> Item:
    made = Item.__new__(Item)
    memo[id(item)] = made
    made.hash_key, made.range_key = _copied(item.hash_key), _copied(item.range_key)
    made.attrs = LimitedSizeDict.__new__(LimitedSizeDict)
    dict.update(made.attrs, {name: _copied(value) for name, value in item.attrs.items()})
    return made


def _size_of(attribute: DynamoType) -> int:
    """moto's size. The value of an "S" can be bytes or a bool: moto makes them of AttributeUpdates."""
    value = attribute.value
    return len(value.encode()) if attribute.type == "S" and isinstance(value, str) else _size(attribute)


def _dict_of(value: Any) -> Any:
    """moto's dynamo_to_dict, which calls itself under this name."""
    if isinstance(value, str):
        return value
    if isinstance(value, DynamoType) and value.type in _SCALARS:
        return {value.type: value.value}
    return _to_dict(value)


def _attributes(serializer: BaseJSONSerializer, serialized: dict[str, Any], value: Any, shape: Any, key: str) -> None:
    """Pass a map of attributes unchanged, unless it holds values that moto encodes for JSON."""
    if shape.value.name == "AttributeValue" and all(
        isinstance(attribute, dict) and attribute.keys() <= _PLAIN and isinstance(attribute.get("S", ""), str)
        for attribute in value.values()
    ):
        serialized[serializer.get_serialized_name(shape, key)] = value
    else:
        _map(serializer, serialized, value, shape, key)


DynamoDBBackend.transact_write_items = _transact_write_items
DynamoDBBackend.update_item = _update_item
Item.__init__ = _new_item
Item.__deepcopy__ = _copied_item
DynamoType.size = _size_of
utilities.dynamo_to_dict = responses.dynamo_to_dict = _dict_of
Table.__deepcopy__ = _save
Table.query = _query_partition
Table.all_items = _items
Table.sorted_items = _sorted_items
BaseJSONSerializer._serialize_type_map = _attributes
