"""Records the status of ECR's managed signing of an image, where a promotion asks for a signature."""

from tallyman.domain.decide import candidates
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.referrers import Signing
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.domain.plain import plain
from tallyman.domain.policy import Policy
from tallyman.errors import NotFound
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Appended, Ledger
from tallyman.ports.registries import SigningView
from tallyman.values import value


@value
class ReadSigning:
    """Reads the status of managed signing. No event reports it, so it is read after a push of the image or of its
    signature, before the image is promoted, and while it waits."""

    policy: Policy
    view: SigningView
    ledger: Ledger
    clock: Clock

    @property
    def is_asked_for(self) -> bool:
        """Whether a promotion of the policy asks for a signature."""
        return any("signed" in p.gates for rule in self.policy.repositories for p in rule.promotions)

    def refresh(self, digest: Digest) -> bool:
        """Read the status and record it if it changed; return whether it did. Cost: nothing where no promotion of
        the image has the gate `signed`; else a call for each registry of the source that has the image."""
        if not self.is_asked_for:
            return False
        facts = self.ledger.of_digest(digest)
        pushed = {f.repository for f in facts if f.kind in PUSHES}
        places: dict[Repository, None] = {}
        for name, promotion in candidates(self.policy, facts):
            if "signed" in promotion.gates:
                there = self.policy.environment(promotion.source).repositories(name)
                places |= dict.fromkeys(place for place in there if place in pushed)
        return sum(self._read(place, digest, facts) for place in places) > 0

    def _read(self, place: Repository, digest: Digest, facts: list[Fact]) -> bool:
        try:
            found = self.view.signing(place, digest)
        except NotFound:
            found = None  # the image was removed since
        found = found or []  # no status any more replaces the status before: unknown is closed
        signings = [f for f in facts if f.kind is Kind.SIGNING and f.repository == place]
        last = max(signings, key=lambda f: (f.seen, f.id), default=None)
        statuses = [plain(status) for status in sorted(found, key=lambda s: (s.profile, s.status))]
        if statuses == (Signing.parse(last).statuses if last else []):
            return False
        key = (place, digest, repr(statuses), last.id if last else None)
        fact = new_fact(Kind.SIGNING, key, Signing(statuses), self.clock(), digest=digest, repository=place)
        return self.ledger.append(fact) is Appended.WRITTEN
