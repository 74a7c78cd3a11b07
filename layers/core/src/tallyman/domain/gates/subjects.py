"""Subjects of certificates (RFC 4514), and which of them a trust policy of Notation matches."""

import re

_PAIR = r"(?s)\\([0-9A-Fa-f]{2}|.)"
_TYPE = r"[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+"
_REQUIRED = ("C", "ST", "O")


def parse_subject(text: str) -> dict[str, str]:
    """Parse a subject; return its values by type, with `S` as `ST`. Raises ValueError for a part that is not
    `TYPE=value`, and for a repeated type."""
    found: dict[str, str] = {}
    for part in re.findall(r"(?:\\.|[^,\\])+", text, re.DOTALL):
        kind, equals, value = part.partition("=")
        kind = kind.strip().upper()
        kind = "ST" if kind == "S" else kind
        if not equals or not re.fullmatch(_TYPE, kind) or re.search(r"(?<!\\)\+", value):
            raise ValueError(f"{part.strip()!r} is not one TYPE=value of a subject")
        if kind in found:
            raise ValueError(f"the subject has {kind} twice")
        found[kind] = _unescaped(value.strip())
    return found


def parse_trusted(text: str) -> dict[str, str]:
    """Parse the subject that a policy trusts. Raises ValueError unless it has a country, a state and an
    organization."""
    try:
        found = parse_subject(text)
    except ValueError as error:
        raise ValueError(f"expected the subject of a certificate, as in C=US, ST=WA, O=Rocketseat: {error}") from None
    if missing := [kind for kind in _REQUIRED if not found.get(kind)]:
        raise ValueError(f"the subject must name {', '.join(_REQUIRED)}; {', '.join(missing)} is missing")
    return found


def is_meant(trusted: str, subject: str) -> bool:
    """Whether the subject has every part of the trusted one. False where either can't be read."""
    try:
        return parse_trusted(trusted).items() <= parse_subject(subject).items()
    except ValueError:
        return False


def _unescaped(value: str) -> str:
    """The value without escapes; escaped bytes are UTF-8."""
    raw = b""
    at = 0
    for found in re.finditer(_PAIR, value):
        raw += value[at : found.start()].encode()
        raw += bytes.fromhex(found[1]) if len(found[1]) == 2 else found[1].encode()
        at = found.end()
    return (raw + value[at:].encode()).decode("utf-8", "replace")
