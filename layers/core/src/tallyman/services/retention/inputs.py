"""Inputs to a retention plan besides the registry: usage, releases, pending promotions, freezes, other regions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from tallyman.domain.gates import FAILED
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.retention import Inventory, Reading, RetentionInputs
from tallyman.domain.retention.inputs import wanted_tags
from tallyman.domain.times import format_time
from tallyman.errors import NotFound, TallymanError
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource, Replication
from tallyman.ports.running import UsageReadings
from tallyman.services.deciding.freezes import in_force
from tallyman.services.deciding.image_facts import digest_then
from tallyman.services.retention.release_log import ReleaseLog, releases_needed
from tallyman.state import marks, pending, tags
from tallyman.state.marks import MARKS, Mark
from tallyman.state.pending import PENDING
from tallyman.state.policy import KEY as POLICY_KEY
from tallyman.state.policy import POLICY
from tallyman.state.tags import TAGS
from tallyman.values import value


@value
class ReadInputs:
    """Reads everything that could need an image. Writes nothing."""

    policy: Policy
    source: ImageSource
    ledger: Ledger
    state: State
    replication: Replication
    usage: UsageReadings
    clock: Clock

    def readings(self) -> list[Reading]:
        """Every source of usage in each account and region of the policy, read now."""
        return [
            reading
            for registry in self.policy.registries()
            for reading in self.usage.readings(registry, self.clock(), self.policy.usage)
        ]

    def read(self, inventory: Inventory, log: ReleaseLog, moved: Mapping[Digest, datetime]) -> RetentionInputs:
        """The ledger's and the state's data about the repository now; `log` is brought up to date.

        Pending promotions are read before releases, so that an image that is promoted meanwhile is in one of the two.
        Cost: for each environment a Query for pending promotions, a GetItem and a Query for releases, and one for
        freezes; a DescribeRegistry, and a listing of each region that `deleteReplication` reaches.
        """
        waiting: dict[Digest, str] = {}
        for environment in self.policy.environments:
            for waits in PENDING.list(self.state, pending.partition(environment), pending.prefix(inventory.name)):
                if waits.value.verdict != FAILED:
                    waiting[waits.value.digest] = f"is waiting for its promotion to {environment}"
        return RetentionInputs(
            moved=moved,
            releases=log.read(self.ledger, self.state, self._names(), self.clock()),
            waiting=waiting,
            elsewhere=self._elsewhere(inventory),
            frozen=self._frozen(inventory),
        )

    def _names(self) -> dict[str, tuple[str, ...]]:
        """Each environment, with the names that it had before."""
        in_force = POLICY.get(self.state, POLICY_KEY)
        return {name: in_force.former(name) if in_force else () for name in self.policy.environments}

    def log(self, inventory: Inventory) -> ReleaseLog:
        """A log, not read yet, of the releases that the repository's retention needs."""
        return ReleaseLog(inventory.name, releases_needed(self.policy.repository(inventory.name).retention))

    def started(self, inventory: Inventory, readings: Sequence[Reading]) -> dict[tuple[str, datetime], Digest | None]:
        """The digests that tags pointed to when a workload began to use them. Two or more Queries for each, of an index
        that may lag some milliseconds."""
        repository = inventory.repository
        return {
            (tag, since): digest_then(self.ledger, repository, tag, since)
            for tag, since in wanted_tags(readings, repository.name, repository.registry)
        }

    def moved(self, inventory: Inventory, rows: Iterable[int] | None = None) -> dict[Digest, datetime]:
        """The time at which a tag was last moved to each image: of all images, by one Query; of `rows`, by a read for a
        hundred tags."""
        repository = inventory.repository
        if rows is None:
            found_tags = [entry.value for entry in TAGS.list(self.state, tags.partition(repository))]
        else:
            keys = [tags.key(repository, tag) for row in rows for tag in inventory.tags[row]]
            found_tags = list(TAGS.get_many(self.state, keys).values())
        found: dict[Digest, datetime] = {}
        for tag in found_tags:
            if tag.digest:
                found[tag.digest] = max(tag.at, found.get(tag.digest, tag.at))
        return found

    def marks(self, inventory: Inventory) -> dict[Digest, Mark]:
        """The marks of the repository: one Query."""
        entries = MARKS.list(self.state, marks.partition(inventory.repository))
        return {Digest(entry.sk): entry.value for entry in entries}

    def begun(
        self, inventory: Inventory, marked: Mapping[Digest, Mark], removed: dict[Digest, bool]
    ) -> frozenset[Digest]:
        """Images that were marked together with their holders (indexes, subjects), all of which retention has removed:
        in this run, or in an earlier one that ended in the middle of an image graph.

        `removed`: whether retention removed an image that is gone; missing entries are added, with one Query for each
        holder that is gone together with its mark.
        """
        for digest, mark in marked.items():
            if digest not in inventory.rows and mark.proof is not None:  # by retention: its fact is not written yet
                removed[digest] = True
        found = set()
        for digest, mark in marked.items():
            holders = mark.holders
            if holders and digest in inventory.rows and not any(holder in inventory.rows for holder in holders):
                for holder in holders:
                    if holder not in removed:
                        removed[holder] = self._was_removed(inventory.repository, holder)
                if all(removed[holder] for holder in holders):
                    found.add(digest)
        return frozenset(found)

    def _was_removed(self, repository: Repository, digest: Digest) -> bool:
        return any(f.kind is Kind.REMOVED and f.repository == repository for f in self.ledger.of_digest(digest))

    def _frozen(self, inventory: Inventory) -> tuple[str, ...]:
        if inventory.environment is None:
            return ()
        return tuple(
            f"{inventory.environment} is frozen since {format_time(freeze.at)} by {freeze.by}"
            for freeze in in_force(self.state, inventory.environment)
            if freeze.repository in (None, inventory.name)
        )

    def _elsewhere(self, inventory: Inventory) -> dict[Digest, str]:
        """Images that a removal here would also remove from another region that has them. A region that can't be read
        counts as having all of them."""
        found: dict[Digest, str] = {}
        for registry in self.replication.removal_reaches(inventory.repository):
            there = Repository(registry, inventory.repository.name)
            try:
                for detail in self.source.images(there):
                    if detail.digest in inventory.rows:
                        found[detail.digest] = f"deleteReplication would remove it from {registry} too"
            except NotFound:
                continue
            except TallymanError as error:
                reason = f"deleteReplication would remove it from {registry} too, which can't be read: {error}"
                return {Digest(digest): reason for digest in inventory.digests}
        return found
