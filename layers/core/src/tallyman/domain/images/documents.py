"""JSON that others wrote, read strictly: every flaw is a BadManifest that says what is wrong and where."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from tallyman.errors import BadManifest


def load_object(raw: bytes, what: str) -> dict[str, Any]:
    """UTF-8 JSON whose outermost value is an object, no key twice anywhere; else BadManifest naming `what`.

    A key given twice means one thing to one parser and another to the next, so no such document is taken.
    """
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_pairs, parse_constant=_constant)
    except BadManifest as error:
        raise BadManifest(f"{what}: {error}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number or a nesting beyond reason
        raise BadManifest(f"{what}: no JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadManifest(f"{what}: expected a JSON object, found {kind(document)}")
    return document


def loads(raw: bytes | str) -> Any:
    """`json.loads`, with a ValueError too where values lie too deep in each other to be read."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("values lie too deep in each other") from None


def loads_writable(raw: bytes | str) -> Any:
    """As `loads`, with a ValueError too where a text holds half of a surrogate pair: no fact can hold it."""
    found = loads(raw)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text holds half of a surrogate pair") from None
    except RecursionError:
        raise ValueError("values lie too deep in each other") from None
    return found


def same_case(item: Mapping[str, Any], known: Iterable[str], where: str = "") -> None:
    """BadManifest where a key differs from one of `known` in the case of its letters alone.

    Go's JSON parser takes `Layers` for `layers`, others don't: one would run what the other never checked.
    """
    folded = {key.casefold(): key for key in known}
    for key in item:
        wanted = folded.get(key.casefold(), key)
        if wanted != key:
            bad(f"{where}{key}", f"expected '{wanted}' in exactly these letters")


def text(value: object, where: str) -> str:
    """A text that can be written again, or BadManifest."""
    if not isinstance(value, str):
        bad(where, f"expected a string, found {kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        bad(where, "holds half of a surrogate pair")
    return value


def optional_text(item: Mapping[str, Any], key: str, where: str = "") -> str:
    """The text under `key`; empty where there is none, or null."""
    value = item.get(key)
    return "" if value is None else text(value, f"{where}{key}")


def texts(item: object, where: str) -> dict[str, str]:
    """An object whose values are texts (annotations, labels); empty for null."""
    if item is None:
        return {}
    if not isinstance(item, dict):
        bad(where, f"expected an object, found {kind(item)}")
    return {text(key, where): text(value, f"{where}[{show(key)}]") for key, value in item.items()}


def kind(value: object) -> str:
    """What a JSON value is, in words."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def show(value: object) -> str:
    """A value for a message: ASCII, one line, cut at 100 characters."""
    shown = ascii(value) if isinstance(value, (str, int, float)) else kind(value)
    return shown if len(shown) <= 100 else f"{shown[:97]}…"


def bad(where: str, what: str) -> NoReturn:
    """Raises BadManifest `where: what`."""
    raise BadManifest(f"{where}: {what}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadManifest(f"the key {show(key)} is there twice")
        found[key] = value
    return found


def _constant(name: str) -> NoReturn:
    raise BadManifest(f"{name} is not JSON")
