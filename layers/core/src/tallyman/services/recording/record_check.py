"""Records the result of a check that another system put on the stack's bus, if the policy names its account and source.

EventBridge records the account whose credentials sent an event, which nobody can forge. The sender chooses the source,
which IAM can restrict (the condition key `events:source`). So a check names both.
"""

import json
from datetime import datetime

from tallyman.domain.events.commands import Command, parse_command
from tallyman.domain.events.eventbridge import CheckPosted
from tallyman.domain.gates.check import CheckGate, posters
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact, Kind, Via
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.policy import Policy
from tallyman.ports.clocks import Clock
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.values import value


@value
class RecordCheck:
    """Records the result like one that a person posts: the same kind of fact, for the same gate."""

    policy: Policy
    evaluator: Evaluator
    clock: Clock

    def record(self, event: CheckPosted, sent: datetime) -> str:
        """Record one result; return the line for the log. `sent`: when SQS received the event, which decides which
        result is the latest, because the sender chooses the time in the event. Raises BadMessage where a sender that
        the policy names used another form.

        Cost: nothing where the policy does not name the sender; else a Query, a write, and a decision about the image.
        """
        if event.sender not in self._senders():
            return f"ignored: no check of the policy names {event.sender}"
        command = parse_command(json.dumps({**event.said, "command": "check", "request": event.id}))
        if refusal := self._refusal(command, event.sender):
            return f"ignored: {refusal}"
        digest, fact = command.posted[0], self._fact(command, event, sent)
        if all(known.id != fact.id for known in self.evaluator.ledger.of_digest(digest)):
            self.evaluator.ledger.append(fact)
        self.evaluator.digest(digest, event.id, again=True)
        return "check recorded"

    def _senders(self) -> set[str]:
        promotions = [promotion for rule in self.policy.repositories for promotion in rule.promotions]
        gates = [promotion.gates.get("check") for promotion in promotions]
        return {name for gate in gates if isinstance(gate, CheckGate) for each in gate.checks for name in each.roles}

    def _refusal(self, command: Command, sender: str) -> str | None:
        """Why the result is ignored; None: it counts."""
        digest, name, environment, check = command.posted
        if environment not in self.policy.environments:
            return f"unknown environment '{environment}'"
        if sender not in posters(self.policy.promotions_from(environment, name), check):
            return f"{sender} may not post the check {check} of {environment}/{name}"
        places = self.policy.environment(environment).repositories(name)
        facts = self.evaluator.ledger.of_digest(digest)
        if not any(fact.kind in PUSHES and fact.repository in places for fact in facts):
            return f"{environment}/{name}@{digest} is not known"
        return None

    def _fact(self, command: Command, event: CheckPosted, sent: datetime) -> Fact:
        said = Said(
            command="check",
            request=event.id,
            principal=event.sender,
            because=command.because,
            name=command.repository,
            environment=command.target,
            check=command.check,
            result=command.result,
        )
        key, actor, digest = (event.id, event.sender), f"event:{event.id}", command.digest
        return new_fact(Kind.CHECKED, key, said, self.clock(), at=sent, via=Via.EVENT, digest=digest, actor=actor)
