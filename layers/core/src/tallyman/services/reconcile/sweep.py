"""One repository: what its registry holds is compared with what the ledger tells, and the difference written down.

Cost of a repository without a difference: a listing (a call for 1,000 images), and a Query for a MiB of the state of
its tags and of its images (about 100 bytes each). A difference costs what its event would have cost, without the
question to the registry for the image's details.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.images.details import ImageDetail
from tallyman.domain.images.manifest import INDEX_TYPES
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time, parse_time, whole_millis
from tallyman.errors import NotFound, RevisionConflict
from tallyman.ports.clocks import Clock, Deadline
from tallyman.ports.messages import Notices
from tallyman.ports.records import Appended, Ledger, State, StateChange
from tallyman.ports.registries import ImageSource
from tallyman.services.copying.blobs import enough_time
from tallyman.services.deciding.image_facts import tag_partition
from tallyman.services.deciding.policy_in_force import POLICY_KEY
from tallyman.services.reconcile.differences import Known, differences
from tallyman.services.reconcile.waiting import Waiting
from tallyman.services.recording.record_image import RecordImage, Seen
from tallyman.services.recording.registry_state import hold, image_partition, lost_change, mark_active
from tallyman.services.recording.stowaways import report_gathered, report_stowaway
from tallyman.values import value

SWEEP = "S#sweep"
"""The partition of the state table with an item for each repository, sk `<registry>/<repository>`.

`data`: {swept: when it was last compared to the end, None: never; tried: when last begun; run: the token of the full
sweep that did it last; open: digests that are being worked on, which are judged again if this process dies; missed:
how many events' worth of differences were found; untold: stowaways of the first sweep are not reported yet; images,
bytes, indexes left out: each image's size, layers that images share counted each time}.
"""
_FIRST_RUN = timedelta(minutes=15)
"""From a deployment, when events begin to come, until some function first runs and names the policy: the schedule."""
_CHUNK = 25
_TRIES = 8


@dataclass(slots=True)
class Swept:
    """What one sweep of a repository found. `missed`: differences that an event should have told (at first sight of
    a repository only those since events began to tell of it: years of images are no lost events)."""

    data: dict[str, Any]
    missed: int


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

    def repository(
        self, repository: Repository, run: str, left: Deadline, read_trail: Callable[[], bool], found: Counter[str]
    ) -> Swept:
        """Writes down what is missing; may be repeated after a crash at any point, and changes nothing twice.

        `read_trail` is asked once there is a difference; True: calls were written down, look again. Raises OutOfTime
        where the run ends first: the next sweep skips what is written. `found` counts along, by kind.
        """
        data = self._data(repository)
        first = data["swept"] is None
        now = whole_millis(self.clock())
        known, listed = self._look(repository, left)
        work = self._work(repository, known, listed, now)
        missed = data["missed"]
        if missed is None:
            missed = len(self._since_known(work, known) if first else work)
        if work:
            mark_active(self.state, repository, now)  # CloudTrail may tell of it only in some minutes
        if work:
            # what the trail tells is written down by its call, but what the lost event would have set off is not
            found_out = list(dict.fromkeys(seen.digest for seen in work))
            data |= {"missed": missed, "open": list(dict.fromkeys([*data["open"], *found_out]))}
            self._save(repository, data)
            if read_trail():
                known, listed = self._look(repository, left)
                before, work = work, self._work(repository, known, listed, now)
                still = {(seen.kind, seen.digest, seen.tag) for seen in work}
                found.update(s.kind for s in before if (s.kind, s.digest, s.tag) not in still)
        undone = {seen.digest for seen in work}
        for digest in (Digest(d) for d in data["open"] if d not in undone):
            self._stowaways(repository, digest, first, found)
            self._after(repository, digest, listed.get(digest), first, found)
        self._tidy(repository, known, listed)
        for chunk in _chunks(work):
            digests = list(dict.fromkeys(seen.digest for seen in chunk))
            data |= {
                "open": digests,
                "missed": missed,
                "untold": data["untold"] or (first and self._is_target(repository)),
            }
            self._save(repository, data)
            for digest, group in groupby(chunk, key=lambda seen: seen.digest):
                enough_time(left, f"the sweep of {repository}")
                for seen in group:
                    self._write(seen, first, found)
                self._after(repository, digest, listed.get(digest), first, found)
        if data["untold"]:
            report_gathered(self.policy, self.ledger, self.notices, repository)
        sizes = [d.size or 0 for d in listed.values() if d.media_type not in INDEX_TYPES]
        data |= {"swept": format_time(now), "tried": format_time(now), "run": run, "images": len(listed)}
        data |= {"bytes": sum(sizes), "open": [], "missed": None, "untold": False}
        self._save(repository, data, missed, now)
        return Swept(data, missed)

    def failed(self, repository: Repository, run: str) -> None:
        """Notes that the repository was tried, so that one that can't be read doesn't keep the others waiting."""
        self._save(repository, self._data(repository) | {"tried": format_time(self.clock()), "run": run})

    def forget(self, repository: Repository) -> None:
        """The repository is gone, and all of it written down as removed."""
        item = self.state.get(SWEEP, str(repository))
        if item is not None:
            self.state.delete(SWEEP, str(repository), item.revision)

    def _look(self, repository: Repository, left: Deadline) -> tuple[Known, dict[Digest, ImageDetail]]:
        """The state first: an item that is unchanged when it is written to is then not newer than the listing."""
        tags = {item.sk: item for item in self.state.list(tag_partition(repository))}
        images = {item.sk: item for item in self.state.list(image_partition(repository))}
        listed: dict[Digest, ImageDetail] = {}
        try:
            for number, detail in enumerate(self.source.images(repository)):
                if number % 1000 == 0:
                    enough_time(left, f"the sweep of {repository}")
                listed[detail.digest] = detail
        except NotFound:
            listed = {}  # the repository was removed
        return Known(tags, images), listed

    def _work(
        self, repository: Repository, known: Known, listed: Mapping[Digest, ImageDetail], now: datetime
    ) -> list[Seen]:
        work = []
        for seen in differences(repository, known, listed, now):
            if not self._is_told(seen, known):
                work.append(seen)
            elif change := lost_change(known.tags[str(seen.tag)], None, seen.digest, now):
                with suppress(RevisionConflict):
                    self.state.put(change)
        return work

    def _write(self, seen: Seen, first: bool, found: Counter[str]) -> None:
        found[seen.kind] += 1
        if seen.kind in (Kind.DELETED, Kind.UNTAGGED):
            self.images.removed(seen.repository, seen.digest, seen.tag, seen.at, Via.RECONCILED, seen.key)
        elif self.images.pushed(seen, tell=not first):
            found["stowaways"] += 1

    def _stowaways(self, repository: Repository, digest: Digest, first: bool, found: Counter[str]) -> None:
        for fact in self.ledger.of_digest(digest):
            if fact.repository == repository and report_stowaway(
                self.policy, self.ledger, self.notices, fact, tell=not first
            ):
                found["stowaways"] += 1

    def _is_told(self, seen: Seen, known: Known) -> bool:
        """Whether the ledger tells that the image of a vanished tag was deleted, and was told so before of its push."""
        item = known.tags[seen.tag].data if seen.kind is Kind.UNTAGGED and seen.tag else {}
        if item.get("told") != seen.digest or item.get("unsure"):
            return False
        facts = self.ledger.of_digest(seen.digest)
        mine = [f for f in facts if f.repository == seen.repository]
        last = max((f.at for f in mine if f.kind in PUSHES and f.tag == seen.tag), default=None)
        return last is not None and any(f.kind is Kind.DELETED and f.at >= last for f in mine)

    def _after(
        self, repository: Repository, digest: Digest, detail: ImageDetail | None, first: bool, found: Counter[str]
    ) -> None:
        """What the lost event would have set off: verification, the scan's outcome, a decision."""
        if detail is None:
            self.images.evaluator.digest(digest)
        elif detail.tags:
            for environment, name in self.policy.environments_of(repository.registry, repository.name):
                leads_on = bool(self.policy.promotions_from(environment.name, name))
                if leads_on or not (first or self.policy.is_target(environment.name, name)):
                    self.waiting.verify(repository, digest, sorted(detail.tags)[0], found)
            self.waiting.look(digest, found)

    def _since_known(self, work: Sequence[Seen], known: Known) -> list[Seen]:
        """Of a first sweep: what happened since events told of the repository, or since the policy is in force."""
        item = self.state.get(*POLICY_KEY)
        times = [t for t in (known.since(), parse_time(item.data["at"]) - _FIRST_RUN if item else None) if t]
        since = min(times, default=None)

        def is_later(seen: Seen) -> bool:
            known_before = known.holds(seen.digest) or seen.tag in known.tags
            return known_before or bool(since and seen.detail and seen.detail.pushed_at > since)

        return [seen for seen in work if is_later(seen)]

    def _tidy(self, repository: Repository, known: Known, listed: Mapping[Digest, ImageDetail]) -> None:
        """Corrects state that is behind although no fact is missing (a crash in between, an event that came late).

        That somebody else changes it meanwhile is no matter: they have read the registry later than we did.
        """
        pointing = {tag: digest for digest, detail in listed.items() for tag in detail.tags}
        for tag, item in known.tags.items():
            current = pointing.get(tag)
            if item.data.get("told") == current and item.data.get("digest") != current:
                with suppress(RevisionConflict):
                    self.state.put(StateChange(item.pk, tag, item.revision, {**item.data, "digest": current}))
        told = {item.data.get("told") for item in known.tags.values()}
        for digest in listed:
            if digest in told and not known.holds(digest):
                with suppress(RevisionConflict):
                    hold(self.state, repository, digest, True, None, self.clock())

    def _is_target(self, repository: Repository) -> bool:
        found = self.policy.environments_of(repository.registry, repository.name)
        return any(self.policy.is_target(environment.name, name) for environment, name in found)

    def _data(self, repository: Repository) -> dict[str, Any]:
        item = self.state.get(SWEEP, str(repository))
        empty: dict[str, Any] = {"swept": None, "tried": None, "run": None, "open": [], "missed": None, "untold": False}
        return {**empty, "images": None, "bytes": None, **(item.data if item else {})}

    def _save(
        self, repository: Repository, data: Mapping[str, Any], missed: int = 0, now: datetime | None = None
    ) -> None:
        """Writes the position, and with it how many events were missed; of two sweeps at once the last one's stays."""
        for _ in range(_TRIES):
            item = self.state.get(SWEEP, str(repository))
            change = StateChange(SWEEP, str(repository), item.revision if item else 0, dict(data))
            try:
                if (
                    not missed
                    or now is None
                    or self.ledger.append(self._missed(change, missed, now), change) is Appended.KNOWN
                ):
                    self.state.put(change)
                return
            except RevisionConflict:
                continue
        raise RevisionConflict(f"other sweeps keep working at {repository}: try again")

    def _missed(self, change: StateChange, missed: int, now: datetime) -> Fact:
        repository = Repository.parse(change.sk)
        found = self.policy.environments_of(repository.registry, repository.name)
        return Fact(
            kind=Kind.MISSED,
            id=fact_id(Kind.MISSED, repository, change.revision),
            at=now,
            seen=whole_millis(self.clock()),
            via=Via.RECONCILED,
            environment=found[0][0].name if found else None,
            detail={"count": missed, "repository": str(repository)},
        )


def _chunks(work: list[Seen]) -> Iterator[list[Seen]]:
    for start in range(0, len(work), _CHUNK):
        yield work[start : start + _CHUNK]
