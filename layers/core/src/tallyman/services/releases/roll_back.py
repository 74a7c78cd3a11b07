"""Sets a release back to an earlier digest at a person's request. The release moves, tags don't."""

import secrets
from dataclasses import replace

from tallyman.domain.events.hints import RollBack
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.promotions import Promoted
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import BadInput, BadMessage, LeaseHeld, NotFound, Refused, TransientError
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import LONGEST_DELAY, Hints
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource
from tallyman.services.releases.pointer import Releases, is_recalled
from tallyman.services.shared.lease import Leases
from tallyman.state.items import checks
from tallyman.state.stops import RECALLS
from tallyman.values import value

MOST_TRIES = 10
PATIENCE = 3.0
"""Seconds to wait for a promotion of the repository that is setting its tags."""


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
        """Carries out one request; returns the line for the log.

        Raises BadMessage where there is no such request, and Refused, with the reason, where it can't be carried out;
        that is recorded too. Cost: a call for each registry of the environment, four writes.
        """
        facts = self.ledger.of_digest(hint.digest)
        asked = next((f for f in facts if _is_request(f, hint.request)), None)
        if asked is None:
            raise BadMessage(f"there is no request {hint.request} to roll back to {hint.digest}")
        said = Said.parse(asked)
        environment, name = str(said.environment), str(said.name)
        try:
            tags = self._check(asked, facts)
            with self.leases.hold(environment, name, secrets.token_hex(8), patience=PATIENCE) as lease:
                stops = checks(self.state, (RECALLS,))
                if is_recalled(self.ledger.of_digest(hint.digest)):
                    raise Refused(f"{hint.digest} was recalled: it can't be released again")
                self.releases.rolled_back(asked, tags, lease, stops)
        except TransientError as error:
            if hint.attempt >= MOST_TRIES:
                self._refuse(asked, f"given up after {hint.attempt} tries: {error}")
                raise Refused(str(error)) from error
            delay = 4 if isinstance(error, LeaseHeld) else min(LONGEST_DELAY, 2 ** (hint.attempt + 1))
            self.hints.send("promote", replace(hint, attempt=hint.attempt + 1).as_json(), delay=delay)
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
        promoted = [one for one in brought if (one.target, one.name) == (environment, name)]
        if not promoted:
            raise Refused(f"{name}@{digest} was never promoted to {environment}: there is nothing to roll back to")
        missing = []
        for place in self.policy.environment(environment).repositories(name):
            try:
                there = self.source.describe(place, [digest])
            except NotFound:
                there = []
            if not any(detail.digest == digest and not detail.archived for detail in there):
                missing.append(str(place.registry))
        if missing:
            raise Refused(
                f"{name}@{digest} is no longer in {', '.join(missing)}: every registry of the environment must have it"
            )
        return tuple(dict.fromkeys(tag for one in promoted for tag in one.tags))

    def _refuse(self, asked: Fact, reason: str) -> None:
        """Records the refusal beside the request, for the command that waits for it."""
        now = whole_millis(self.clock())
        fact = Fact(
            kind=Kind.REQUESTED,
            id=fact_id("roll-back refused", asked.id),
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
