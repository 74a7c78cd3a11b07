"""Brings an image into every registry of an environment, or its tags into none.

Decides again with its own copy of the policy, writes its intent, stages content everywhere, decides again, sets the
tags, reads them back, moves the release. A crash anywhere repeats all of it and changes nothing twice: what is there
is skipped. From the first tag on it only rolls forward.

Cost beyond staging (see `copy`): two looks at the targets (two calls a registry each), one PutImage and one read a
tag and registry, about twelve reads and eight writes of the tables.
"""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tallyman.domain.decide import CONFLICT, PROMOTED, Decision
from tallyman.domain.facts import Fact, Kind, Via, fact_id
from tallyman.domain.gates import PASSED, ImageFacts
from tallyman.domain.history import PUSHES
from tallyman.domain.manifest import Manifest
from tallyman.domain.names import Digest, Repository, parse_repository_name
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, parse_time, whole_millis
from tallyman.errors import (
    BadInput,
    BadMessage,
    DigestMismatch,
    NotFound,
    OutOfTime,
    Passing,
    Refused,
    StateMoved,
    TagTaken,
    TallymanError,
)
from tallyman.ports import Clock, Deadline, Hints, ImageSource, ImageTarget, Ledger, State, StateChange
from tallyman.services.copy import Family, family, stage
from tallyman.services.gather import gather
from tallyman.services.judge import Judge, pending_key, promote_hint
from tallyman.services.release import Releases
from tallyman.services.targets import Targets

GIVE_UP = timedelta(hours=24)
"""How long a promotion that keeps failing is tried again before it is parked."""
FIRST_PAUSE, LONGEST_PAUSE = 2, 900
"""Seconds between tries: doubled each time; SQS holds a message back for at most 900."""
MAX_ROUNDS = 200
"""Continuations of one promotion that did not fit one run."""


@dataclass(frozen=True, slots=True)
class PromoteImage:
    """The reaction to hints `{digest, repository, from, to}`: the only place that opens a gate."""

    policy: Policy
    source: ImageSource
    target: ImageTarget
    targets: Targets
    ledger: Ledger
    state: State
    hints: Hints
    judge: Judge
    releases: Releases
    clock: Clock

    def handle(self, body: str, deadline: Deadline) -> str:
        """Does what is to be done about one hint; a word for the log.

        What fails for now is written down, and a hint for the next try sent: that is no error. What fails for good is
        written down as parked, and raised. BadMessage: it is no hint.
        """
        hint = _parse(body)
        decision = self._decide(hint)
        if decision is None or not decision.is_candidate:
            return "nothing to do"
        if hint["attempt"] is not None and hint["attempt"] != self._attempt(decision):
            return "superseded by a later try"
        if decision.verdict == PROMOTED and not hint["check"]:
            self.releases.announce(decision)
            return PROMOTED
        if not (decision.may_stage or decision.verdict in (CONFLICT, PROMOTED)):
            return decision.verdict
        try:
            return self._promote(hint, decision, deadline)
        except OutOfTime:
            return self._continue(hint, decision)
        except StateMoved:
            raise  # nothing failed: others were faster; the queue offers it again
        except Passing as error:
            return self._delay(hint, decision, str(error))
        except (Refused, BadInput, DigestMismatch) as error:
            self._park(decision, str(error))
            raise

    def _decide(self, hint: dict[str, Any]) -> Decision | None:
        door = (hint["repository"], hint["from"], hint["to"])
        decisions = self.judge.image(hint["digest"])
        return next((d for d in decisions if (d.repository, d.source, d.target) == door), None)

    def _promote(self, hint: dict[str, Any], decision: Decision, deadline: Deadline) -> str:
        places = self.policy.environment(decision.target).repositories(decision.repository)
        silent = self.targets.look(decision)
        again = self._decide(hint)
        if again is None or not (again.may_stage or again.verdict == PROMOTED):
            return again.verdict if again else "nothing to do"
        origin, tree = self._read(again)
        self._intend(again, tree, places)
        staged = stage(self.source, origin, self.target, places, tree, deadline=deadline)
        failures = {p: s for p, s in staged.items() if isinstance(s, TallymanError)}
        if failures:
            raise _worst(failures)
        if silent:
            silent = self.targets.look(again)
        if silent:
            raise Passing("; ".join(silent))
        final = self._decide(hint)
        if final is None or final.verdict not in (PASSED, PROMOTED):
            return final.verdict if final else "nothing to do"
        self._tag(final, tree.root, places)
        return self._finish(hint, final)

    def _read(self, decision: Decision) -> tuple[Repository, Family]:
        """The first registry of the source environment that can be read and has the image, and all that belongs to it."""
        trouble: TallymanError | None = None
        for place in self.policy.environment(decision.source).repositories(decision.repository):
            try:
                return place, family(self.source, place, decision.digest)
            except NotFound as error:
                trouble = trouble or error
            except Passing as error:
                trouble = error
        raise trouble or NotFound(f"{decision.source} has no registry")

    def _intend(self, decision: Decision, tree: Family, places: Sequence[Repository]) -> None:
        """Writes into every member's partition that we are about to push it: the events of that are then ours.

        The root's comes last, so that its being there says that all are.
        """
        facts = gather(self.ledger, self.state, decision.digest)
        at = min(f.at for f in facts.of(*PUSHES))  # a key that each try has again
        members = [m.digest for m in tree.manifests]
        for member in [*(m for m in members if m != decision.digest), decision.digest]:
            registries = [str(p.registry) for p in places]
            fact = Fact(
                kind=Kind.INTENDED,
                id=fact_id(Kind.INTENDED, member, decision.digest, decision.target, places[0].name, *registries),
                at=at,
                seen=whole_millis(self.clock()),
                via=Via.RECONCILED,
                digest=member,
                detail={
                    "to": decision.target,
                    "name": decision.repository,
                    "repository": places[0].name,
                    "registries": registries,
                    "root": decision.digest,
                },
            )
            self.ledger.append(fact)

    def _tag(self, decision: Decision, manifest: Manifest, places: Sequence[Repository]) -> None:
        """Sets every tag in every registry and reads each back."""
        wanted = [(place, tag) for tag in decision.tags for place in places]

        def put(each: tuple[Repository, str]) -> None:
            place, tag = each
            there = self.target.manifest(place, tag)
            if there is None or there.digest != manifest.digest:
                try:
                    self.target.put_manifest(place, manifest, tag)
                except TagTaken:
                    self.targets.look(decision)  # so that the decision sees the conflict, and says so
                    raise
                there = self.target.manifest(place, tag)
            if there is None or there.digest != manifest.digest:
                found = there.digest if there else "nothing"
                raise Passing(f"{place}:{tag} was set to {manifest.digest}, but reads back as {found}")

        with ThreadPoolExecutor(max_workers=min(8, len(wanted))) as pool:
            for done in [pool.submit(put, each) for each in wanted]:
                done.result()

    def _finish(self, hint: dict[str, Any], decision: Decision) -> str:
        self.releases.promoted(decision)
        self.releases.announce(decision)
        now = self._decide(hint)
        image = gather(self.ledger, self.state, decision.digest)
        for tag in decision.tags:
            if now is None or tag not in now.tags:
                self._check_newer(hint, decision, tag, image)
        return PROMOTED

    def _check_newer(self, hint: dict[str, Any], decision: Decision, tag: str, image: ImageFacts) -> None:
        """The source's tag moved on while we set ours: whoever promotes its new digest has to look again after us."""
        for place in self.policy.environment(decision.source).repositories(decision.repository):
            newer = image.pointing.get((place, tag))
            if newer and newer != decision.digest:
                body = promote_hint(decision, hint["correlation"]) | {"digest": newer, "check": True}
                self.hints.send("promote", body)

    def _attempt(self, decision: Decision) -> int:
        item = self.state.get(*pending_key(decision))
        return int(item.data["attempt"]) if item else 0

    def _continue(self, hint: dict[str, Any], decision: Decision) -> str:
        rounds = hint["round"] + 1
        if rounds > MAX_ROUNDS:
            self._park(decision, f"it did not fit {MAX_ROUNDS} runs")
            return "parked"
        body = promote_hint(decision, hint["correlation"]) | {"round": rounds, "attempt": hint["attempt"]}
        self.hints.send("promote", body)
        return f"continued in round {rounds}"

    def _delay(self, hint: dict[str, Any], decision: Decision, reason: str) -> str:
        """Writes down why it did not go through, and sends the hint of the next try."""
        pk, sk = pending_key(decision)
        item = self.state.get(pk, sk)
        if item is None:
            return "nothing waits for it any more"
        now = whole_millis(self.clock())
        since = parse_time(item.data["failing_since"]) if item.data["failing_since"] else now
        if now - since >= GIVE_UP:
            self._park(decision, f"given up after {GIVE_UP.total_seconds() / 3600:.0f} h: {reason}")
            return "parked"
        attempt = int(item.data["attempt"]) + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 10))
        again = now + timedelta(seconds=pause)
        detail = {
            "to": decision.target,
            "name": decision.repository,
            "reason": reason,
            "attempt": attempt,
            "next_at": format_time(again),
        }
        progress = {"attempt": attempt, "next_at": format_time(again), "failing_since": format_time(since)}
        change = StateChange(pk, sk, item.revision, {**item.data, **progress})
        self._append(Kind.DELAYED, decision, detail, change)
        self.judge.image(decision.digest)
        body = promote_hint(decision, hint["correlation"]) | {"attempt": attempt, "round": hint["round"]}
        self.hints.send("promote", body, delay=pause)
        return f"delayed for {pause} s: {reason}"

    def _park(self, decision: Decision, reason: str) -> None:
        pk, sk = pending_key(decision)
        item = self.state.get(pk, sk)
        change = None
        if item is not None:
            fresh = {"attempt": int(item.data["attempt"]) + 1, "next_at": None, "failing_since": None}
            change = StateChange(pk, sk, item.revision, {**item.data, **fresh})
        detail = {"to": decision.target, "name": decision.repository, "reason": reason}
        self._append(Kind.PARKED, decision, detail, change)
        self.judge.image(decision.digest)

    def _append(self, kind: Kind, decision: Decision, detail: dict[str, Any], change: StateChange | None) -> None:
        now = whole_millis(self.clock())
        fact = Fact(
            kind=kind,
            id=fact_id(kind, decision.digest, decision.repository, decision.target, now, detail["reason"]),
            at=now,
            seen=now,
            via=Via.RECONCILED,
            digest=decision.digest,
            detail=detail,
        )
        self.ledger.append(fact, change)


def _worst(failures: dict[Repository, TallymanError]) -> TallymanError:
    """One error for several registries: one for good before one for now, all of them named in its text."""
    text = "; ".join(f"{place.registry}: {error}" for place, error in failures.items())
    lasting = [e for e in failures.values() if not e.retryable]
    if not lasting and all(isinstance(e, OutOfTime) for e in failures.values()):
        return OutOfTime(text)
    return type(lasting[0])(text) if lasting else Passing(text)


def _parse(body: str) -> dict[str, Any]:
    """The hint as {digest, repository, from, to, correlation, attempt, round, check}; raises BadMessage."""
    try:
        message = json.loads(body)
    except ValueError as error:
        raise BadMessage(f"the message is no JSON ({error}): expected a hint to promote") from None
    if not isinstance(message, dict) or any(not isinstance(message.get(k), str) for k in ("repository", "from", "to")):
        raise BadMessage("the message is no hint to promote: expected digest, repository, from and to")
    attempt, rounds = message.get("attempt"), message.get("round", 0)
    if not (attempt is None or isinstance(attempt, int)) or not isinstance(rounds, int):
        raise BadMessage("the hint's attempt and round are to be numbers")
    try:
        return {
            "digest": Digest.parse(message.get("digest")),
            "repository": parse_repository_name(message["repository"]),
            "from": message["from"],
            "to": message["to"],
            "correlation": message.get("correlation"),
            "attempt": attempt,
            "round": rounds,
            "check": bool(message.get("check")),
        }
    except BadInput as error:
        raise BadMessage(f"a hint to promote: {error}") from None
