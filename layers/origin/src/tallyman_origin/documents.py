"""JSON and base64 of signatures, read strictly: they were written by whoever could push."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence

LARGEST = 1024 * 1024
"""Bytes of a payload or a bundle."""
DEEPEST = 64
"""Levels of a document."""

Json = Mapping[str, object]


class NotValid(Exception):
    """The signature does not count, for the reason that the message gives."""


def parse(raw: bytes, what: str) -> Json:
    """A JSON object. Raises NotValid where it is too large, too deep, names a key twice, or is none."""
    if len(raw) > LARGEST:
        raise NotValid(f"{what} has {len(raw)} bytes, more than {LARGEST}")
    if _depth(raw) > DEEPEST:
        raise NotValid(f"{what} is nested deeper than {DEEPEST} levels")
    try:
        found = json.loads(raw, object_pairs_hook=_once)
    except NotValid as error:
        raise NotValid(f"{what}: {error}") from None
    except ValueError:
        raise NotValid(f"{what} is not JSON") from None
    if not isinstance(found, dict):
        raise NotValid(f"{what} is not a JSON object")
    return found


def decoded(text: object, what: str) -> bytes:
    """Base64, strict. Raises NotValid."""
    if not isinstance(text, str):
        raise NotValid(f"{what} is missing")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotValid(f"{what} is no base64") from None


def part(document: Json, *path: str) -> Json:
    """The object at this path; an empty one where there is none."""
    for key in path:
        document = mapping(document.get(key))
    return document


def mapping(value: object) -> Json:
    """The object that this is; an empty one where it is none."""
    return value if isinstance(value, Mapping) else {}


def items(document: Json, key: str) -> Sequence[object]:
    """The list under a key; an empty one where there is none."""
    found = document.get(key)
    return found if isinstance(found, list) else ()


def whole(value: object, what: str) -> int:
    """A whole number from 0 on; protobuf writes 64-bit ones as text. Raises NotValid."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
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
    """Brackets that are open at once at most; those within texts count too: this only keeps the parser from harm."""
    depth = most = 0
    for byte in raw:
        if byte in b"[{":
            depth += 1
            most = max(most, depth)
        elif byte in b"]}":
            depth -= 1
    return most
