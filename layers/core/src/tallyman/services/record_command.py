"""A person asked for something: who it was is SQS's word, not the message's; check it, write it down, decide."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tallyman.domain.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history import PUSHES
from tallyman.domain.names import Digest, parse_repository_name
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import BadInput, BadMessage, NotAllowed
from tallyman.ports import Clock, Ledger, People
from tallyman.services.judge import Judge

COMMANDS = ("promote",)


@dataclass(frozen=True, slots=True)
class RecordCommand:
    """The reaction to the commands queue: `{"command", "request", "digest", "repository", "from", "to"}`."""

    policy: Policy
    ledger: Ledger
    people: People
    judge: Judge
    clock: Clock

    def handle(self, body: str, sender_id: str, sent: datetime) -> str:
        """Writes the request down under the sender's name and decides. `sent`: when SQS took the message.

        Raises BadMessage for what is no command, NotAllowed where the policy does not let this sender ask; what was
        refused is written down too, with its reason.
        """
        message = _parse(body)
        digest = Digest.parse(message["digest"])
        refusal = self._refusal(message, digest, sender_id)
        fact = Fact(
            kind=Kind.REQUESTED,
            id=fact_id(Kind.REQUESTED, message["request"], sender_id, refusal),
            at=whole_millis(sent),
            seen=whole_millis(self.clock()),
            via=Via.PERSON,
            digest=digest,
            actor=sender_id,
            detail={
                "command": message["command"],
                "request": message["request"],
                "name": message["repository"],
                "from": message["from"],
                "to": message["to"],
                "refused": refusal,
            },
        )
        self.ledger.append(fact)
        if refusal:
            raise NotAllowed(refusal)
        self.judge.digest(digest, message["request"])
        return f"{message['command']} recorded"

    def _refusal(self, message: dict[str, str], digest: Digest, sender_id: str) -> str | None:
        allowed = self.policy.people.allowed(message["command"])
        if allowed is not None and self.people.principal(sender_id, allowed) is None:
            who = ", ".join(allowed) or "nobody"
            return f"{sender_id} may not {message['command']}: the policy (people.{message['command']}) lets {who}"
        name, source, target = message["repository"], message["from"], message["to"]
        if not any(p.target == target for p in self.policy.promotions_from(source, name)):
            return f"the policy has no promotion of {name} from {source} to {target}"
        places = self.policy.environment(source).repositories(name)
        if not any(f.kind in PUSHES and f.repository in places for f in self.ledger.of_digest(digest)):
            return f"{source}/{name}@{digest} is not known: was it pushed to {source}? `tallyman reconcile` looks"
        return None


def _parse(body: str) -> dict[str, str]:
    try:
        message: Any = json.loads(body)
    except ValueError as error:
        raise BadMessage(f"the message is no JSON ({error}): expected a command") from None
    wanted = ("command", "request", "digest", "repository", "from", "to")
    if not isinstance(message, dict) or any(not isinstance(message.get(k), str) or not message[k] for k in wanted):
        raise BadMessage(f"the message is no command: expected the texts {', '.join(wanted)}")
    if message["command"] not in COMMANDS:
        raise BadMessage(f"'{message['command']}' is no command that is known: expected {', '.join(COMMANDS)}")
    try:
        Digest.parse(message["digest"])
        parse_repository_name(message["repository"])
    except BadInput as error:
        raise BadMessage(f"the command {message['command']}: {error}") from None
    return {key: message[key] for key in wanted}
