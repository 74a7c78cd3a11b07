"""Brings an image into every registry of an environment, or its tags into none.

Decides again with its own copy of the policy, writes its intent, stages content everywhere, decides again, sets the
tags, reads them back, moves the release. A crash anywhere repeats all of it and changes nothing twice: what is there
is skipped. From the first tag on it only rolls forward.

Two leases keep workers apart: one on the image while content is staged (two workers would only do it twice), one on
the repository while tags and release are set, whose fencing token goes into the write that moves the release.

Cost beyond staging (see `copy`): a look at the targets (two calls a registry, again where staging took long), one
PutImage and one or two reads a tag and registry, about twelve reads and thirteen writes of the tables.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil

from tallyman.domain.decide import CONFLICT, PROMOTED, Decision
from tallyman.domain.events.hints import PromoteHint, to_promote
from tallyman.domain.gates import PASSED, ImageFacts
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.errors import (
    BadInput,
    DigestMismatch,
    LeaseHeld,
    NotFound,
    OutOfTime,
    Refused,
    RevisionConflict,
    TallymanError,
    TransientError,
)
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.messages import Hints
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource, ImageTarget
from tallyman.services.copying.stage import Family, InParts, Staged, family, stage
from tallyman.services.deciding.evaluator import Evaluator, promote_hint
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.deciding.read_signing import ReadSigning
from tallyman.services.promotion.attempts import Attempts
from tallyman.services.promotion.intents import intend
from tallyman.services.promotion.tag_everywhere import tag_everywhere
from tallyman.services.promotion.targets import Targets, worst
from tallyman.services.releases.pointer import Releases
from tallyman.services.releases.roll_back import RollBacks
from tallyman.services.shared.lease import Lease, Leases
from tallyman.state import leases
from tallyman.values import value

MAX_ROUNDS = 200
"""Continuations of one promotion that did not fit one run, and waits for others that are at it."""
FRESH = 5.0
"""Seconds that a look at the targets is good for: where staging took longer they are asked again before the tags."""
TURN = 3.0
"""Seconds to wait for another promotion of the repository that is setting its tags just now."""


@value
class PromoteImage:
    """The reaction to hints `{digest, repository, from, to}`: the only place that opens a gate. `{create}` of reconcile
    names a repository whose creation died."""

    policy: Policy
    source: ImageSource
    target: ImageTarget
    targets: Targets
    ledger: Ledger
    state: State
    hints: Hints
    evaluator: Evaluator
    releases: Releases
    clock: Clock
    roll_backs: RollBacks | None = None
    sleep: Callable[[float], None] = time.sleep
    parts: InParts | None = None
    signing: ReadSigning | None = None

    def handle(self, body: str, deadline: Deadline) -> str:
        """Does what is to be done about one hint; a word for the log.

        What fails for now is written down, and a hint for the next try sent: that is no error. What fails for good is
        written down as parked, and raised. BadMessage: it is no hint.
        """
        message = to_promote(body)
        if "roll_back" in message and self.roll_backs is not None:
            return self.roll_backs.carry_out(message["roll_back"])
        if "create" in message:
            return self.targets.creations.finish(message["create"])
        hint = PromoteHint.parse(message)
        try:
            return self._handle(hint, deadline)
        except LeaseHeld as busy:
            return self._wait(hint, max(busy.after, 2.0 ** min(hint.waits, 9)), "another worker is at it")
        except RevisionConflict as moved:
            if hint.waits >= MAX_ROUNDS:
                raise
            return self._wait(hint, 1, str(moved))  # nothing failed: others were faster

    def _handle(self, hint: PromoteHint, deadline: Deadline) -> str:
        worker = secrets.token_hex(8)
        decision = self._decide(hint)
        if decision is None or not decision.is_candidate:
            return "nothing to do"
        attempts = self.attempts
        if hint.attempt is not None and hint.attempt != attempts.number(decision):
            return "superseded by a later try"
        if self._is_done(hint, decision):
            return PROMOTED
        if not (decision.may_stage or decision.verdict in (CONFLICT, PROMOTED) or attempts.rolls_on(decision)):
            return decision.verdict
        try:
            with self.leases.hold(decision.target, leases.of_image(decision.repository, decision.digest), worker):
                return self._promote(hint, decision, worker, deadline)
        except OutOfTime:
            return self._continue(hint, decision)
        except RevisionConflict:
            raise
        except TransientError as error:
            return attempts.delay(decision, str(error), hint.correlation, hint.round)
        except (Refused, BadInput, DigestMismatch) as error:
            attempts.park(decision, str(error))
            raise

    @property
    def leases(self) -> Leases:
        """What keeps two workers from one promotion."""
        return Leases(self.state, self.clock, self.sleep)

    @property
    def attempts(self) -> Attempts:
        """What is written down of tries that fail."""
        return Attempts(self.policy, self.ledger, self.state, self.hints, self.evaluator, self.clock)

    def _decide(self, hint: PromoteHint) -> Decision | None:
        door = (hint.repository, hint.source, hint.target)
        decisions = self.evaluator.image(hint.digest)
        return next((d for d in decisions if (d.repository, d.source, d.target) == door), None)

    def _promote(self, hint: PromoteHint, decision: Decision, worker: str, deadline: Deadline) -> str:
        places = self.policy.environment(decision.target).repositories(decision.repository)
        looked = self.clock()
        silent = self.targets.look(decision)
        self._read_signing(decision)
        again = self._decide(hint)
        if again is None or self._is_done(hint, again):
            return again.verdict if again else "nothing to do"
        if not (again.may_stage or again.verdict == PROMOTED or self.attempts.rolls_on(again)):
            return again.verdict
        origin, tree = self._read(again, deadline)
        self._intend(again, tree, places)
        answering = [p for p in places if p not in silent]  # to ask the others again would only take their time-outs
        staged = stage(self.source, origin, self.target, answering, tree, deadline=deadline, parts=self.parts)
        failures = silent | {p: s for p, s in staged.items() if isinstance(s, TallymanError)}
        if failures:
            raise worst(failures)
        with self.leases.hold(decision.target, decision.repository, worker, patience=TURN) as lease:
            if (self.clock() - looked).total_seconds() > FRESH and (silent := self.targets.look(again)):
                raise worst(silent)
            self._read_signing(again)
            final = self._decide(hint)
            if final is None or self._is_done(hint, final):
                return final.verdict if final else "nothing to do"
            if not (final.verdict in (PASSED, PROMOTED) or self.attempts.rolls_on(final)):
                return final.verdict
            self.attempts.tagging(final)
            were_set = tag_everywhere(self.target, self.targets, final, tree.root, places, lease)
            if not were_set and final.verdict == PROMOTED:
                return PROMOTED  # looked at again, and all was as it should be
            left_out = {str(p.registry): s.refused_referrers for p, s in staged.items() if isinstance(s, Staged)}
            return self._finish(
                hint, final, lease, {registry: reasons for registry, reasons in left_out.items() if reasons}
            )

    def _read_signing(self, decision: Decision) -> None:
        """No event tells that managed signing took its word back: right before it is relied on, it is asked again. A
        registry that does not answer raises; the promotion is tried again then."""
        if self.signing is not None:
            self.signing.refresh(decision.digest)

    def _is_done(self, hint: PromoteHint, decision: Decision) -> bool:
        """Whether another worker promoted it meanwhile: it is released once, and announced once."""
        if decision.verdict != PROMOTED or hint.check:
            return False
        self.releases.announce(decision.target, decision.repository)
        return True

    def _read(self, decision: Decision, deadline: Deadline) -> tuple[Repository, Family]:
        """The source environment's first registry that can be read and has the image, and all that belongs to it."""
        trouble: TallymanError | None = None
        for place in self.policy.environment(decision.source).repositories(decision.repository):
            try:
                return place, family(self.source, place, decision.digest, deadline=deadline)
            except NotFound as error:
                trouble = trouble or error
            except TransientError as error:
                trouble = error
        raise trouble or NotFound(f"{decision.source} has no registry")

    def _intend(self, decision: Decision, tree: Family, places: Sequence[Repository]) -> None:
        facts = load_image_facts(self.ledger, self.state, decision.digest)
        at = min(f.at for f in facts.of(*PUSHES))  # a key that each try has again
        intend(self.ledger, decision, [m.digest for m in tree.manifests], places, at, self.clock)

    def _finish(
        self, hint: PromoteHint, decision: Decision, lease: Lease, left_out: Mapping[str, Mapping[str, str]]
    ) -> str:
        if left_out:
            self._tell_left_out(decision, left_out)
        try:
            self.releases.promoted(decision, lease, left_out)
        except RevisionConflict:
            # somebody took over while we set tags: what they promoted is looked at again after us
            image = load_image_facts(self.ledger, self.state, decision.digest)
            for tag in decision.tags:
                self._check_newer(hint, decision, tag, image)
            raise
        self.releases.announce(decision.target, decision.repository)
        now = self._decide(hint)
        image = load_image_facts(self.ledger, self.state, decision.digest)
        for tag in decision.tags:
            if now is None or tag not in now.tags:
                self._check_newer(hint, decision, tag, image)
        return PROMOTED

    def _tell_left_out(self, decision: Decision, left_out: Mapping[str, Mapping[str, str]]) -> None:
        """A signature or SBOM that a registry does not take stops no image; people are told, before it is promoted."""
        image = f"{decision.repository}:{decision.tags[0]}"
        lines = [f"{r}: {digest}: {why}" for r, reasons in left_out.items() for digest, why in reasons.items()]
        self.evaluator.notices.publish(
            f"{image} is promoted to {decision.target} without all that refers to it",
            "\n".join([f"{image} ({decision.digest}) is in {decision.target}, but these referrers are not:", *lines]),
            {"kind": "left_out", "environment": decision.target, "repository": decision.repository},
        )

    def _check_newer(self, hint: PromoteHint, decision: Decision, tag: str, image: ImageFacts) -> None:
        """The source's tag moved on while we set ours: whoever promotes its new digest has to look again after us."""
        for place in self.policy.environment(decision.source).repositories(decision.repository):
            newer = image.pointing.get((place, tag))
            if newer and newer != decision.digest:
                body = promote_hint(decision, hint.correlation) | {"digest": newer, "check": True}
                self.hints.send("promote", body)

    def _continue(self, hint: PromoteHint, decision: Decision) -> str:
        rounds = hint.round + 1
        if rounds > MAX_ROUNDS:
            self.attempts.park(decision, f"it did not fit {MAX_ROUNDS} runs")
            return "parked"
        body = promote_hint(decision, hint.correlation) | {"round": rounds, "attempt": hint.attempt}
        self.hints.send("promote", body)
        return f"continued in round {rounds}"

    def _wait(self, hint: PromoteHint, seconds: float, why: str) -> str:
        """Looks again later, in a message of its own: the one in hand may be hidden for longer than the other works."""
        delay = min(900, ceil(seconds))
        self.hints.send("promote", replace(hint, waits=hint.waits + 1).as_json(), delay=delay)
        return f"looked at again in {delay} s: {why}"
