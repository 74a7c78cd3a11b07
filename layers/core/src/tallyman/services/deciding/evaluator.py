"""Evaluates images after facts were written: records the decisions, sends notices, hints `promote_image`.

Every reaction ends here. `promote_image` does not rely on these decisions: it decides again before it acts.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

from tallyman.domain.decide import CONFLICT, PROMOTED, Decision, decide_all
from tallyman.domain.events.hints import DecideAbove, Promote
from tallyman.domain.gates import FAILED, WAITING, ImageFacts
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.decisions import Decided
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import RevisionConflict
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import LONGEST_DELAY, Hints, Notices
from tallyman.ports.records import Appended, Ledger, Objects, State
from tallyman.services.deciding.image_facts import Once, indexes_of, is_plain, load_image_facts
from tallyman.services.deciding.news import is_same, saying
from tallyman.services.deciding.noncompliant import NoncompliantImages
from tallyman.state import pending
from tallyman.state.items import Entry, Key
from tallyman.state.pending import PENDING, Pending
from tallyman.values import value

_TRIES = 8
_TICK = timedelta(milliseconds=1)
_ANNOUNCED_ONCE = frozenset({"soak", "approvals", "check", "window"})
"""Gates of which a notice says once that they hold an image, for as long as it waits: a window opens and closes every
day, and each time another gate decides."""
LONGEST_WAKE = timedelta(seconds=LONGEST_DELAY)
"""The longest delay of a hint; the scheduled sweeps come as often."""


OF_THE_IMAGE_ALONE = frozenset({*PUSHES, Kind.VERIFIED})
"""Facts of a platform image that no gate of an index uses (gates use scans, signatures, statements and recalls). An
image that hundreds of indexes share is pushed and verified again with each of them."""


PAGE = 25
"""The most indexes above an image that one reaction evaluates: an image may be part of any number of them."""


def pending_key(decision: Decision) -> Key:
    """The key of the decision's pending item."""
    return pending.key(decision.target, decision.repository, decision.digest, decision.source)


def promote_hint(decision: Decision, correlation: str | None = None) -> Promote:
    """The hint to `promote_image` about this decision."""
    return Promote(decision.digest, *decision.candidate, correlation)


@value
class Evaluator:
    """Evaluates images; one for the life of a function. Needs no access to a registry."""

    policy: Policy
    ledger: Ledger
    state: State
    hints: Hints
    notices: Notices
    clock: Clock
    archive: Objects

    def digest(
        self, digest: Digest, correlation: str | None = None, again: bool = False, news: Kind | None = None
    ) -> list[Decision]:
        """Evaluate an image and the indexes above it again; return the decisions. May be repeated: sends and writes
        only what is new.

        Hints `promote_image` of each image that may go; `again`: also where that was done before. `news`: the only kind
        of fact that is new; the indexes above are skipped where none of their gates uses it. Only PAGE indexes are
        evaluated here, the rest by a hint to `promote_image`.
        Cost: a Query for each digest of the image graph, one for the list of the indexes above each of them, about six
        reads for each image, and one transaction for each decision that is new.
        """
        facts = Once(self.ledger)
        decisions = self.image(digest, facts)
        if not (news in OF_THE_IMAGE_ALONE and is_plain(facts.of_digest(digest))):
            decisions += self._page(DecideAbove(digest, correlation=correlation, again=again), facts)
        self.hint(decisions, correlation, again)
        return decisions

    def above(self, asked: DecideAbove) -> int:
        """Evaluate the next indexes above an image; return the number of decisions. Cost: as `digest`."""
        decisions = self._page(asked, Once(self.ledger))
        self.hint(decisions, asked.correlation, asked.again)
        return len(decisions)

    def _page(self, asked: DecideAbove, facts: Once) -> list[Decision]:
        """Evaluate the next PAGE indexes above an image, at any distance, and send a hint for the rest."""
        decisions: list[Decision] = []
        found, left = {asked.digest}, PAGE
        waiting = [(asked.digest, asked.after)]
        for digest, after in waiting:
            page, position = indexes_of(facts, digest, after, left)
            left -= len(page)
            for index in [each for each in page if each not in found]:
                found.add(index)
                waiting.append((index, ""))
                decisions += self.image(index, facts)
            if position is not None:
                self.hints.send("promote", replace(asked, digest=digest, after=position).dump())
        return decisions

    def hint(self, decisions: Iterable[Decision], correlation: str | None = None, again: bool = False) -> None:
        """Hint `promote_image` of each decision that may go, once for as long as it may go. A promotion that fails
        sends its own next hint. `again`, for sweeps and people: hints also where that was done, and where tagging was
        begun and may not go on, so that `promote_image` sees when people have removed the tags.

        Cost: a read for each decision that may go, and a write for each hint.
        """
        for decision in decisions:
            if not (decision.may_go or (again and decision.tagging is not None)):
                continue
            entry = PENDING.read(self.state, pending_key(decision))
            if again or entry.found is None or not entry.found.hinted:
                self.hints.send("promote", promote_hint(decision, correlation).dump())
                if entry.found is not None:  # a crash in between hints twice, never not at all
                    self._mark(entry, replace(entry.found, hinted=True))

    def wake(self, decision: Decision) -> None:
        """Send `promote_image` a delayed hint for the moment at which time alone may open a gate, if that is less than
        twice LONGEST_WAKE away. The sweeps, which come more often, evaluate later ones."""
        now, opens = self.clock(), decision.opens_at
        if opens is None or opens <= now or opens - now > 2 * LONGEST_WAKE:
            return
        due = min(opens, now + LONGEST_WAKE)
        hint = replace(promote_hint(decision), due=True)
        self.hints.send("promote", hint.dump(), delay=max(1, ceil((due - now).total_seconds())))
        entry = PENDING.read(self.state, pending_key(decision))
        if entry.found is not None:
            self._mark(entry, replace(entry.found, wake=due))

    def _mark(self, entry: Entry[Pending], marked: Pending) -> None:
        if marked != entry.found:
            with suppress(RevisionConflict):  # another reaction decided meanwhile, and sends the hint
                self.state.put(entry.write(marked))

    def image(self, digest: Digest, read: Once | None = None) -> list[Decision]:
        """Evaluate one image and record new decisions, without hints and without the indexes above it.

        `read`: the facts that this reaction has read since its last write; without it, or after a RevisionConflict, all
        facts are read again.
        """
        for _ in range(_TRIES):
            now = whole_millis(self.clock())
            image = load_image_facts(read or self.ledger, self.state, digest, self.policy, self.archive)
            read = None
            decisions = decide_all(self.policy, image, now)
            try:
                for decision in decisions:
                    self.record(decision, image, now)
                return decisions
            except RevisionConflict:
                continue  # another reaction decided at the same time: read its facts too
        raise RevisionConflict(f"others keep deciding about {digest}: try again")

    def record(self, decision: Decision, image: ImageFacts, now: datetime) -> None:
        """Record the decision if it is new, update its pending item, and send its notice once.

        Raises RevisionConflict where another reaction was faster: the caller has to decide again.
        """
        entry = PENDING.read(self.state, pending_key(decision))
        last = _last(image.of(Kind.DECIDED), decision)
        if any(True for _ in image.of(Kind.PROMOTED)):
            NoncompliantImages(self.state, self.notices).look(decision, now, is_same(last, decision))
        if not decision.is_candidate:
            if entry.found is not None:
                self.state.put(entry.remove(now, decided=entry.found.decided))
            return
        self._require_newest(decision, entry, last)
        entry = self._append(decision, entry, last, now)
        if entry.found is None:
            return
        if decision.verdict == PROMOTED:
            self.state.put(entry.remove(now, decided=entry.found.decided))
            return
        if not entry.found.noticed and not _is_quiet(decision):
            # after the fact and before the mark: notified at least once, and once unless this process dies in between
            self._notify(decision, entry.found.decided)
            gates = dict.fromkeys([*entry.found.announced, *([entry.found.gate] if entry.found.gate else [])])
            noticed = replace(entry.found, noticed=True, announced=tuple(gates))
            self.state.put(entry.write(noticed))
            entry = entry.written(noticed)
        if not _is_awake(entry.value, decision, now):
            self.wake(decision)

    def _require_newest(self, decision: Decision, entry: Entry[Pending], last: Fact | None) -> None:
        """Raise RevisionConflict where another reaction decided since the facts were read."""
        # the marker of a removed item names its last decision, so that a reaction that was suspended after it read the
        # facts is detected here, or by the revision
        known = entry.found.decided if entry.found else entry.kept.get("decided")
        if known is not None and known != (last.id if last else None):
            raise RevisionConflict("decided by another reaction since the facts were read")
        if known is None and last is not None:
            # the marker has expired (later than any reaction ends), or an older version left none
            newest = _last((f for f in self.ledger.of_digest(decision.digest) if f.kind is Kind.DECIDED), decision)
            if newest is None or newest.id != last.id:
                raise RevisionConflict("decided by another reaction since the facts were read")

    def _append(self, decision: Decision, entry: Entry[Pending], last: Fact | None, now: datetime) -> Entry[Pending]:
        """Write the fact and the pending item if the decision is new; return the item's entry."""
        details = decision.details
        said = saying(details)
        forgotten = entry.found is None and decision.verdict != PROMOTED  # its tag was removed and set again
        if last is None or saying(Decided.parse(last)) != said or forgotten:
            key = (decision.digest, decision.repository, repr(said), last.id if last else None)
            at = max(now, last.at + _TICK) if last else now  # two within a millisecond keep their order
            fact = new_fact(Kind.DECIDED, key, details, now, at=at, digest=decision.digest)
            waits = _pending(decision, entry.found, now, fact.id, is_same(last, decision))
            if self.ledger.append(fact, entry.write(waits)) is Appended.KNOWN:
                raise RevisionConflict("another reaction decided the same in the same moment")
            entry = entry.written(waits)
        return entry

    def _notify(self, decision: Decision, decided: str | None) -> None:
        gate = decision.deciding
        assert gate is not None  # a decision without one is quiet
        word = {FAILED: "refused", CONFLICT: "in conflict", WAITING: "held"}[decision.verdict]
        what = f"{decision.repository}:{decision.tags[0]} is {word} for {decision.target}"
        others = [g for g in decision.gates if g.verdict == gate.verdict and g is not gate]
        lines = [f"{what}: {gate.reason}", *(f"Also {g.name}: {g.reason}" for g in others)]
        lines += [f"Digest: {decision.digest}", f"Policy: {decision.policy}", f"Decision: {decided}"]
        lines.append(
            f"Ask: tallyman why {decision.source}/{decision.repository}:{decision.tags[0]} --to {decision.target}"
        )
        attributes = {"kind": decision.verdict, "environment": decision.target, "repository": decision.repository}
        self.notices.publish(what, "\n".join(lines), attributes)


def _last(decided: Iterable[Fact], decision: Decision) -> Fact | None:
    """The newest of these facts about the same promotion candidate."""
    mine = (f for f in decided if Decided.parse(f).candidate == decision.candidate)
    return max(mine, key=lambda f: (f.at, f.id), default=None)


def _is_quiet(decision: Decision) -> bool:
    """Whether no notice is due: nothing refuses the image, and it waits only for a fact that is not there yet."""
    gate = decision.deciding
    return gate is None or (decision.verdict == WAITING and not gate.held)


def _is_awake(waits: Pending, decision: Decision, now: datetime) -> bool:
    """Whether a hint for the moment at which time may open a gate was sent."""
    opens = decision.opens_at
    return opens is None or (waits.wake is not None and now <= waits.wake <= opens)


def _pending(decision: Decision, old: Pending | None, now: datetime, decided: str, no_news: bool) -> Pending:
    gate = decision.deciding
    same = old is not None and (old.verdict, old.gate) == (decision.verdict, gate.name if gate else None)
    trying = gate is None or gate.name == "target"
    announced = old.announced if old and old.verdict == decision.verdict == WAITING else ()
    was_announced = gate is not None and gate.name in _ANNOUNCED_ONCE and gate.name in announced
    return Pending(
        digest=decision.digest,
        name=decision.repository,
        source=decision.source,
        target=decision.target,
        tags=decision.tags,
        verdict=decision.verdict,
        gate=gate.name if gate else None,
        reason=gate.reason if gate else None,
        since=old.since if old and same else now,
        until=decision.until,
        decided=decided,
        # a hold whose reason changes (the time of the next try) is announced once
        noticed=was_announced or bool(old and same and (decision.verdict == WAITING or no_news) and old.noticed),
        attempt=old.attempt if old else 0,
        next_at=old.next_at if old and trying else None,
        failing_since=old.failing_since if old and trying else None,
        tagging_since=decision.tagging.since if decision.tagging else old.tagging_since if old else None,
        stuck_notified=old.stuck_notified if old else False,
        hinted=bool(decision.may_go and old and old.hinted and old.tags == decision.tags),
        wake=old.wake if old else None,
        announced=announced,
    )
