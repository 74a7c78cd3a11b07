"""Compares one repository of a registry with the ledger, and records the differences.

Cost of a repository without a difference: a listing (a call for 1,000 images), and a Query for a MiB of the state of
its tags and of its images (about 100 bytes each). A difference costs what its event would have cost, without the
request for the image's details.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby

from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.history.fold import PUSHES, digest_at
from tallyman.domain.images.details import ImageDetail
from tallyman.domain.images.manifest import INDEX_TYPES, Manifest
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import NotFound, OutOfTime, RevisionConflict, TallymanError, Throttled, Unreachable
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.messages import Notices
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource
from tallyman.services.copying.blobs import enough_time
from tallyman.services.reconcile.differences import Known, differences
from tallyman.services.reconcile.positions import SweepPositions
from tallyman.services.reconcile.turns import isolated
from tallyman.services.reconcile.waiting import Waiting
from tallyman.services.recording.record_image import Observation, RecordImage
from tallyman.services.recording.registry_state import hold, lost_change, mark_active
from tallyman.services.recording.stowaways import report_gathered, report_stowaway
from tallyman.state import images, tags
from tallyman.state.images import IMAGES
from tallyman.state.policy import KEY as POLICY_KEY
from tallyman.state.policy import POLICY
from tallyman.state.sweeps import SweepState
from tallyman.state.tags import TAGS
from tallyman.values import value

_FIRST_RUN = timedelta(minutes=15)
"""The longest time between a deployment, when events begin, and the first run of a function, which records the
policy: the interval of the schedule."""
_CHUNK = 25
"""Images that are recorded between two writes of the position, which names them."""
_TRAILED = 200
"""The most differing digests for which CloudTrail's history is read first. More mean a new repository or a long outage,
and the position can't name them all: the history is then read afterwards."""
PAGE = 100
"""The most images of a first sweep that one run has verified and evaluated; it records all of them."""
_MOST_GONE = 500
"""The most items of removed tags to which one sweep adds an expiry."""


@dataclass(slots=True)
class Swept:
    """The result of one sweep. `missed`: differences that an event should have reported (in the first sweep of a
    repository only those since its first event: older images are not lost events)."""

    state: SweepState
    missed: int
    problems: list[str]


@value
class Sweep:
    """Compares one repository at a time."""

    policy: Policy
    source: ImageSource
    ledger: Ledger
    state: State
    notices: Notices
    images: RecordImage
    waiting: Waiting
    clock: Clock

    @property
    def positions(self) -> SweepPositions:
        """The positions of its sweeps."""
        return SweepPositions(self.policy, self.ledger, self.state, self.notices, self.clock)

    def repository(  # noqa: C901 - steps in one order; each save holds what the steps before it found
        self, repository: Repository, run: str, left: Deadline, read_trail: Callable[[], bool], found: Counter[str]
    ) -> Swept:
        """Record what the ledger lacks. May be repeated after a crash at any point; changes nothing twice.

        `read_trail` is called where there is a difference; True: it recorded calls, and the registry is compared again.
        `found` counts the differences by kind. Raises OutOfTime where the run ends first: the next sweep skips what was
        recorded. An image that can't be recorded does not end the sweep: it is in the `problems`, and the next sweep
        tries it again.
        """
        sweep = self.positions.of(repository)
        first = sweep.swept is None
        now = whole_millis(self.clock())
        problems: list[str] = []
        known, listed = self._look(repository, left)
        work = self._work(repository, known, listed, now)
        missed = sweep.missed
        if missed is None:
            missed = len(self._since_known(work, known) if first else work)
        if work:
            mark_active(self.state, repository, now)  # CloudTrail may report it only in some minutes
        found_out = list(dict.fromkeys(seen.digest for seen in work))
        if found_out and len(found_out) + len(sweep.open) <= _TRAILED:
            # the trail records the changes, but does not start what the lost events would have started
            sweep = replace(sweep, missed=missed, open=tuple(dict.fromkeys([*sweep.open, *found_out])))
            self.positions.save(repository, sweep)
            if read_trail():
                known, listed = self._look(repository, left)
                before, work = work, self._work(repository, known, listed, now)
                still = {(seen.kind, seen.digest, seen.tag) for seen in work}
                found.update(s.kind for s in before if (s.kind, s.digest, s.tag) not in still)
        undone = {seen.digest for seen in work}
        open_digests = [digest for digest in sweep.open if digest not in undone]
        try:
            while open_digests:
                enough_time(left, f"the sweep of {repository}")
                with _apart(repository, open_digests[0], problems):
                    self._stowaways(repository, open_digests[0], first, found)
                    if not first:
                        self._after(repository, open_digests[0], listed.get(open_digests[0]), first, found)
                del open_digests[0]
            self._tidy(repository, known, listed)
            for chunk in _chunks(work):
                open_digests = list(dict.fromkeys(seen.digest for seen in chunk))
                untold = sweep.untold or (first and self._is_target(repository))
                sweep = replace(sweep, open=tuple(open_digests), missed=missed, untold=untold)
                self.positions.save(repository, sweep)
                read = self._manifests(repository, chunk)
                for digest, group in groupby(chunk, key=lambda seen: seen.digest):
                    enough_time(left, f"the sweep of {repository}")
                    with _apart(repository, digest, problems):
                        for number, seen in enumerate(group):
                            as_listed = self._as_listed(seen, known, number == 0)
                            self._write(replace(as_listed, manifest=read.get(seen.digest)), first, found)
                        if not first:
                            self._after(repository, digest, listed.get(digest), first, found)
                    open_digests = [each for each in open_digests if each != digest]
        except OutOfTime:
            # the next run begins with another repository, and continues here with the rest
            self.positions.save(repository, replace(sweep, open=tuple(open_digests), missed=missed, tried=self.clock()))
            raise
        if sweep.untold:
            report_gathered(self.policy, self.ledger, self.notices, repository)
        sizes = [d.size or 0 for d in listed.values() if d.media_type not in INDEX_TYPES]
        last, backlog = sweep, "" if first else sweep.backlog
        sweep = SweepState(swept=now, tried=now, run=run, images=len(listed), bytes=sum(sizes), backlog=backlog)
        if problems:
            failing = replace(sweep, failures=last.failures)
            sweep = self.positions.failing(repository, failing, problems[0], last.swept)
        self.positions.save(repository, sweep, missed, now)
        if sweep.backlog is not None:
            sweep = self._follow(repository, sweep, listed, found, problems, left)
        return Swept(sweep, missed, problems)

    def _follow(
        self,
        repository: Repository,
        sweep: SweepState,
        listed: Mapping[Digest, ImageDetail],
        found: Counter[str],
        problems: list[str],
        left: Deadline,
    ) -> SweepState:
        """Start, for a page of the images that the first sweep found, what their events would have started. The next
        sweep continues after the page."""
        position, done = sweep.backlog, 0
        try:
            for digest in sorted(d for d, detail in listed.items() if detail.tags and d >= (sweep.backlog or "")):
                position = digest
                if done == PAGE:
                    mark_active(self.state, repository, self.clock())  # so that the next run sweeps it again
                    break
                enough_time(left, f"the sweep of {repository}")
                with _apart(repository, digest, problems):
                    if not self._was_reported(repository, listed[digest]):
                        done += self._after(repository, digest, listed[digest], True, found)
            else:
                position = None
        finally:
            sweep = replace(sweep, backlog=position)
            self.positions.save(repository, sweep)
        return sweep

    def _was_reported(self, repository: Repository, detail: ImageDetail) -> bool:
        """Whether an event or a call reported the last push of each of the image's tags: its reaction does the rest."""
        facts = sorted(self.ledger.of_digest(detail.digest), key=lambda fact: (fact.at, fact.seen))
        last = {f.tag: f.via for f in facts if f.kind in PUSHES and f.repository == repository}
        return all(last.get(tag, Via.RECONCILED) is not Via.RECONCILED for tag in detail.tags)

    def _look(self, repository: Repository, left: Deadline) -> tuple[Known, dict[Digest, ImageDetail]]:
        """Read the state, then list the registry. In this order an item that is still unchanged when it is written is
        not newer than the listing."""
        known_tags = {entry.sk: entry for entry in TAGS.list(self.state, tags.partition(repository))}
        known_images = {entry.sk: entry for entry in IMAGES.list(self.state, images.partition(repository))}
        listed: dict[Digest, ImageDetail] = {}
        try:
            for number, detail in enumerate(self.source.images(repository)):
                if number % 1000 == 0:
                    enough_time(left, f"the sweep of {repository}")
                listed[detail.digest] = detail
        except NotFound:
            listed = {}  # the repository is gone
        except OutOfTime:
            # so that others come first
            self.positions.save(repository, replace(self.positions.of(repository), tried=self.clock()))
            raise
        return Known(known_tags, known_images), listed

    def _as_listed(self, seen: Observation, known: Known, fresh: bool) -> Observation:
        """The observation with the listed items of its tag and image, so that they need not be read again. `fresh`: it
        is the first of its image; with later ones the item of the image was written already."""
        at = seen.repository
        if seen.tag is not None and seen.kind in PUSHES:
            tag = known.tags.get(seen.tag) or TAGS.entry(tags.key(at, seen.tag), None)
            seen = replace(seen, pointing=tag)
        if fresh:
            held = known.images.get(seen.digest) or IMAGES.entry(images.key(at, seen.digest), None)
            seen = replace(seen, held=held)
        return seen

    def _manifests(self, repository: Repository, chunk: Sequence[Observation]) -> Mapping[str, Manifest]:
        """The manifests of the images that are there, in one call, except those of archived ones, which the registry
        does not give. Empty where one of them can't be read: each is then read by itself."""
        wanted = list(dict.fromkeys(seen.digest for seen in chunk if seen.detail and not seen.detail.archived))
        try:
            return self.source.manifests(repository, wanted) if wanted else {}
        except (Unreachable, Throttled):
            raise
        except TallymanError:
            return {}

    def _work(
        self, repository: Repository, known: Known, listed: Mapping[Digest, ImageDetail], now: datetime
    ) -> list[Observation]:
        work = []
        for seen in differences(repository, known, listed, now):
            if not self._is_deletion_known(seen, known):
                work.append(seen)
            elif change := lost_change(known.tags[str(seen.tag)], None, seen.digest, now, now):
                with suppress(RevisionConflict):
                    self.state.put(change)
        return work

    def _write(self, seen: Observation, first: bool, found: Counter[str]) -> None:
        found[seen.kind] += 1
        if seen.kind in (Kind.DELETED, Kind.UNTAGGED):
            gone = Observation(seen.kind, seen.repository, seen.digest, seen.tag, seen.at, Via.RECONCILED, seen.key)
            self.images.removed(gone)
        elif self.images.pushed(seen, notify=not first):
            found["stowaways"] += 1

    def _stowaways(self, repository: Repository, digest: Digest, first: bool, found: Counter[str]) -> None:
        now = whole_millis(self.clock())
        for fact in self.ledger.of_digest(digest):
            if fact.repository == repository and report_stowaway(
                self.policy, self.ledger, self.notices, replace(fact, seen=now), notify=not first
            ):
                found["stowaways"] += 1

    def _is_deletion_known(self, seen: Observation, known: Known) -> bool:
        """Whether the history already says that the image of a vanished tag was deleted after its last push."""
        tag = known.tags[seen.tag].value if seen.kind is Kind.UNTAGGED and seen.tag else None
        if tag is None or seen.tag is None or tag.reported != seen.digest or tag.unsure:
            return False
        facts = [f for f in self.ledger.of_digest(seen.digest) if f.repository == seen.repository]
        if not any(f.kind in PUSHES and f.tag == seen.tag for f in facts):
            return False
        return digest_at(facts, seen.repository, seen.tag, max(f.at for f in facts)) is None

    def _after(
        self, repository: Repository, digest: Digest, detail: ImageDetail | None, first: bool, found: Counter[str]
    ) -> bool:
        """Start what the lost event would have started: verification, reading the scan, an evaluation. Return whether
        there was anything to do."""
        asked = False
        if detail is None:
            self.images.evaluator.digest(digest)
        elif detail.tags:
            promotions, is_target = self.policy.promotions_out_of(repository), self._is_target(repository)
            is_ours = self.policy.environment_of(repository)[0] is not None
            if promotions or (is_ours and not (first or is_target)):
                self.waiting.verify(repository, digest, sorted(detail.tags)[0], found)
                asked = True
            # an image that no promotion takes or brought needs no evaluation
            if is_target or any(p.tags.allows(tag) for p in promotions for tag in detail.tags):
                self.waiting.look(digest, found)
                asked = True
        return asked

    def _since_known(self, work: Sequence[Observation], known: Known) -> list[Observation]:
        """The observations of a first sweep since events began to report the repository, or since the policy is in
        force."""
        policy = POLICY.get(self.state, POLICY_KEY)
        times = [t for t in (known.since(), policy.at - _FIRST_RUN if policy else None) if t]
        since = min(times, default=None)

        def is_later(seen: Observation) -> bool:
            known_before = known.holds(seen.digest) or seen.tag in known.tags
            return known_before or bool(since and seen.detail and seen.detail.pushed_at > since)

        return [seen for seen in work if is_later(seen)]

    def _tidy(self, repository: Repository, known: Known, listed: Mapping[Digest, ImageDetail]) -> None:
        """Correct items that are out of date although no fact is missing (after a crash, or a late event).

        A concurrent change of an item is left as it is: its writer has read the registry later than this sweep.
        """
        pointing = {tag: digest for digest, detail in listed.items() for tag in detail.tags}
        for tag, entry in known.tags.items():
            current = pointing.get(tag)
            if entry.value.reported == current and entry.value.digest != current:
                corrected = replace(entry.value, digest=current)
                with suppress(RevisionConflict):
                    self.state.put(entry.write(corrected, tags.expiry(corrected, self.clock())))
        gone = [e for e in known.tags.values() if e.expires is None and tags.expiry(e.value, self.clock())]
        for entry in gone[:_MOST_GONE]:  # earlier versions wrote them without an expiry
            with suppress(RevisionConflict):
                self.state.put(entry.write(entry.value, tags.expiry(entry.value, self.clock())))
        reported = {entry.value.reported for entry in known.tags.values()}
        for digest in listed:
            if digest in reported and not known.holds(digest):
                with suppress(RevisionConflict):
                    hold(self.state, repository, digest, True, None, self.clock())

    def _is_target(self, repository: Repository) -> bool:
        environment, name = self.policy.environment_of(repository)
        return environment is not None and self.policy.is_target(environment.name, name)


def _apart(repository: Repository, digest: Digest, problems: list[str]) -> AbstractContextManager[None]:
    """Record an error of one image in `problems`. A registry that does not answer ends the sweep."""
    return isolated(f"{repository}@{digest}", problems, Unreachable, Throttled)


def _chunks(work: list[Observation]) -> Iterator[list[Observation]]:
    for start in range(0, len(work), _CHUNK):
        yield work[start : start + _CHUNK]
