"""Strict parsers of JSON from other systems; their errors say what is wrong and where."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from tallyman.errors import BadManifest

Json = Mapping[str, Any]


def load_object(raw: bytes, what: str) -> dict[str, Any]:
    """Parse UTF-8 JSON whose outermost value is an object, and in which no object has a key twice. Raises BadManifest
    that names the document as `what`.

    Parsers differ in which of two equal keys they use, so such a document is refused.
    """
    try:
        document = json.loads(raw.decode(), object_pairs_hook=_pairs, parse_constant=_constant)
    except BadManifest as error:
        raise BadManifest(f"{what}: {error}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a huge number, or nested too deep
        raise BadManifest(f"{what}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadManifest(f"{what}: expected a JSON object, found {kind(document)}")
    return document


def loads(raw: bytes | str) -> Any:
    """`json.loads` that raises ValueError, not RecursionError, for values that are nested too deep."""
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("values are nested too deep") from None


def loads_writable(raw: bytes | str) -> Any:
    """`loads` that also raises ValueError for a string with half of a surrogate pair, which no fact can store."""
    found = loads(raw)
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a string holds half of a surrogate pair") from None
    except RecursionError:
        raise ValueError("values are nested too deep") from None
    return found


def part(document: Json, key: str) -> Json:
    """The object under `key`; an empty one where there is none."""
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def objects(document: Json, key: str) -> list[Json]:
    """The objects in the list under `key`, without its other items; empty where there is no list."""
    found = document.get(key)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def same_case(item: Mapping[str, Any], known: Iterable[str], where: str = "") -> None:
    """Raise BadManifest for a key that differs from one of `known` only in the case of its letters.

    Go's JSON parser takes `Layers` for `layers`, other parsers do not: one would run what the other did not check.
    """
    folded = {key.casefold(): key for key in known}
    for key in item:
        wanted = folded.get(key.casefold(), key)
        if wanted != key:
            bad(f"{where}{key}", f"expected '{wanted}': keys are case-sensitive")


def text(value: object, where: str) -> str:
    """The string, if it can be encoded as UTF-8. Raises BadManifest."""
    if not isinstance(value, str):
        bad(where, f"expected a string, found {kind(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        bad(where, "holds half of a surrogate pair")
    return value


def optional_text(item: Mapping[str, Any], key: str, where: str = "") -> str:
    """The string under `key`; empty where it is missing or null. Raises BadManifest for another value."""
    value = item.get(key)
    return "" if value is None else text(value, f"{where}{key}")


def texts(item: object, where: str) -> dict[str, str]:
    """An object whose values are strings (annotations, labels); empty for null. Raises BadManifest."""
    if item is None:
        return {}
    if not isinstance(item, dict):
        bad(where, f"expected an object, found {kind(item)}")
    return {text(key, where): text(value, f"{where}[{show(key)}]") for key, value in item.items()}


def kind(value: object) -> str:
    """The type of a JSON value, in words."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")


def show(value: object) -> str:
    """A value in a message: ASCII, one line, cut at 100 characters."""
    shown = ascii(value) if isinstance(value, (str, int, float)) else kind(value)
    return shown if len(shown) <= 100 else f"{shown[:97]}…"


def bad(where: str, what: str) -> NoReturn:
    """Raise BadManifest with the message `where: what`."""
    raise BadManifest(f"{where}: {what}")


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise BadManifest(f"an object has the key {show(key)} twice")
        found[key] = value
    return found


def _constant(name: str) -> NoReturn:
    raise BadManifest(f"{name} is not JSON")
