"""Commands of people, as the commands queue delivers them. The sender is not part of a command: SQS reports it."""

from typing import Any

from tallyman.domain.images.documents import loads_writable
from tallyman.domain.names import Digest, parse_repository_name
from tallyman.errors import BadInput, BadMessage
from tallyman.values import value

_CANDIDATE = ("digest", "repository", "from", "to")
_FIELDS: dict[str, tuple[str, ...]] = {
    "promote": _CANDIDATE,
    "approve": (*_CANDIDATE, "because"),
    "deny": (*_CANDIDATE, "because"),
    "override": (*_CANDIDATE, "gate", "because"),
    "check": ("digest", "repository", "environment", "check", "result", "because"),
    "recall": ("digest", "because"),
    "freeze": ("environment", "because"),
    "thaw": ("environment", "because"),
    "roll-back": ("digest", "repository", "environment", "because"),
    "replay": ("queue", "letters"),
    "discard": ("queue", "letters", "because"),
}
COMMANDS = tuple(_FIELDS)
RESULTS = ("passed", "failed")
"""The results of a check."""
MOST_LETTERS = 50
"""The largest number of letters that one command may name."""
LONGEST = 1000
"""The largest number of characters of a reason."""


@value
class Command:
    """One command. `request`: the id that its sender gave it; a command that arrives twice with one id counts once.

    `digest`: None for freeze, thaw, replay and discard. `repository` (canonical name), `source` and `target`: the
    promotion candidate of promote, approve, deny and override. For check, freeze, thaw and roll-back, `target` is the
    environment; freeze and thaw without a `repository` concern all of it. `check` and `result`: a check, and one of
    RESULTS. `queue` and `letters` (ids): those of replay and discard.
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

    @property
    def posted(self) -> tuple[Digest, str, str, str]:
        """Image, repository, environment and check of a command `check`, which always has them."""
        assert self.digest is not None
        assert self.repository is not None
        assert self.target is not None
        assert self.check is not None
        return self.digest, self.repository, self.target, self.check


def parse_command(body: str) -> Command:
    """Parse `{"command": "approve", "request": …}`. Raises BadMessage that says what was expected."""
    try:
        message: Any = loads_writable(body)
    except ValueError as error:
        raise BadMessage(f"the message is not JSON ({error}): expected a command") from None
    if not isinstance(message, dict):
        raise BadMessage("the message is not a command: expected an object with 'command' and 'request'")
    name = message.get("command")
    if not isinstance(name, str) or name not in _FIELDS:
        raise BadMessage(f"unknown command '{name}': expected {', '.join(COMMANDS)}")
    wanted = ("command", "request", *_FIELDS[name])
    if any(not isinstance(message.get(key), str) or not message[key].strip() for key in wanted):
        raise BadMessage(f"the message is not a command {name}: expected the strings {', '.join(wanted)}")
    because = message["because"].strip() if "because" in wanted else None
    if name == "replay" and isinstance(message.get("because"), str):
        because = message["because"].strip() or None
    letters = tuple(dict.fromkeys(message["letters"].split())) if "letters" in wanted else ()
    if len(letters) > MOST_LETTERS:
        raise BadMessage(f"the command {name} names {len(letters)} letters; at most {MOST_LETTERS} are allowed")
    if because and len(because) > LONGEST:
        raise BadMessage(f"the command {name}: a reason has at most {LONGEST} characters")
    if "result" in wanted and message["result"] not in RESULTS:
        raise BadMessage(f"the command {name}: '{message['result']}' is not a result: expected {' or '.join(RESULTS)}")
    repository = message.get("repository") or None
    given: dict[str, str] = {key: message[key] for key in wanted}
    try:
        return Command(
            name=name,
            request=message["request"],
            digest=Digest.parse(message["digest"]) if "digest" in wanted else None,
            repository=parse_repository_name(str(repository)) if repository and name != "recall" else None,
            source=given.get("from"),
            target=given.get("to") or given.get("environment"),
            gate=given.get("gate"),
            because=because,
            check=given.get("check"),
            result=given.get("result"),
            queue=given.get("queue"),
            letters=letters,
        )
    except BadInput as error:
        raise BadMessage(f"the command {name}: {error}") from None
