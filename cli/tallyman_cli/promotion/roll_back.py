"""Rolls a release back, for `release roll-back` and `recall --roll-back`: chooses the image, and asks for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.details.decisions import Destination
from tallyman.domain.history.details.releases import Released
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.names import Digest, parse_tag
from tallyman.errors import NotFound, Refused
from tallyman.services.deciding.image_facts import load_image_facts
from tallyman.services.releases.pointer import releases
from tallyman.state import tags
from tallyman.state.releases import RELEASES, key
from tallyman.state.tags import TAGS
from tallyman_cli.shared import asking
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.waiting import wait_for
from tallyman_cli.views import record


def is_recalled(stack: Stack, digest: Digest, at: datetime | None = None) -> bool:
    """Whether the image is recalled, or was at a moment. Reads its facts."""
    return record.is_recalled(load_image_facts(stack.ledger, stack.state, digest), at)


@dataclass(frozen=True, slots=True)
class RollBack:
    """Of the release of a repository (its canonical name) in an environment."""

    stack: Stack
    environment: str
    name: str

    def target(self, to: str | None = None) -> Digest:
        """The digest to roll back to: what was released or promoted as `to` (a tag or digest), without it the last
        release that is not recalled. Raises NotFound; Refused where the environment runs it already."""
        environment, name = self.environment, self.name
        in_force = RELEASES.get(self.stack.state, key(environment, name))
        if in_force is None:
            raise NotFound(f"{environment} runs nothing of {name}: there is nothing to roll back")
        now = in_force.digest
        found = Digest.parse(to) if to and ":" in to else None
        tag = parse_tag(to) if to and found is None else None
        for digest, released in self._releases():
            if (found and digest == found) or (tag and tag in released.tags):
                if digest == now:
                    raise Refused(f"{environment} runs {to} of {name} already")
                return digest
            if not to and digest != now and not is_recalled(self.stack, digest):
                return digest
        for brought in {found} if found else self._tagged(tag):
            if brought != now and self._was_promoted(brought):
                return brought
        if to:
            raise NotFound(f"{to} of {name} was never promoted to {environment}")
        raise NotFound(f"{environment} has no other good image of {name} to roll back to")

    def tags(self, digest: Digest) -> list[str]:
        """The tags with which the digest was last released there; none if it never was."""
        return next((list(released.tags) for earlier, released in self._releases() if earlier == digest), [])

    def ask(self, digest: Digest, because: str, *, timeout: float, wait: bool = True) -> asking.Asked:
        """Send the command, and wait until the release is set or refused, `timeout` seconds at most."""
        of = {"digest": digest, "repository": self.name, "environment": self.environment}
        body = {"command": "roll-back", **of, "because": because}
        asked = asking.ask(self.stack, body, timeout=timeout, wait=wait)
        if not asked.done:
            return asked

        def outcome() -> Fact | None:
            mine = [f for f in self.stack.ledger.of_digest(digest) if Said.parse(f).request == asked.request]
            refused = next((f for f in mine if f.kind is Kind.REQUESTED and Said.parse(f).refused), None)
            return refused or next((f for f in mine if f.kind is Kind.ROLLED_BACK), None)

        done = wait_for(self.stack, outcome, timeout)
        if done is None:
            return asking.Asked(asked.request, asked.fact, f"not rolled back within {timeout:g} s: it may still happen")
        return asking.Asked.of(asked.request, done)

    def _releases(self) -> Iterator[tuple[Digest, Released]]:
        """The releases, newest first."""
        for fact in releases(self.stack.ledger, self.environment, self.name):
            assert fact.digest is not None  # of every release
            yield fact.digest, Released.parse(fact)

    def _tagged(self, tag: str | None) -> set[Digest]:
        """The digests that the tag points to in the registries of the environment, by the state."""
        places = self.stack.policy.environment(self.environment).repositories(self.name) if tag else ()
        found = (TAGS.get(self.stack.state, tags.key(place, str(tag))) for place in places)
        return {there.digest for there in found if there is not None and there.digest is not None}

    def _was_promoted(self, digest: Digest) -> bool:
        here = Destination(self.environment, self.name)
        facts = self.stack.ledger.of_digest(digest)
        return any(f.kind is Kind.PROMOTED and Destination.parse(f) == here for f in facts)
