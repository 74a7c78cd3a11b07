"""What a retention plan goes by besides the registry: who uses what; what is released, waits, is frozen, elsewhere."""

from collections.abc import Sequence
from datetime import datetime

from tallyman.domain.gates import FAILED
from tallyman.domain.history.facts import Kind
from tallyman.domain.history.fold import digest_at
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Policy
from tallyman.domain.retention import Inventory, Known, Reading
from tallyman.domain.retention.known import Release, wanted_tags
from tallyman.domain.times import format_time
from tallyman.errors import NotFound, TallymanError
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger, State
from tallyman.ports.registries import ImageSource, Replication
from tallyman.ports.running import UsageReadings
from tallyman.services.deciding.freezes import in_force
from tallyman.services.releases.pointer import releases
from tallyman.state import marks, pending, tags
from tallyman.state.marks import MARKS
from tallyman.state.pending import PENDING
from tallyman.state.tags import TAGS
from tallyman.values import value


@value
class Needs:
    """Asks everybody who could need an image. Writes nothing."""

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
            reading for registry in self.policy.registries() for reading in self.usage.readings(registry, self.clock())
        ]

    def known(self, inventory: Inventory, readings: Sequence[Reading]) -> Known:
        """What ledger and state tell of the repository. Cost: two Queries for each environment, one for the tags, two
        or more for each tag that something was started from; a DescribeRegistry, and a listing of each region that
        `deleteReplication` reaches. Consistent but for the history of tags."""
        repository, name = inventory.repository, inventory.name
        found: dict[Digest, list[Release]] = {}
        waiting: dict[Digest, str] = {}
        for environment in self.policy.environments:
            until: datetime | None = None
            for fact in releases(self.ledger, environment, name):
                if fact.digest is not None:
                    found.setdefault(fact.digest, []).append(Release(environment, fact.at, until))
                until = fact.at
            for waits in PENDING.list(self.state, pending.partition(environment), pending.prefix(name)):
                if waits.value.verdict != FAILED:
                    waiting[waits.value.digest] = f"waits to get into {environment}"
        moved: dict[Digest, datetime] = {}
        for entry in TAGS.list(self.state, tags.partition(repository)):
            if digest := entry.value.digest:
                moved[digest] = max(entry.value.at, moved.get(digest, entry.value.at))
        return Known(
            moved=moved,
            releases={digest: tuple(every) for digest, every in found.items()},
            waiting=waiting,
            elsewhere=self._elsewhere(inventory),
            frozen=self._frozen(inventory),
            started={
                (tag, since): self._digest_then(repository, tag, since)
                for tag, since in wanted_tags(readings, repository.name, repository.registry)
            },
        )

    def begun(self, inventory: Inventory) -> frozenset[Digest]:
        """Images that were marked to go with others, all of which retention has removed since: a run ended in the
        middle of a family. One Query for the marks, and one for each holder that is gone while its mark is too."""
        marked = {Digest(e.sk): e.value for e in MARKS.list(self.state, marks.partition(inventory.repository))}
        removed: dict[Digest, bool] = {}
        for digest, mark in marked.items():
            if digest not in inventory.rows:  # by us, where its proof was written: the fact is yet to be
                removed[digest] = mark.proof is not None
        found, asked = set(), set()
        for digest, mark in marked.items():
            holders = mark.holders
            if holders and digest in inventory.rows and not any(holder in inventory.rows for holder in holders):
                for holder in holders:
                    if holder not in asked and not removed.get(holder):
                        asked.add(holder)
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

    def _digest_then(self, repository: Repository, tag: str, since: datetime) -> Digest | None:
        facts = list(self.ledger.of_tag(repository, tag, since))
        for digest in {fact.digest for fact in facts if fact.digest}:
            facts.extend(f for f in self.ledger.of_digest(digest) if f.kind is Kind.DELETED and f.at <= since)
        return digest_at(facts, repository, tag, since)

    def _elsewhere(self, inventory: Inventory) -> dict[Digest, str]:
        """Images that another region still has, and that a removal here would remove there. Where such a region can't
        be read, it might have any of them."""
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
