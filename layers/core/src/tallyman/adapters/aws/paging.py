"""Lists of AWS: read every page; raise where pages repeat, or where an answer has no list; ask in batches."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from tallyman.adapters.errors.translate import translated
from tallyman.errors import Unreachable

Answer = Mapping[str, Any]


def batches(items: Iterable[Any], size: int = 100) -> Iterator[list[Any]]:
    """The distinct items in lists of at most `size`: most calls that take several take 100."""
    distinct = iter(dict.fromkeys(items))
    while batch := list(islice(distinct, size)):
        yield batch


def pages(
    ask: Callable[..., Any],
    request: Mapping[str, Any],
    what: str,
    tokens: tuple[str, str] = ("nextToken", "nextToken"),
) -> Iterator[Answer]:
    """Every page of a call. `tokens`: the key of the token in the answer, and its key in the request.

    Raises Unreachable where a token comes a second time: that list would never end.
    """
    answered, asked = tokens
    given = dict(request)
    seen: set[str] = set()
    while True:
        with translated(what):
            answer: Answer = ask(**given)
        yield answer
        token = answer.get(answered)
        if not token:
            return
        if token in seen:
            raise Unreachable(f"{what}: the answer names the same next page twice")
        seen.add(token)
        given[asked] = token


def listed(answer: Answer, key: str, what: str) -> list[Any]:
    """The list under the key. Raises Unreachable where it is missing: that does not mean an empty list."""
    found = answer.get(key)
    if not isinstance(found, list):
        raise Unreachable(f"{what}: the answer lacks '{key}'")
    return found


def items(
    ask: Callable[..., Any],
    request: Mapping[str, Any],
    key: str,
    what: str,
    tokens: tuple[str, str] = ("nextToken", "nextToken"),
) -> Iterator[Any]:
    """The items of every page. Raises as `pages` and `listed`."""
    for answer in pages(ask, request, what, tokens):
        yield from listed(answer, key, what)
