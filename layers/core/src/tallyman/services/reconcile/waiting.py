"""Evaluates pending promotions again, because time has passed or an event was lost."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

from tallyman.domain.decide import Decision
from tallyman.domain.events.hints import FinishCreation
from tallyman.domain.gates import PASSED, WAITING
from tallyman.domain.history.facts import Via
from tallyman.domain.names import Digest, Repository
from tallyman.domain.plain import values_under
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time
from tallyman.errors import NotFound, RevisionConflict, Unsupported
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.messages import Hints
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import RegistryView
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.deciding.read_signing import ReadSigning
from tallyman.services.reconcile.turns import Turns, isolated
from tallyman.services.recording.record_scan import News, RecordScan
from tallyman.services.shared.pauses import Pauses
from tallyman.services.verification.hints import hint_origin
from tallyman.state import creations, pending, positions, tags
from tallyman.state.creations import CREATIONS
from tallyman.state.items import Entry
from tallyman.state.pending import PENDING, Pending
from tallyman.state.tags import TAGS
from tallyman.values import value

SCAN_AGAIN = timedelta(hours=24)
VERIFY_AGAIN = timedelta(hours=1)
CREATE_AGAIN = timedelta(hours=6)
"""The pauses before a scan, a verification or a creation is requested again."""
CREATE_OVERDUE = timedelta(minutes=5)
"""How long after its begin the creation of a repository counts as abandoned: it takes two calls."""
MOST_VERIFIED = 100
"""The most verifications that one run requests: each may read gigabytes. The next run requests the others."""


@value
class Waiting:
    """Retries pending promotions. Its counts: `retried` (promotions hinted), `scanned`, `scans_started`, `verified`."""

    policy: Policy
    registries: RegistryView
    ledger: Ledger
    state: State
    hints: Hints
    evaluator: Evaluator
    scans: RecordScan
    clock: Clock
    signing: ReadSigning
    pauses: Pauses

    def all(
        self,
        wanted: Callable[[Pending], bool],
        counts: Counter[str],
        problems: list[str],
        left: Deadline,
        by_person: bool = False,
    ) -> None:
        """Retry every pending promotion that `wanted` accepts, and remove the items of those that the policy no
        longer has. A failure does not stop the others: its reason is added to `problems`. `by_person`: a person asks,
        so the pauses between requests don't apply.

        Raises OutOfTime where not all fit; the next call continues with the rest. Cost: an image's facts; one call for
        scans for each image beneath it.
        """
        items = [
            ((environment, format_time(entry.value.since), entry.sk), entry)
            for environment in self.policy.environments
            for entry in PENDING.list(self.state, pending.partition(environment))
            if wanted(entry.value)
        ]

        def step(entry: Entry[Pending]) -> None:
            waits = entry.value
            with isolated(f"{waits.name}@{waits.digest} for {waits.target}", problems):
                decisions = self.look(waits.digest, counts, waits.since, by_person)
                candidate = waits.digest, (waits.name, waits.source, waits.target)
                if candidate not in [(each.digest, each.candidate) for each in decisions]:
                    self._forget(entry)

        Turns(self.state, self.clock).each(positions.WAITING, items, step, left, "what waits")

    def creations(self, takes: Callable[[Repository], bool]) -> None:
        """Hint `promote_image`, the only function that may create repositories, of creations that were abandoned."""
        for entry in CREATIONS.list(self.state, creations.PARTITION):
            overdue = self.clock() - entry.value.at >= CREATE_OVERDUE
            key = f"create {entry.sk}"
            if overdue and takes(Repository.parse(entry.sk)) and self.pauses.is_over(key, CREATE_AGAIN):
                self.hints.send("promote", FinishCreation(Repository.parse(entry.sk)).dump())
                self.pauses.begin(key, CREATE_AGAIN)

    def _forget(self, entry: Entry[Pending]) -> None:
        """Remove the item of a promotion that the policy no longer has, on which nothing decides any more. One that
        may have set a tag stays, for the people who have to end it."""
        if entry.value.tagging_since is None:
            with suppress(RevisionConflict):  # another reaction decided, by a policy that has it
                self.state.put(entry.remove(self.clock(), decided=entry.value.decided))

    def look(
        self, digest: Digest, counts: Counter[str], since: datetime | None = None, by_person: bool = False
    ) -> list[Decision]:
        """Retry one image: read the scans that its gate waits for, evaluate it, and hint `promote_image`. Return
        the decisions. `since`: when it began to wait; after an hour its verification is requested again (`by_person`:
        at once)."""
        fresh: list[Digest] = []
        for decision in self.evaluator.image(digest):
            waits = {g.name for g in decision.gates if g.verdict == WAITING} if decision.is_candidate else set()
            if "scan" in waits:
                fresh += self.read_scans(decision, counts)
            if "signed" in waits:
                self.signing.refresh(digest)
            if {"signed", "built", "check"} & waits or self._waits_for_vex(decision) or _is_outdated(decision):
                self.verify_origin(self._place(decision), digest, by_person)
            if "verified" in waits and since is not None and (by_person or self.clock() - since >= VERIFY_AGAIN):
                self.verify(self._place(decision), digest, decision.tags[0], counts, by_person)
        decisions = self.evaluator.digest(digest, again=True)
        counts["retried"] += sum(d.may_go for d in decisions)
        self.decide_others(digest, fresh)
        return decisions

    def decide_others(self, digest: Digest, scanned: Sequence[Digest]) -> None:
        """Evaluate the indexes above the parts of an image for which new scans were recorded."""
        for part in scanned:
            if part != digest:
                self.evaluator.digest(part)

    def verify_again(self, decision: Decision) -> None:
        """Request the verification of signatures of a promoted image that the present keys, roots and rules have not
        verified."""
        facts = [gate.facts for gate in decision.gates if gate.verdict != PASSED]
        if decision.is_candidate and (
            any(values_under(facts, "not_looked_at")) or self._waits_for_vex(decision) or _is_outdated(decision)
        ):
            self.verify_origin(self._place(decision), decision.digest)

    def _waits_for_vex(self, decision: Decision) -> bool:
        """Whether a VEX statement that could make the scan pass may not have been verified yet."""
        scan = [gate for gate in decision.gates if gate.name == "scan" and gate.verdict != PASSED]
        if not scan or not decision.is_candidate:
            return False
        asked = self.policy.promotion(decision.source, decision.target, decision.repository, decision.tags[0])
        return asked is not None and asked.gates["scan"].trusted is not None

    def _place(self, decision: Decision) -> Repository:
        """The source repository in which the first tag names the image; else the first repository."""
        places = self.policy.environment(decision.source).repositories(decision.repository)
        there = TAGS.get_many(self.state, [tags.key(place, decision.tags[0]) for place in places])
        found = (p for p in places if (t := there.get(tags.key(p, decision.tags[0]))) and t.digest == decision.digest)
        return next(found, places[0])

    def verify(
        self, repository: Repository, digest: Digest, tag: str, counts: Counter[str], by_person: bool = False
    ) -> None:
        """Request a verification, unless one was requested within the hour; `by_person`: always."""
        key = f"verify {repository}@{digest}:{tag}"
        if counts["verified"] >= MOST_VERIFIED or not (by_person or self.pauses.is_over(key, VERIFY_AGAIN)):
            return
        hint = {"repository": str(repository), "digest": digest, "tag": tag, "request": None}
        self.hints.send("verify", {"verify": hint})
        counts["verified"] += 1
        self.pauses.begin(key, VERIFY_AGAIN)

    def verify_origin(self, repository: Repository, digest: Digest, by_person: bool = False) -> None:
        """Request the verification of signatures, unless it was requested within the hour; `by_person`: always."""
        key = f"origin {repository}@{digest}"
        if by_person or self.pauses.is_over(key, VERIFY_AGAIN):
            hint_origin(self.policy, self.hints, repository, digest)
            self.pauses.begin(key, VERIFY_AGAIN)

    def read_scans(self, decision: Decision, counts: Counter[str]) -> list[Digest]:
        """Record the present scans in the registries, and start a scan where there is none or the last is a day old.
        Return the digests with a new result."""
        news = []
        image = load_image_facts(self.ledger, self.state, decision.digest)
        digests = sorted(image.platforms) if image.is_index else [decision.digest]
        for place in self.policy.environment(decision.source).repositories(decision.repository):
            for digest in digests:
                try:
                    if self._read_scan(place, digest, counts) is News.NEW:
                        news.append(digest)
                except NotFound:
                    continue  # this registry does not have the image
        return news

    def _read_scan(self, place: Repository, digest: Digest, counts: Counter[str]) -> News:
        report = self.registries.scan(place, digest)
        news = self.scans.record(place, digest, report, Via.RECONCILED)
        if news is not News.NONE:
            counts["scanned"] += 1
        old = report.completed_at is not None and self.clock() - report.completed_at >= SCAN_AGAIN
        key = f"scan {place}@{digest}"
        if (report.status in ("none", "failed") or (report.status == "complete" and old)) and self.pauses.is_over(
            key, SCAN_AGAIN
        ):
            try:
                self.registries.start_scan(place, digest)
                counts["scans_started"] += 1
            except Unsupported:
                pass  # the registry scans by itself, or can't scan the image: the report says which
            self.pauses.begin(key, SCAN_AGAIN)
        return news


def _is_outdated(decision: Decision) -> bool:
    """Whether a gate used a verdict about a signature by other rules than the present ones."""
    return any(values_under([gate.facts for gate in decision.gates], "outdated"))
