"""Reads the letters of the stack's queues, for the commands and the page."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tallyman.domain.events.letters import BOXES, Letter
from tallyman.errors import BadInput
from tallyman_cli.shared import context, output

MOST = 1000
"""Letters that are read of each queue at most."""
SHORTEST = 8
"""Characters of a letter's id that are enough, if no other id begins with them."""


def letters(
    stack: context.Stack,
    queue: str | None = None,
    reason: str | None = None,
    say: Callable[[str], None] = output.trouble,
) -> list[Letter]:
    """The letters of one queue (`queue`) or of all, whose reason or error contains `reason`, the oldest first. `say`
    gets a note if a queue holds more than are read. Raises BadInput for an unknown queue."""
    if queue is not None and queue not in BOXES:
        raise BadInput(f"--queue: '{queue}' is not a queue that has letters: expected {', '.join(BOXES)}")
    found: list[Letter] = []

    def read(name: str) -> list[Letter]:
        with stack.letters.opened(name, MOST) as opened:
            return list(opened)

    names = BOXES if queue is None else (queue,)
    with ThreadPoolExecutor(len(names)) as pool:  # an empty queue answers after a second
        for name, some in zip(names, pool.map(read, names), strict=True):
            if len(some) >= MOST:
                say(f"the queue {name} holds more: the first {MOST} letters are read")
            found += some
    wanted = (reason or "").casefold()
    kept = [each for each in found if wanted in f"{each.error or ''} {why(each)}".casefold()]
    return sorted(kept, key=lambda each: (each.sent, each.id))


def named(some: Sequence[Letter], ids: Sequence[str]) -> list[Letter]:
    """The letters with these ids, or with ids that begin so. Raises BadInput if that is no letter, or several."""
    found: dict[str, Letter] = {}
    for given in ids:
        matching = [each for each in some if each.id == given or (len(given) >= SHORTEST and each.id.startswith(given))]
        if len(matching) != 1:
            many = (
                f"is the beginning of {len(matching)} letters" if matching else "is not a letter: it may be gone by now"
            )
            raise BadInput(f"'{given}' {many} (tallyman letters list)")
        found[matching[0].id] = matching[0]
    return list(found.values())


def why(letter: Letter) -> str:
    """Why the message became a letter."""
    return letter.reason or "a function failed on it again and again: its log says why"


def as_json(letter: Letter) -> dict[str, Any]:
    """A letter as JSON. `again`: the command line that repeats the person's command in it; null if it holds none."""
    return {
        "letter": letter.id,
        "queue": letter.queue,
        "sent": output.time(letter.sent),
        "source": letter.source,
        "reason": letter.reason,
        "error": letter.error,
        "function": letter.function,
        "again": again(letter.command) if letter.command else None,
    }


def again(command: Mapping[str, object]) -> str | None:
    """The command line that repeats the command; None: it is no known command."""

    def of(key: str) -> str:
        return str(command.get(key) or "")

    name = of("command")
    image = f"{of('from')}/{of('repository')}@{of('digest')}"
    place = of("environment") + (f"/{of('repository')}" if command.get("repository") else "")
    words = {
        "promote": ["promote", image, "--to", of("to")],
        "approve": ["approve", image, "--to", of("to")],
        "deny": ["deny", image, "--to", of("to")],
        "override": ["promote", image, "--to", of("to"), "--override", of("gate")],
        "check": ["check", "post", f"{place}@{of('digest')}", of("check"), f"--{of('result')}"],
        "recall": ["recall", f"ENVIRONMENT/REPOSITORY@{of('digest')}"],
        "freeze": ["freeze", place],
        "thaw": ["thaw", place],
        "roll-back": ["release", "roll-back", place, "--to", of("digest")],
        "replay": ["letters", "replay", *of("letters").split()],
        "discard": ["letters", "discard", *of("letters").split()],
    }.get(name)
    if words is None:
        return None
    because = ["--because", of("because")] if command.get("because") else []
    return " ".join(["tallyman", *(shlex.quote(word) for word in [*words, *because])])
