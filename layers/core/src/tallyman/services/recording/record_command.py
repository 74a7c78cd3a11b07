"""Records a person's command after checking the sender, whom SQS names (not the message), and evaluates the image."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from tallyman.domain.decide import Decision
from tallyman.domain.events.commands import Command, parse_command
from tallyman.domain.events.hints import Promote, RollBack
from tallyman.domain.gates import approvals, check
from tallyman.domain.gates.scan import asks_for_approvals
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact, Kind, Via
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest
from tallyman.domain.people import who
from tallyman.domain.policy import Policy, Promotion
from tallyman.domain.policy.people import entry_of
from tallyman.errors import BadMessage, NotAllowed
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Hints, Notices, People
from tallyman.ports.reactions import Outcome, OutcomeKind
from tallyman.ports.records import Ledger, State
from tallyman.services.deciding.evaluator import Evaluator, promote_hint
from tallyman.services.deciding.freezes import freeze_change
from tallyman.services.recording.move_letters import MoveLetters
from tallyman.services.shared.conflicts import until_written
from tallyman.state import pending
from tallyman.state.pending import PENDING
from tallyman.state.stops import RECALLS, stop_change
from tallyman.values import value

_KINDS = {
    "promote": Kind.REQUESTED,
    "approve": Kind.APPROVED,
    "deny": Kind.DENIED,
    "override": Kind.OVERRIDDEN,
    "check": Kind.CHECKED,
    "recall": Kind.RECALLED,
    "freeze": Kind.FROZEN,
    "thaw": Kind.THAWED,
    "roll-back": Kind.REQUESTED,
    "replay": Kind.LETTER,
    "discard": Kind.LETTER,
}


@value
class RecordCommand:
    """The reaction to the commands queue; `domain/events/commands.py` has the form of a message."""

    policy: Policy
    ledger: Ledger
    state: State
    people: People
    hints: Hints
    notices: Notices
    evaluator: Evaluator
    clock: Clock
    letters: MoveLetters

    def handle(self, body: str, sender_id: str, sent: datetime) -> Outcome:
        """Record the command under its sender's name, and evaluate the image. `sent`: when SQS received the message.

        Raises BadMessage for what is not a command, and NotAllowed where the policy does not allow it to this sender; a
        refused command is recorded too, with the reason. Cost: at most a call to IAM for each role that is allowed, one
        write, and an evaluation of the image; for a freeze or thaw a hint for each image that waits there; for letters
        see `MoveLetters`.
        """
        command = parse_command(body)
        if command.target is not None and command.target not in self.policy.environments:
            there = ", ".join(self.policy.environments) or "none"
            raise BadMessage(f"{command.name}: unknown environment '{command.target}'; the policy defines {there}")
        if command.target is None and command.name in ("freeze", "thaw"):
            raise BadMessage(f"{command.name}: no environment is named")
        principal, refusal = self._check(command, sender_id)
        if command.queue is not None and not refusal:
            return self.letters.handle(command, sender_id, principal, sent)
        fact = self._fact(command, sender_id, principal, refusal, sent)
        self._write(fact)
        if refusal:
            raise NotAllowed(refusal)
        if command.name == "roll-back":
            assert command.digest is not None  # of every request to roll back
            self.hints.send("promote", RollBack(command.digest, command.request).dump())
            return Outcome.handled("roll-back recorded")
        if command.name in ("override", "recall"):
            self._notify(command, fact)
        if command.digest is not None:
            decisions = self.evaluator.digest(command.digest, command.request, again=True)
            if command.name == "promote":
                self._bring_again(command, decisions)
        else:
            self._hint_waiting(command)
        kind = OutcomeKind.OVERRIDE if command.name == "override" else OutcomeKind.HANDLED
        return Outcome(kind, f"{command.name} recorded")

    def _check(self, command: Command, sender_id: str) -> tuple[str | None, str | None]:
        """The role by which the sender is allowed (None: the policy names no roles), and why it is refused (None: it is
        not)."""
        allowed = self.policy.people.allowed(command.name)
        principal = self.people.principal(sender_id, allowed) if allowed is not None else None
        if allowed is not None and principal is None:
            return None, self._may_not(sender_id, command.name, allowed, f"people.{entry_of(command.name)}")
        if command.name == "check":
            return self._check_poster(command, sender_id)
        if command.source is None:
            return principal, None
        assert command.digest is not None  # a candidate has a digest
        assert command.repository is not None
        name, source, target = command.repository, command.source, command.target
        promotions = [p for p in self.policy.promotions_from(source, name) if p.target == target]
        if not promotions:
            return principal, f"the policy has no promotion of {name} from {source} to {target}"
        if unknown := self._unknown(source, name, command.digest):
            return principal, unknown
        if command.name in ("approve", "deny"):
            return self._check_approver(command, promotions, sender_id)
        if command.name == "override" and not any(command.gate in p.overridable for p in promotions):
            may = dict.fromkeys(gate for p in promotions for gate in p.overridable)
            return principal, (
                f"the gate '{command.gate}' may not be overridden from {source} to {target}: the policy (overridable) "
                f"allows {', '.join(may) or 'none'}"
            )
        return principal, None

    def _check_approver(
        self, command: Command, promotions: list[Promotion], sender_id: str
    ) -> tuple[str | None, str | None]:
        """Check an approver: only the roles that the gate names count, whatever else `people` says."""
        asking = [p for p in promotions if asks_for_approvals(p)]
        if not asking:
            return None, (
                f"no promotion of {command.repository} from {command.source} to {command.target} asks for approvals"
            )
        roles = tuple(dict.fromkeys(role for p in asking for role in approvals.approvers(self.policy, p)))
        principal = self.people.principal(sender_id, roles)
        if principal is None:
            return None, self._may_not(sender_id, command.name, roles, "approvals.from, people.approve")
        return principal, None

    def _check_poster(self, command: Command, sender_id: str) -> tuple[str | None, str | None]:
        """Check a poster: a result counts only from the roles that the check itself names."""
        digest, name, environment, posted = command.posted
        named = check.posters(self.policy.promotions_from(environment, name), posted)
        roles = tuple(each for each in named if each.startswith("role/"))  # the others are senders of events
        if not roles:
            return None, f"no promotion of {name} from {environment} asks for the check {posted}"
        principal = self.people.principal(sender_id, roles)
        if principal is None:
            return None, self._may_not(sender_id, f"post the check {posted}", roles, "check.from")
        return principal, self._unknown(environment, name, digest)

    def _unknown(self, environment: str, name: str, digest: Digest) -> str | None:
        """Why the command about this image is refused: no push of it to the environment is known. None: one is."""
        places = self.policy.environment(environment).repositories(name)
        if any(f.kind in PUSHES and f.repository in places for f in self.ledger.of_digest(digest)):
            return None
        return f"{environment}/{name}@{digest} is not known: was it pushed to {environment}? `tallyman reconcile` looks"

    def _may_not(self, sender_id: str, command: str, allowed: tuple[str, ...], key: str) -> str:
        return f"{sender_id} may not {command}: the policy ({key}) allows {', '.join(allowed) or 'nobody'}"

    def _fact(
        self, command: Command, sender_id: str, principal: str | None, refusal: str | None, sent: datetime
    ) -> Fact:
        """The fact of the command. A refused command becomes a request that was not granted, which no gate counts."""
        kind = Kind.REQUESTED if refusal else _KINDS[command.name]
        candidate, concerns = command.source is not None, command.name in ("roll-back", "check")
        said = Said(
            command=command.name,
            request=command.request,
            principal=principal,
            because=command.because,
            refused=refusal,
            name=command.repository if concerns or candidate else None,
            source=command.source,
            target=command.target if candidate else None,
            gate=command.gate,
            environment=command.target if concerns else None,
            check=command.check,
            result=command.result,
            repository=command.repository if command.digest is None else None,
        )
        return new_fact(
            kind,
            (command.request, sender_id, refusal),
            said,
            self.clock(),
            at=sent,
            via=Via.PERSON,
            digest=command.digest,
            environment=command.target if command.digest is None else None,
            actor=sender_id,
        )

    def _write(self, fact: Fact) -> None:
        """Write the fact, and in the same transaction the state that it changes: a freeze, or the recall that stops a
        release that is being written now."""

        def write() -> None:
            change = None
            if fact.kind in (Kind.FROZEN, Kind.THAWED):
                change = freeze_change(self.state, fact)
            elif fact.kind is Kind.RECALLED:
                change = stop_change(self.state, RECALLS, fact)
            self.ledger.append(fact, change)

        until_written(write, f"others keep freezing, thawing and recalling in {fact.environment or 'all'}: try again")

    def _hint_waiting(self, command: Command) -> None:
        """Hint `promote_image` of every image that waits there, so that a freeze or thaw takes effect."""
        assert command.target is not None  # checked by handle
        for entry in PENDING.list(self.state, pending.partition(command.target)):
            waits = entry.value
            if command.repository in (None, waits.name):
                hint = Promote(waits.digest, waits.name, waits.source, waits.target, command.request)
                self.hints.send("promote", hint.dump())

    def _bring_again(self, command: Command, decisions: Sequence[Decision]) -> None:
        """Hint `promote_image` of an image that is promoted already: people ask because a target has lost it."""
        wanted = command.digest, (command.repository, command.source, command.target)
        for decision in decisions:
            if (decision.digest, decision.candidate) == wanted and decision.may_go_anew:
                hint = replace(promote_hint(decision, command.request), anew=True)
                self.hints.send("promote", hint.dump())

    def _notify(self, command: Command, fact: Fact) -> None:
        """Send the notice of an override or a recall, at least once."""
        assert command.digest is not None  # of the commands that are announced
        if command.name == "override":
            what = f"{command.gate} is overridden for {command.repository} to {command.target}"
        else:
            what = f"{command.digest.short} is recalled"
        lines = [f"{what} by {who(fact)}: {command.because}", f"Digest: {command.digest}"]
        attributes = {"kind": command.name, "environment": command.target, "repository": command.repository}
        self.notices.publish(what, "\n".join(lines), {key: value for key, value in attributes.items() if value})
