"""Sets a release back to an earlier digest at a person's request. The release moves, tags don't."""

import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile

from tallyman.domain.events.hints import RollBack
from tallyman.domain.gates.recalled import recalls
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.promotions import Promoted
from tallyman.domain.history.details.releases import Released
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.people import who
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, whole_millis
from tallyman.errors import BadInput, BadMessage, LeaseHeld, NotFound, Refused, TransientError
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import LONGEST_DELAY, Hints
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.releases.pointer import Releases, releases, roll_back_id
from tallyman.services.shared.lease import Leases
from tallyman.state import leases
from tallyman.state.items import checks
from tallyman.state.stops import RECALLS
from tallyman.values import value

MOST_TRIES = 10
PATIENCE = 3.0
"""Seconds to wait for a promotion of the repository that is setting its tags."""
SKEW = timedelta(minutes=1)
"""How far the clock of the worker that recorded a release may be behind the one that times requests."""


@value
class RollBacks:
    """Carries out roll-backs that record_command recorded. The recorded fact counts; the hint only names it."""

    policy: Policy
    source: ImageSource
    ledger: Ledger
    state: State
    hints: Hints
    releases: Releases
    clock: Clock
    leases: Leases

    def carry_out(self, hint: RollBack) -> str:
        """Carry out one request, once: its hint may arrive again after the release has moved on. Return the line for
        the log.

        Raises BadMessage where there is no such request, and Refused, with the reason, where it can't be carried out;
        that is recorded too. Cost: a call for each registry of the environment, the releases since the request, four
        writes.
        """
        facts = self.ledger.of_digest(hint.digest)
        asked = next((f for f in facts if _is_request(f, hint.request)), None)
        if asked is None:
            raise BadMessage(f"there is no request {hint.request} to roll back to {hint.digest}")
        said = Said.parse(asked)
        environment, name = str(said.environment), str(said.name)
        if (refused := _refusal(facts, asked)) is not None:
            raise Refused(refused)
        if any(fact.id == roll_back_id(asked) for fact in facts):
            self.releases.announce(environment, name)
            return "rolled back"
        try:
            worker, hold = secrets.token_hex(8), self.leases.hold
            # the first lease keeps retention from removing the image between the check and the release
            with (
                hold(environment, leases.of_image(name, hint.digest), worker, patience=PATIENCE),
                hold(environment, name, worker, patience=PATIENCE) as lease,
            ):
                tags = self._check(asked, facts)
                self.releases.announce(environment, name)  # the ledger then has every release until now
                self._require_latest(asked, environment, name)
                stops = checks(self.state, (RECALLS,))
                if recalls(load_image_facts(self.ledger, self.state, hint.digest)):
                    raise Refused(f"{hint.digest}, or an image beneath it, was recalled: it can't be released again")
                self.releases.rolled_back(asked, tags, lease, stops)
        except TransientError as error:
            if hint.attempt >= MOST_TRIES:
                self._refuse(asked, f"given up after {hint.attempt} tries: {error}")
                raise Refused(str(error)) from error
            least = 4 if isinstance(error, LeaseHeld) else 2
            delay = min(LONGEST_DELAY, max(least, 2 ** (hint.attempt + 1)))
            self.hints.send("promote", replace(hint, attempt=hint.attempt + 1).dump(), delay=delay)
            return f"roll-back tried again in {delay} s: {error}"
        except (Refused, BadInput) as error:
            self._refuse(asked, str(error))
            raise
        self.releases.announce(environment, name)
        return "rolled back"

    def _check(self, asked: Fact, facts: list[Fact]) -> tuple[str, ...]:
        """The tags under which the digest was promoted. Raises Refused where the environment can't run it."""
        said, digest = Said.parse(asked), asked.digest
        environment, name = str(said.environment), str(said.name)
        assert digest is not None  # the fact is in the partition of its digest
        brought = Promoted.of(f for f in facts if f.kind is Kind.PROMOTED)
        there = self.policy.environment(environment)
        promoted = [one for one in brought if one.is_into(there, name, self.policy.environments)]
        if not promoted:
            raise Refused(f"{name}@{digest} was never promoted to {environment}: there is nothing to roll back to")
        missing = []
        for place in there.repositories(name):
            try:
                found = self.source.describe(place, [digest])
            except NotFound:
                found = []
            if not any(detail.digest == digest and not detail.archived for detail in found):
                missing.append(str(place.registry))
        if missing:
            raise Refused(
                f"{name}@{digest} is no longer in {', '.join(missing)}: every registry of the environment must have it"
            )
        return tuple(dict.fromkeys(tag for one in promoted for tag in one.tags))

    def _require_latest(self, asked: Fact, environment: str, name: str) -> None:
        """Raise Refused where a later request was carried out: messages arrive in any order, and people mean the
        last."""
        since = takewhile(lambda f: f.at > asked.at - SKEW, releases(self.ledger, environment, name))
        for fact in since:
            released = Released.parse(fact)
            if fact.digest is None or released.change != "roll_back" or released.decision is None:
                continue
            there = self.ledger.of_digest(fact.digest)
            other = next((f for f in there if f.id == released.decision["id"]), asked)
            if (other.at, other.id) > (asked.at, asked.id):
                raise Refused(
                    f"{who(other)} requested at {format_time(other.at)}, later, to roll {environment} back to "
                    f"{fact.digest.short}, and that was done"
                )

    def _refuse(self, asked: Fact, reason: str) -> None:
        """Record the refusal beside the request, for the command that waits for it."""
        now = whole_millis(self.clock())
        fact = Fact(
            kind=Kind.REQUESTED,
            id=_refusal_id(asked),
            at=now,
            seen=now,
            via=Via.PERSON,
            digest=asked.digest,
            actor=asked.actor,
            detail=replace(Said.parse(asked), refused=reason).dump(),
        )
        self.ledger.append(fact)


def _is_request(fact: Fact, request: str) -> bool:
    said = Said.parse(fact)
    return fact.kind is Kind.REQUESTED and (said.command, said.request) == ("roll-back", request) and not said.refused


def _refusal(facts: Sequence[Fact], asked: Fact) -> str | None:
    """Why the request was refused before; None: it was not."""
    return next((Said.parse(fact).refused for fact in facts if fact.id == _refusal_id(asked)), None)


def _refusal_id(asked: Fact) -> str:
    return fact_id("roll-back refused", asked.id)
