"""What must be true of every run: after each step, and in the end."""

from dataclasses import dataclass, field

from support.images.builders import DEV
from support.schedules.simulation import PLACES, Simulation
from tallyman.domain.history.facts import Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.errors import TallymanError
from tallyman.state import freezes, releases, tags
from tallyman.state.releases import ReleaseState


class Broken(AssertionError):
    """A law was broken; the text says which, and how."""


@dataclass
class Watch:
    """The laws that hold at every moment."""

    pushes: int = 0
    release: str | None = None
    recalled: set[Digest] = field(default_factory=set)
    facts: int = 0

    def __call__(self, sim: Simulation) -> None:
        self._recalls(sim)
        for repository, digest, tag in sim.registries.pushes[self.pushes :]:
            if tag is not None and repository in PLACES:
                self._tagged(sim, digest, tag)
        self.pushes = len(sim.registries.pushes)
        self._released(sim)

    def _recalls(self, sim: Simulation) -> None:
        items = list(sim.ledger.items.values())
        if len(items) != self.facts:
            self.facts = len(items)
            self.recalled = {
                f.digest
                for f in sim.ledger.facts
                if f.kind is Kind.RECALLED and f.digest and not f.detail.get("refused")
            }

    def _tagged(self, sim: Simulation, digest: Digest, tag: str) -> None:
        """A tag appears last: in every region the content is there before."""
        for place in PLACES:
            held = sim.registries.held(place)
            if digest not in held.manifests:
                raise Broken(f"{tag} was set before {place.registry} had {digest.short}")
            root = held.manifests[digest]
            lacking = [c.digest.short for c in root.children if c.digest not in held.manifests]
            if lacking:
                raise Broken(f"{tag} was set, but {place.registry} lacks {', '.join(lacking)}")

    def _released(self, sim: Simulation) -> None:
        release = release_of(sim)
        if release is not None and release.id != self.release:
            self.release = release.id
            if release.digest in self.recalled:
                raise Broken(f"{release.digest.short} was released after its recall was recorded")


def release_of(sim: Simulation) -> ReleaseState | None:
    """What production runs, by the state table."""
    return releases.RELEASES.get(sim.state, releases.key("prod", DEV.name))


def hold(sim: Simulation) -> None:
    """The laws that hold in the end, after reconcile ran without faults."""
    _everything_is_known(sim)
    _nothing_is_half_tagged(sim)
    _what_may_go_went(sim)
    _every_release_was_announced(sim)
    _every_digest_can_be_decided(sim)
    if ours := [subject for subject, _, told in sim.notices.published if "stowaway" in told.get("kind", "")]:
        raise Broken(f"what a promotion brought is taken for a stowaway: {ours}")
    if sim.dead:
        raise Broken(f"messages were lost: {[(m.queue, m.body[:200], why) for m, why in sim.dead]}")


def _everything_is_known(sim: Simulation) -> None:
    held = sim.registries.held(DEV)
    known = {f.digest for f in sim.ledger.facts if f.kind in PUSHES and f.repository == DEV}
    if missing := set(held.manifests) - known:
        raise Broken(f"never recorded: {sorted(d.short for d in missing)}")
    for tag, digest in held.tags.items():
        noted = tags.TAGS.get(sim.state, tags.key(DEV, tag))
        if noted is None or noted.digest != digest:
            raise Broken(f"the state says that {tag} is {noted}, not {digest.short}")


def _nothing_is_half_tagged(sim: Simulation) -> None:
    ours = {p: sim.registries.held(p).tags for p in PLACES}
    one, two = (ours[p] for p in PLACES)
    if one != two:
        told = any("stuck" in a.get("kind", "") or "park" in a.get("kind", "") for _, _, a in sim.notices.published)
        if not told:
            raise Broken(f"half-tagged, and nobody was told: {one} and {two}")


def _what_may_go_went(sim: Simulation) -> None:
    """A version of dev whose gates are open is in production."""
    held, frozen = sim.registries.held(DEV), freezes.FREEZES.get(sim.state, freezes.key("prod", None))
    recalled = {f.digest for f in sim.ledger.facts if f.kind is Kind.RECALLED}
    for tag, digest in held.tags.items():
        if digest in recalled or (frozen is not None and frozen.frozen):
            continue
        root = held.manifests[digest]
        scans = [held.scans.get(c.digest) for c in root.platform_children] or [held.scans.get(digest)]
        clean = all(s is not None and s.status == "complete" and not s.counts.get("critical") for s in scans)
        there = [sim.registries.tag_of(p, tag) for p in PLACES]
        if clean and any(of is not None and of != digest for of in there):
            continue  # a conflict, which a person has to solve
        if clean and there != [digest] * len(PLACES):
            raise Broken(f"{tag} ({digest.short}) may go to prod, and is not there: {there}")


def _every_release_was_announced(sim: Simulation) -> None:
    release = release_of(sim)
    if release is None:
        return
    if not release.announced or release.id not in {detail["id"] for _, detail in sim.announcements.emitted}:
        raise Broken(f"the release {release.id} was never announced")


def _every_digest_can_be_decided(sim: Simulation) -> None:
    services = sim.services(None)
    for digest in sorted({f.digest for f in sim.ledger.facts if f.digest}):
        try:
            services.evaluator.digest(digest)
        except TallymanError as error:
            raise Broken(f"{digest.short} can't be decided about any more: {error!r}") from error


def places_of(sim: Simulation) -> dict[Repository, dict[str, Digest]]:
    """The tags of each target, for comparing two runs."""
    return {place: dict(sorted(sim.registries.held(place).tags.items())) for place in PLACES}
