"""Parse the JSON and base64 of signatures strictly: anybody who may push may have written them."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence

LARGEST = 1024 * 1024
"""Bytes that a payload or a bundle may have."""
DEEPEST = 64
"""Levels of nesting that a document may have."""

Json = Mapping[str, object]


class NotValid(Exception):
    """The signature is not valid; the message says why."""


def parse(raw: bytes, what: str) -> Json:
    """The JSON object in these bytes, in UTF-8. Raises NotValid where it is too large, too deep, has a key twice, has
    half of a surrogate pair, which no fact can store, or is not one."""
    if len(raw) > LARGEST:
        raise NotValid(f"{what} has {len(raw)} bytes, more than {LARGEST}")
    if _depth(raw) > DEEPEST:
        raise NotValid(f"{what} is nested deeper than {DEEPEST} levels")
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_once)
        json.dumps(found, ensure_ascii=False).encode()
    except NotValid as error:
        raise NotValid(f"{what}: {error}") from None
    except UnicodeEncodeError:
        raise NotValid(f"{what} holds half of a surrogate pair") from None
    except ValueError:
        raise NotValid(f"{what} is not JSON") from None
    if not isinstance(found, dict):
        raise NotValid(f"{what} is not a JSON object")
    return found


def decoded(text: object, what: str) -> bytes:
    """The bytes of strict base64. Raises NotValid."""
    if not isinstance(text, str):
        raise NotValid(f"{what} is missing")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotValid(f"{what} is not base64") from None


def part(document: Json, *path: str) -> Json:
    """The object at this path; empty where there is none."""
    for key in path:
        document = mapping(document.get(key))
    return document


def mapping(value: object) -> Json:
    """The value where it is an object; otherwise an empty object."""
    return value if isinstance(value, Mapping) else {}


def items(document: Json, key: str) -> Sequence[object]:
    """The list under a key; empty where there is none."""
    found = document.get(key)
    return found if isinstance(found, list) else ()


def whole(value: object, what: str) -> int:
    """A non-negative integer; protobuf writes 64-bit integers as text. Raises NotValid."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
        return value
    raise NotValid(f"{what} is not a number")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotValid("a key is there twice")
    return found


def _depth(raw: bytes) -> int:
    """The deepest nesting of brackets, those within strings included: it only protects the parser."""
    depth = most = 0
    for byte in raw:
        if byte in b"[{":
            depth += 1
            most = max(most, depth)
        elif byte in b"]}":
            depth -= 1
    return most
