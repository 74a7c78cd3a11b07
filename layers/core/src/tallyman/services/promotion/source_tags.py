"""Handles tags of a promotion's source that have moved to another image meanwhile."""

from collections.abc import Sequence
from dataclasses import replace

from tallyman.domain.decide import Decision
from tallyman.domain.events.hints import Promote
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.ports.messages import Hints
from tallyman.ports.records import Ledger, State
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.state import pending
from tallyman.state.pending import PENDING
from tallyman.values import value


@value
class SourceTags:
    """Finds what the tags of an image name now in the source of its promotion, as recorded."""

    policy: Policy
    ledger: Ledger
    state: State
    hints: Hints

    def taken_over(self, decision: Decision) -> Digest | None:
        """The other image to which the source has moved tags that were begun for this one, if its promotion is setting
        them: it finishes them. None: there is none."""
        if decision.tagging is None:
            return None
        current = {tag for tag, digest in self._named(decision) if digest == decision.digest}
        moved = set(decision.tagging.tags) - current
        where = pending.partition(decision.target), pending.prefix(decision.repository)
        for entry in PENDING.list(self.state, *where) if moved else ():
            other = entry.value
            if other.digest != decision.digest and other.tagging_since and moved & set(other.tags):
                return other.digest
        return None

    def hint_newer(self, decision: Decision, tags: Sequence[str], correlation: str | None) -> None:
        """Hint `promote_image` of the images that these tags name now in the source: their promotions have to look at
        the targets again, because this one has set the tags."""
        for tag, digest in self._named(decision) if tags else ():
            if tag in tags and digest != decision.digest:
                newer = replace(Promote(digest, *decision.candidate, correlation), check=True)
                self.hints.send("promote", newer.dump())

    def _named(self, decision: Decision) -> list[tuple[str, Digest]]:
        """Each tag that the image had in a registry of the source, with the digest that it names there now."""
        places = self.policy.environment(decision.source).repositories(decision.repository)
        image = load_image_facts(self.ledger, self.state, decision.digest)
        return [(tag, digest) for (place, tag), digest in image.pointing.items() if place in places and digest]
