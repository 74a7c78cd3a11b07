"""Brings an image into every registry of an environment, or its tags into none.

The reaction to hints; `promotion_run` is the promotion itself. What fails for now is recorded, and a hint for the
next try sent; what fails for good is recorded as parked.
"""

from dataclasses import replace
from math import ceil

from tallyman.domain.events.hints import DecideAbove, FinishCreation, Promote, RollBack, parse_promotion_hint
from tallyman.errors import LeaseHeld, OutOfTime, RevisionConflict, TallymanError, UnderWay
from tallyman.ports.clocks import Deadline
from tallyman.services.promotion.run import Ended, PromotionRun, Promotions
from tallyman.services.releases.roll_back import RollBacks
from tallyman.values import value

MAX_ROUNDS = 200
"""Continuations of one promotion that did not fit one run, and waits for others that are at it."""


@value
class PromoteImage:
    """The only place that opens a gate."""

    promotions: Promotions
    roll_backs: RollBacks

    def handle(self, body: str, deadline: Deadline) -> str:
        """Handles one hint; returns the line for the log.

        What fails for now is not an error. What fails for good is raised. BadMessage: it is not a hint.
        """
        hint = parse_promotion_hint(body)
        if isinstance(hint, RollBack):
            return self.roll_backs.carry_out(hint)
        if isinstance(hint, FinishCreation):
            return self.promotions.targets.creations.finish(hint.repository)
        if isinstance(hint, DecideAbove):
            return f"{self.promotions.evaluator.above(hint)} decisions about indexes above {hint.digest}"
        return self._promote(hint, deadline)

    def _promote(self, hint: Promote, deadline: Deadline) -> str:
        run = PromotionRun(self.promotions, hint, deadline)
        try:
            return run.carry_out()
        except Ended as end:
            if hint.due and end.decision is not None:
                self.promotions.evaluator.wake(end.decision)
            return end.outcome
        except LeaseHeld as busy:
            return self._wait(hint, max(busy.after, 2.0 ** min(hint.waits, 9)), "another worker is at it")
        except RevisionConflict as moved:
            if hint.waits >= MAX_ROUNDS:
                raise
            return self._wait(hint, 1, str(moved))  # nothing failed: others were faster
        except TallymanError as error:
            if not run.is_decided:  # nothing is known of it yet: the message is offered again
                raise
            return self._failed(hint, run, error)

    def _failed(self, hint: Promote, run: PromotionRun, error: TallymanError) -> str:
        """Another round where it did not fit this one, another try later, or an end of which people are notified."""
        if isinstance(error, OutOfTime):
            return self._continue(hint, run)
        if error.retryable:
            return self.promotions.attempts.delay(run.decision, str(error), hint, isinstance(error, UnderWay))
        self.promotions.attempts.park(run.decision, str(error))
        raise error

    def _continue(self, hint: Promote, run: PromotionRun) -> str:
        rounds = hint.round + 1
        if rounds > MAX_ROUNDS:
            self.promotions.attempts.park(run.decision, f"it did not fit {MAX_ROUNDS} runs")
            return "parked"
        self.promotions.hints.send("promote", replace(hint, round=rounds, waits=0, check=False, due=False).as_json())
        return f"continued in round {rounds}"

    def _wait(self, hint: Promote, seconds: float, why: str) -> str:
        """Looks again later, in a message of its own: the one in hand may be hidden for longer than the other works."""
        delay = min(900, ceil(seconds))
        self.promotions.hints.send("promote", replace(hint, waits=hint.waits + 1).as_json(), delay=delay)
        return f"looked at again in {delay} s: {why}"
