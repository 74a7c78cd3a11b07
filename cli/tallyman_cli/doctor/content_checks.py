"""Checks that each repository holds one application, and that base images are named and come from own registries."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from tallyman.domain.history.details.changes import Change
from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.errors import BadName
from tallyman.state import sweeps, tags
from tallyman.state.tags import TAGS
from tallyman_cli.doctor.contents import Held, applications, bases, of_builds
from tallyman_cli.doctor.finding import OK, UNKNOWN, WARN, Finding, Site
from tallyman_cli.shared import addresses

NEWEST = 20
"""Images of a repository that are read: those that got their first tag last."""

APPLICATIONS, BASES = "applications", "base images"
_SPLIT = "give each a repository of its own: tallyman repository create …"
_BRING_IN = (
    "bring them in (tallyman copy, or a pull-through cache of ECR) and build on the copies: an image in a registry of "
    "others can change or vanish, and is not scanned here"
)
_REPORT = (
    "build with `tallyman build`, or give the images the labels org.opencontainers.image.base.name and .base.digest"
)
_PIN = "name them in the Dockerfile with their digest: FROM image@sha256:…"


@dataclass(slots=True)
class Contents:
    """Judges the newest images of every repository of an environment, as the ledger records them. A name counts as one
    repository, in however many environments and registries it is.

    Cost: a Query for the tags of each repository, and one for each of at most 20 images.
    """

    site: Site
    _held: dict[str, list[Held]] = field(default_factory=dict)

    def applications(self) -> Iterator[Finding]:
        """One for each repository that evidently holds several applications, and one for all the others."""
        environments = self.site.stack.policy.environments
        fine = 0
        for name, held in self._read().items():
            if several := applications(held, environments):
                found = f"{name}: evidently holds several applications: {', '.join(several)}"
                yield Finding(APPLICATIONS, WARN, found, _SPLIT)
            else:
                fine += 1
        if fine:
            text = (
                "1 repository holds one application" if fine == 1 else f"{fine} repositories hold one application each"
            )
            yield Finding(APPLICATIONS, OK, text)
        if not self._held:
            yield Finding(APPLICATIONS, UNKNOWN, "no image is known yet", "push one, then run the doctor again")

    def base_images(self) -> Iterator[Finding]:
        """One for each repository: the base images of its newest images, and what is wrong with them."""
        registries = self.site.stack.policy.registries()
        own = {r.host for r in registries}
        own |= {value for name, value in os.environ.items() if name.startswith("TALLYMAN_REGISTRY_")}
        read = {name: bases(held, own) for name, held in self._read().items()}
        central = {name for found in read.values() for base in found.counts if (name := self._own_name(base))}
        for name, found in read.items():
            if name in central:
                yield Finding(BASES, OK, f"{name}: other images build on it")
                continue
            held, wrong, todo = self._held[name], [], []
            if found.outside:
                wrong.append(f"from other registries: {', '.join(found.outside)}")
                todo.append(_BRING_IN)
            if found.unreported:
                wrong.append(
                    f"{found.unreported} of the {len(held)} newest images "
                    f"{'names' if found.unreported == 1 else 'name'} no base image"
                )
                todo.append(_REPORT)
            if found.unpinned:
                wrong.append(f"not pinned by digest: {', '.join(found.unpinned)}")
                todo.append(_PIN)
            counted = ", ".join(f"{base} ({count})" for base, count in found.counts.items())
            says = f"{name}: {f'builds on {counted}' if counted else 'no base image is known'}"
            if wrong:
                yield Finding(BASES, WARN, f"{says}; {'; '.join(wrong)}", "; ".join(todo))
            else:
                yield Finding(BASES, OK, says)

    def _own_name(self, base: str) -> str | None:
        """The canonical name of a base image that lies in one of the policy's registries."""
        try:
            return addresses.anywhere(self.site.stack.policy, base).canonical
        except BadName:
            return None

    def _read(self) -> dict[str, list[Held]]:
        if not self._held:
            found: dict[str, dict[Digest, Held]] = {}
            for place in sorted(self._repositories()):
                environment, name = self.site.stack.policy.environment_of(place)
                if environment is not None:
                    self.site.say(f"reading what is recorded of the images of {place}")
                    for image in self._newest(place, found.get(name, {})):
                        found.setdefault(name, {})[image.digest] = image
            self._held = {name: list(held.values()) for name, held in sorted(found.items())}
        return self._held

    def _repositories(self) -> Iterator[Repository]:
        """The repositories that a sweep has read, without those that builds keep."""
        places = sweeps.repositories(self.site.stack.state)
        names = {place.name for place in places}
        return (place for place in places if not of_builds(place.name, names))

    def _newest(self, place: Repository, known: dict[Digest, Held]) -> Iterator[Held]:
        names: dict[Digest, list[str]] = {}
        since: dict[Digest, datetime] = {}
        for tag in TAGS.list(self.site.stack.state, tags.partition(place)):
            if (digest := tag.value.digest) and not tag.sk.startswith("sha256-"):  # the tag of a referrer
                names.setdefault(digest, []).append(tag.sk)
                since[digest] = min(tag.value.at, since.get(digest, tag.value.at))
        for digest in sorted(names, key=lambda d: since[d], reverse=True)[:NEWEST]:
            if digest in known:  # from another registry too: the earliest time counts
                first = known[digest]
                joined = tuple(dict.fromkeys((*first.tags, *names[digest])))
                yield Held(digest, joined, min(first.at, since[digest]), first.said)
                continue
            facts = self.site.stack.ledger.of_digest(digest)
            if _runs(facts):
                yield Held(digest, tuple(names[digest]), since[digest], _said(facts))


def _said(facts: list[Fact]) -> dict[str, str]:
    """What the image says of itself. Annotations win over labels, which may come from its base image."""
    said: dict[str, str] = {}
    for fact in facts:
        said |= Verified.parse(fact).labels or {} if fact.kind is Kind.VERIFIED else {}
    for fact in facts:
        said |= Change.parse(fact).built or {} if fact.kind in PUSHES else {}
    return said


def _runs(facts: list[Fact]) -> bool:
    """Whether it can run: what was verified and has no platform is a chart, a cache or the like."""
    verified = [v for v in Verified.of(f for f in facts if f.kind is Kind.VERIFIED) if v.verdict == "passed"]
    return not verified or any(v.platforms for v in verified)
