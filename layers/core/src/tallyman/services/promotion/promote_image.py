"""Brings an image into every registry of an environment, or its tags into none.

The reaction to hints; `run` has the promotion itself. A transient failure is recorded and a hint for the next try is
sent; a permanent failure is recorded as parked.
"""

from dataclasses import replace
from math import ceil

from tallyman.domain.decide import PROMOTED
from tallyman.domain.events.hints import DecideAbove, FinishCreation, Promote, RollBack, parse_promotion_hint
from tallyman.errors import LeaseHeld, OutOfTime, RevisionConflict, TallymanError, UnderWay
from tallyman.ports.clocks import Deadline
from tallyman.ports.messages import LONGEST_DELAY
from tallyman.ports.reactions import Outcome, OutcomeKind
from tallyman.services.promotion.roll_back import RollBacks
from tallyman.services.promotion.run import Ended, PromotionRun, Promotions
from tallyman.values import value

MAX_ROUNDS = 200
"""The most continuations of one promotion that does not fit one run, and the most waits for other workers."""


@value
class PromoteImage:
    """The only place that opens a gate."""

    promotions: Promotions
    roll_backs: RollBacks

    def handle(self, body: str, deadline: Deadline) -> Outcome:
        """Handle one hint; return the line for the log and the bytes that were copied.

        A transient failure is not an error: a hint for the next try was sent. A permanent one is raised, and BadMessage
        for what is not a hint.
        """
        hint = parse_promotion_hint(body)
        if isinstance(hint, RollBack):
            return Outcome.handled(self.roll_backs.carry_out(hint))
        if isinstance(hint, FinishCreation):
            return Outcome.handled(self.promotions.targets.creations.finish(hint.repository))
        if isinstance(hint, DecideAbove):
            count = self.promotions.evaluator.above(hint)
            return Outcome.handled(f"{count} decisions about indexes above {hint.digest}")
        run = PromotionRun(self.promotions, hint, deadline)
        text = self._promote(hint, run)
        return Outcome(OutcomeKind.HANDLED, text, run.copied.total)

    def _promote(self, hint: Promote, run: PromotionRun) -> str:
        try:
            return run.carry_out()
        except Ended as end:
            if hint.due and end.decision is not None:
                self.promotions.evaluator.wake(end.decision)
            return end.outcome
        except LeaseHeld as busy:
            return self._wait(hint, max(busy.after, 2.0 ** min(hint.waits, 9)), "another worker holds its lease")
        except RevisionConflict as moved:
            if hint.waits >= MAX_ROUNDS:
                raise
            return self._wait(hint, 1, str(moved))  # nothing failed: another worker was faster
        except TallymanError as error:
            if not run.is_decided:  # nothing can be recorded yet: SQS delivers the message again
                raise
            return self._failed(hint, run, error)

    def _failed(self, hint: Promote, run: PromotionRun, error: TallymanError) -> str:
        """Continue in another round after OutOfTime, try again later, or give the promotion up and notify
        people."""
        if isinstance(error, OutOfTime):
            return self._continue(hint, run)
        if error.retryable and run.decision.verdict == PROMOTED and hint.waits < MAX_ROUNDS:
            return self._wait(hint, 2.0 ** min(hint.waits + 1, 9), str(error))  # it has no pending item
        if error.retryable:
            return self.promotions.attempts.delay(run.decision, str(error), hint, isinstance(error, UnderWay))
        self.promotions.attempts.park(run.decision, str(error))
        raise error

    def _continue(self, hint: Promote, run: PromotionRun) -> str:
        rounds = hint.round + 1
        if rounds > MAX_ROUNDS:
            self.promotions.attempts.park(run.decision, f"it did not fit {MAX_ROUNDS} runs")
            return "parked"
        self.promotions.hints.send("promote", replace(hint, round=rounds, waits=0, check=False, due=False).dump())
        return f"continued in round {rounds}"

    def _wait(self, hint: Promote, seconds: float, why: str) -> str:
        """Send the hint again with a delay: the present message may stay hidden for longer than the other worker
        works."""
        delay = min(LONGEST_DELAY, ceil(seconds))
        self.promotions.hints.send("promote", replace(hint, waits=hint.waits + 1).dump(), delay=delay)
        return f"looked at again in {delay} s: {why}"
