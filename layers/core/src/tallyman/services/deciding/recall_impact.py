"""The impact of a recall: the releases that name the image, what runs it, and the last good release before."""

from collections.abc import Iterator, Sequence
from typing import Any

from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.times import text_or_none
from tallyman.domain.usage import Use
from tallyman.errors import TallymanError
from tallyman.ports.records import Ledger, State
from tallyman.ports.running import Usage
from tallyman.services.deciding.image_facts import above, load_image_facts
from tallyman.services.releases.pointer import is_recalled, releases
from tallyman.state import releases as release_items
from tallyman.state import tags
from tallyman.state.releases import RELEASES
from tallyman.state.tags import TAGS
from tallyman.values import value


@value
class RecallImpact:
    """Finds the impact of a recall. Changes nothing."""

    policy: Policy
    ledger: Ledger
    state: State
    usage: Usage

    def of(self, digest: Digest) -> dict[str, Any]:
        """The impact of recalling a digest: {digest, releases: [{environment, repository, digest, tags, last_good}],
        uses: [{kind, name, where, image, since}], unread: {registry: why}}; `last_good`: the digest to roll back to, or
        None.

        Cost: a Query of the releases of each environment, the facts of the image and of the indexes above it, and all
        sources of usage in every account and region of the policy. One that can't be read is named in `unread`: more
        workloads may run the image.
        """
        concerned = self._concerned(digest)
        found = [
            {
                "environment": environment,
                "repository": entry.sk,
                "digest": entry.value.digest,
                "tags": list(entry.value.tags),
                "last_good": self.last_good(environment, entry.sk),
            }
            for environment in self.policy.environments
            for entry in RELEASES.list(self.state, release_items.partition(environment))
            if entry.value.digest in concerned
        ]
        unread: dict[str, str] = {}
        uses = [_json(use) for use in self._running(unread) if self._runs(use, concerned)]
        return {"digest": digest, "releases": found, "uses": uses, "unread": unread}

    def users(self, digests: Sequence[Digest]) -> tuple[dict[Digest, list[Use]], dict[str, str]]:
        """The workloads that run each of these images or a part of it, and the registries whose usage could not be
        read, with why. All sources of usage are read once, whatever the number of images."""
        unread: dict[str, str] = {}
        running = list(self._running(unread))
        found: dict[Digest, list[Use]] = {}
        for digest in digests if running else ():
            concerned = self._concerned(digest)
            found[digest] = [use for use in running if self._runs(use, concerned)]
        return found, unread

    def last_good(self, environment: str, repository: str) -> Digest | None:
        """The last release before the present one that was not recalled since; None: there is none."""
        release = RELEASES.get(self.state, release_items.key(environment, repository))
        now = release.digest if release else None
        seen: set[Digest] = set()
        for fact in releases(self.ledger, environment, repository):
            if fact.digest is None or fact.digest in seen or fact.digest == now:
                continue
            seen.add(fact.digest)
            if not self._is_recalled(fact.digest):
                return fact.digest
        return None

    def _is_recalled(self, digest: Digest) -> bool:
        image = load_image_facts(self.ledger, self.state, digest)
        beneath = (*image.platforms.values(), *image.indexes.values())
        return any(is_recalled(list(facts)) for facts in (image.facts, *beneath))

    def _concerned(self, digest: Digest) -> set[Digest]:
        """The digests of the image, of its parts, and of every index above it."""
        image = load_image_facts(self.ledger, self.state, digest)
        return {digest, *image.platforms, *image.indexes, *above(self.ledger, digest)}

    def _running(self, unread: dict[str, str]) -> Iterator[Use]:
        for registry in self.policy.registries():
            try:
                yield from list(self.usage.running(registry))
            except TallymanError as error:
                unread[str(registry)] = str(error)

    def _runs(self, use: Use, concerned: set[Digest]) -> bool:
        if use.digest is not None:
            return use.digest in concerned
        if use.repository is None or use.tag is None:
            return False
        tag = TAGS.get(self.state, tags.key(use.repository, use.tag))
        return tag is not None and tag.digest in concerned


def _json(use: Use) -> dict[str, Any]:
    return {
        "kind": use.kind,
        "name": use.name,
        "where": str(use.where),
        "image": use.image,
        "since": text_or_none(use.since),
    }
