"""What people ask for, as it comes through the commands queue, parsed once. Who asks is not in it: SQS says that."""

from typing import Any

from tallyman.domain.images.documents import loads_writable
from tallyman.domain.names import Digest, parse_repository_name
from tallyman.errors import BadInput, BadMessage
from tallyman.values import value

_DOOR = ("digest", "repository", "from", "to")
_FIELDS: dict[str, tuple[str, ...]] = {
    "promote": _DOOR,
    "approve": (*_DOOR, "because"),
    "deny": (*_DOOR, "because"),
    "override": (*_DOOR, "gate", "because"),
    "check": ("digest", "repository", "environment", "check", "result", "because"),
    "recall": ("digest", "because"),
    "freeze": ("environment", "because"),
    "thaw": ("environment", "because"),
    "roll-back": ("digest", "repository", "environment", "because"),
    "replay": ("queue", "letters"),
    "discard": ("queue", "letters", "because"),
}
LETTERS = ("replay", "discard")
"""The commands about dead letters: sent to their queue again, or removed."""
COMMANDS = tuple(_FIELDS)
RESULTS = ("passed", "failed")
"""Of a check."""
MOST_LETTERS = 50
"""Letters that one command names at most."""
LONGEST = 1000
"""Characters of a reason."""


@value
class Command:
    """One command. `request` is the asker's id of it: the same one sent twice is one.

    `digest`: of all but freeze, thaw, replay and discard; `repository` (canonical name), `source` and `target`: the
    promotion candidate of promote, approve, deny and override; for check, freeze, thaw and roll-back `target` is the
    environment, and `repository` None all of it (freeze and thaw alone). `check` and `result`: which check had which of
    RESULTS. `queue` and `letters` (ids): of replay and discard.
    """

    name: str
    request: str
    digest: Digest | None = None
    repository: str | None = None
    source: str | None = None
    target: str | None = None
    gate: str | None = None
    because: str | None = None
    check: str | None = None
    result: str | None = None
    queue: str | None = None
    letters: tuple[str, ...] = ()


def parse_command(body: str) -> Command:
    """`{"command": "approve", "request": …}`; raises BadMessage that says what was expected."""
    try:
        message: Any = loads_writable(body)
    except ValueError as error:
        raise BadMessage(f"the message is not JSON ({error}): expected a command") from None
    if not isinstance(message, dict):
        raise BadMessage("the message is not a command: expected an object with 'command' and 'request'")
    name = message.get("command")
    if not isinstance(name, str) or name not in _FIELDS:
        raise BadMessage(f"'{name}' is not a command that is known: expected {', '.join(COMMANDS)}")
    wanted = ("command", "request", *_FIELDS[name])
    if any(not isinstance(message.get(key), str) or not message[key].strip() for key in wanted):
        raise BadMessage(f"the message is not a command {name}: expected the texts {', '.join(wanted)}")
    because = message["because"].strip() if "because" in wanted else None
    if name == "replay" and isinstance(message.get("because"), str):
        because = message["because"].strip() or None
    letters = tuple(dict.fromkeys(message["letters"].split())) if "letters" in wanted else ()
    if len(letters) > MOST_LETTERS:
        raise BadMessage(f"the command {name} names {len(letters)} letters; at most {MOST_LETTERS} fit")
    if because and len(because) > LONGEST:
        raise BadMessage(f"the command {name}: a reason has at most {LONGEST} characters")
    if "result" in wanted and message["result"] not in RESULTS:
        raise BadMessage(f"the command {name}: '{message['result']}' is not a result: expected {' or '.join(RESULTS)}")
    repository = message.get("repository") or None
    try:
        return Command(
            name=name,
            request=message["request"],
            digest=Digest.parse(message["digest"]) if "digest" in wanted else None,
            repository=parse_repository_name(str(repository)) if repository and name != "recall" else None,
            source=message["from"] if "from" in wanted else None,
            target=message["to"] if "to" in wanted else message.get("environment"),
            gate=message["gate"] if "gate" in wanted else None,
            because=because,
            check=message["check"] if "check" in wanted else None,
            result=message["result"] if "result" in wanted else None,
            queue=message["queue"] if "queue" in wanted else None,
            letters=letters,
        )
    except BadInput as error:
        raise BadMessage(f"the command {name}: {error}") from None
