"""Parse headers that `http.client` does not: `WWW-Authenticate`, `Retry-After` (RFC 9110) and `Link` (RFC 8288)."""

import re
import time
from collections.abc import Iterable, Iterator
from email.message import Message
from email.utils import parsedate_to_datetime

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'[\s,]*({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_SCHEME = re.compile(rf"[\s,]*({_TOKEN})(?=[\s,]|$)(?![ \t]*=)")
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
_LINK = re.compile(r"[\s,;]*<([^>]*)>")
_LINK_PARAMETER = re.compile(rf'[ \t]*;[ \t;]*({_TOKEN})[ \t]*(?:=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]*)))?')


def challenges(values: Iterable[str]) -> list[tuple[str, dict[str, str]]]:
    """The challenges of all `WWW-Authenticate` headers: scheme and parameters, both named in lower case. The rest of a
    header after something invalid is ignored."""
    found: list[tuple[str, dict[str, str]]] = []
    for value in values:
        at = 0
        while match := _SCHEME.match(value, at):
            parameters: dict[str, str] = {}
            found.append((match[1].lower(), parameters))
            at = match.end()
            if opaque := _TOKEN68.match(value, at):
                at = opaque.end()
                continue
            while given := _PARAMETER.match(value, at):
                parameters.setdefault(given[1].lower(), _unquoted(given))
                at = given.end()
    return found


def links(values: Iterable[str], relation: str) -> Iterator[str]:
    """The targets with this relation in all `Link` headers, as written: often relative."""
    for value in values:
        at = 0
        while match := _LINK.match(value, at):
            at, relations = match.end(), ""
            while given := _LINK_PARAMETER.match(value, at):
                if given[1].lower() == "rel" and not relations:  # RFC 8288: only the first counts
                    relations = _unquoted(given)
                at = given.end()
            if relation in relations.lower().split():
                yield match[1].strip()


def retry_after(headers: Message) -> float | None:
    """The seconds in `Retry-After`, or until the date in it, counted from the answer's own `Date`; None where it is
    missing or invalid."""
    text = str(headers.get("Retry-After", "")).strip()
    if text.isascii() and text.isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(str(headers.get("Date", ""))).timestamp()
    except (ValueError, OverflowError):
        now = time.time()
    return max(0.0, until - now)


def _unquoted(match: re.Match[str]) -> str:
    return re.sub(r"\\(.)", r"\1", match[2]) if match[2] is not None else match[3] or ""
