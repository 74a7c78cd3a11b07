"""The impact of a recall: the releases that name the image, what runs it, and the last good release before."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from typing import Any

from tallyman.domain.gates.recalled import recalls
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.times import text_or_none
from tallyman.domain.usage import Use, used_tag
from tallyman.ports.clocks import Clock, Deadline, no_limit
from tallyman.ports.records import Ledger, State
from tallyman.ports.running import UsageReadings
from tallyman.services.copying.blobs import RESERVE
from tallyman.services.deciding.image_facts import above, digest_then, load_image_facts
from tallyman.services.releases.pointer import releases
from tallyman.state import releases as release_items
from tallyman.state import tags
from tallyman.state.items import Key
from tallyman.state.releases import RELEASES
from tallyman.state.tags import TAGS
from tallyman.values import value


@value
class WhatRuns:
    """All that runs an image, or is set up to, each with the digests that it uses. `unread`: by registry, the sources
    of usage that could not be read, and why: there may be more."""

    uses: tuple[tuple[Use, frozenset[Digest]], ...]
    unread: Mapping[str, str]


@value
class RecallImpact:
    """Finds the impact of a recall. Changes nothing."""

    policy: Policy
    ledger: Ledger
    state: State
    usage: UsageReadings
    clock: Clock

    def read(self, left: Deadline = no_limit) -> WhatRuns:
        """Read every source of usage in every account and region of the policy; one that the time does not suffice for
        is unread. Besides, for the uses that name a tag alone: a BatchGetItem for each hundred tags, and for each tag
        and time since when it runs, the Queries of `digest_then`."""
        uses: list[Use] = []
        unread = {}
        for registry in self.policy.registries():
            if left() <= RESERVE:
                unread[str(registry)] = "no time was left in this run"
                continue
            readings = self.usage.readings(registry, self.clock(), self.policy.usage)
            uses += [use for reading in readings for use in reading.uses]
            if failed := [f"{reading.source}: {reading.error}" for reading in readings if reading.error is not None]:
                unread[str(registry)] = "; ".join(failed)
        return WhatRuns(tuple(zip(uses, self._digests(uses), strict=True)), unread)

    def of(self, digest: Digest, what: WhatRuns) -> dict[str, Any]:
        """The impact of recalling a digest: {digest, releases: [{environment, repository, digest, tags, last_good}],
        uses: [{kind, name, where, image, since, runs}], unread: {registry: why}}; `last_good`: the digest to roll back
        to, or None; `runs`: False where it is only set up to run.

        Cost: a Query of the releases of each environment, the facts of the image and of the indexes above it.
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
        uses = [_json(use) for use, digests in what.uses if digests & concerned]
        return {"digest": digest, "releases": found, "uses": uses, "unread": dict(what.unread)}

    def users(self, digests: Sequence[Digest], what: WhatRuns) -> dict[Digest, list[Use]]:
        """The workloads that run each of these images or a part of it, without those that are only set up to."""
        running = [(use, used) for use, used in what.uses if use.runs]
        found: dict[Digest, list[Use]] = {}
        for digest in digests if running else ():
            concerned = self._concerned(digest)
            found[digest] = [use for use, used in running if used & concerned]
        return found

    def last_good(self, environment: str, repository: str) -> Digest | None:
        """The last release before the present one that was not recalled since; None: there is none."""
        release = RELEASES.get(self.state, release_items.key(environment, repository))
        now = release.digest if release else None
        seen: set[Digest] = set()
        for fact in releases(self.ledger, environment, repository):
            if fact.digest is None or fact.digest in seen or fact.digest == now:
                continue
            seen.add(fact.digest)
            if not recalls(load_image_facts(self.ledger, self.state, fact.digest)):
                return fact.digest
        return None

    def _concerned(self, digest: Digest) -> set[Digest]:
        """The digests of the image, of its parts, and of every index above it."""
        image = load_image_facts(self.ledger, self.state, digest)
        return {digest, *image.platforms, *image.indexes, *above(self.ledger, digest)}

    def _digests(self, uses: Sequence[Use]) -> Iterator[frozenset[Digest]]:
        """The digests that each use names, or that its tag points to now and pointed to when it started."""
        known = TAGS.get_many(self.state, list({key for use in uses if (key := _tag_key(use))}))
        then = cache(partial(digest_then, self.ledger))
        for use in uses:
            found = [use.digest]
            if (key := _tag_key(use)) and use.repository:
                found += [known[key].digest] if key in known else []
                found += [then(use.repository, key[1], use.since)] if use.since else []
            yield frozenset(digest for digest in found if digest)


def _tag_key(use: Use) -> Key | None:
    """The key of the tag by which alone the use names its image; None: it names a digest, or no image of ECR."""
    tag = used_tag(use) if use.digest is None else None
    return tags.key(use.repository, tag) if use.repository and tag else None


def _json(use: Use) -> dict[str, Any]:
    return {
        "kind": use.kind,
        "name": use.name,
        "where": str(use.where),
        "image": use.image,
        "since": text_or_none(use.since),
        "runs": use.runs,
    }
