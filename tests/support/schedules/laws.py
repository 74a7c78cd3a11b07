"""The laws of every run: after each step, and in the end."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from support.images.builders import DEV
from support.schedules.simulation import PLACES, Simulation
from tallyman.domain.gates import FAILED
from tallyman.domain.gates.order import highest_version
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Digest, Repository
from tallyman.errors import TallymanError
from tallyman.services.sealing.check_ledger import CheckLedger
from tallyman.state import freezes, releases, tags
from tallyman.state.releases import ReleaseState


class Broken(AssertionError):
    """A law was broken; the text says which, and how."""


@dataclass
class Laws:
    """The laws that hold at every moment."""

    pushes: int = 0
    release: ReleaseState | None = None
    recalled: set[Digest] = field(default_factory=set)
    facts: int = 0

    def __call__(self, sim: Simulation) -> None:
        self._recalls(sim)
        for repository, digest, tag in sim.registries.pushes[self.pushes :]:
            if tag is not None and repository in PLACES and (repository, digest, tag) not in sim.by_hand:
                self._tagged(sim, digest, tag)
                no_first_tag_beside_a_conflict(sim, repository, PLACES, digest, tag)
        self.pushes = len(sim.registries.pushes)
        self._released(sim)

    def _recalls(self, sim: Simulation) -> None:
        items = list(sim.ledger.items.values())
        if len(items) != self.facts:
            written = sim.ledger.facts
            for fact in written[self.facts :]:
                if fact.kind is Kind.PROMOTED:
                    decided(written, fact)
            self.facts = len(items)
            self.recalled = {
                f.digest
                for f in sim.ledger.facts
                if f.kind is Kind.RECALLED and f.digest and not f.detail.get("refused")
            }

    def _tagged(self, sim: Simulation, digest: Digest, tag: str) -> None:
        """Tags come last: the content is in every region before."""
        for place in PLACES:
            held = sim.registries.held(place)
            if digest not in held.manifests:
                raise Broken(f"{tag} was set before {place.registry} had {digest.short}")
            root = held.manifests[digest]
            lacking = [c.digest.short for c in root.children if c.digest not in held.manifests]
            if lacking:
                raise Broken(f"{tag} was set, but {place.registry} lacks {', '.join(lacking)}")

    def _released(self, sim: Simulation) -> None:
        release, before = release_of(sim), self.release
        if release is not None and (before is None or release.id != before.id):
            self.release = release
            if release.digest in self.recalled:
                raise Broken(f"{release.digest.short} was released after its recall was recorded")
            never_backwards(before, release, "prod")


def never_backwards(before: ReleaseState | None, release: ReleaseState, environment: str) -> None:
    """Without a person a release never moves to an older version."""
    mine, old = highest_version(release.tags), highest_version(before.tags) if before else None
    if release.change != "roll_back" and mine and old and mine.precedence < old.precedence:
        raise Broken(f"{environment} went back from {old} to {mine} by itself")


def decided(written: Sequence[Fact], promoted: Fact) -> None:
    """No promotion against the decision that is recorded when its fact is written."""
    to = promoted.detail["to"]
    made = [f for f in written if f.digest == promoted.digest and f.kind is Kind.DECIDED and f.detail["to"] == to]
    if not made or made[-1].detail["verdict"] == FAILED:
        last = [(g["name"], g["reason"]) for g in made[-1].detail["gates"] if g["verdict"] == FAILED] if made else None
        raise Broken(f"{promoted.digest} was promoted to {to}, but its decision was {last}")


CLOSE = timedelta(seconds=12)
"""A look at the targets is good for five seconds, and a lease for four."""


def no_first_tag_beside_a_conflict(
    sim: Simulation, place: Repository, places: Sequence[Repository], digest: Digest, tag: str
) -> None:
    """No first tag while another registry of the environment is known to have another image under it."""
    others = {p: sim.registries.tag_of(p, tag) for p in places if p != place}
    if tag == "latest" or digest in others.values():
        return  # it may move; or this one is not the first
    for other, there in others.items():
        since = sim.by_hand.get((other, there, tag)) if there else None
        if since is not None and sim.now - since > CLOSE:
            raise Broken(f"{tag} was begun although {other.registry} has another image under it since {since}")


def release_of(sim: Simulation) -> ReleaseState | None:
    """The release of production, by the state table."""
    return releases.RELEASES.get(sim.state, releases.key("prod", DEV.name))


def the_seal_holds(sim: Simulation) -> None:
    """The seal misses no entry, however late it was written, and reports nothing that nobody did."""
    proof = CheckLedger(sim.ledger, sim.archive.seals, sim.state, lambda: sim.now).run()
    if proof.flaws:
        raise Broken(f"the seal does not hold: {[(f.kind, f.what) for f in proof.flaws]}")


def hold(sim: Simulation) -> None:
    """Check the laws that hold in the end, after reconcile ran without faults."""
    everything_is_known(sim, DEV)
    _nothing_is_half_tagged(sim)
    _open_images_were_promoted(sim)
    _every_release_was_announced(sim)
    every_digest_can_be_decided(sim)
    the_seal_holds(sim)
    by_hand = any(place in PLACES for place, _, _ in sim.by_hand)
    if (
        ours := []
        if by_hand
        else [subject for subject, _, attributes in sim.notices.published if "stowaway" in attributes.get("kind", "")]
    ):
        raise Broken(f"what a promotion brought is taken for a stowaway: {ours}")
    if sim.dead:
        raise Broken(f"messages were lost: {[(m.queue, m.body[:200], why) for m, why in sim.dead]}")


def everything_is_known(sim: Simulation, place: Repository) -> None:
    """The ledger has everything that the repository holds, and the state names the digests of its tags."""
    held = sim.registries.held(place)
    known = {f.digest for f in sim.ledger.facts if f.kind in PUSHES and f.repository == place}
    if missing := set(held.manifests) - known:
        raise Broken(f"never recorded of {place}: {sorted(d.short for d in missing)}")
    for tag, digest in held.tags.items():
        noted = tags.TAGS.get(sim.state, tags.key(place, tag))
        if noted is None or noted.digest != digest:
            raise Broken(f"the state says that {tag} is {noted}, not {digest.short}")


def _nothing_is_half_tagged(sim: Simulation) -> None:
    ours = {p: sim.registries.held(p).tags for p in PLACES}
    one, two = (ours[p] for p in PLACES)
    if one != two and not sim.by_hand.keys() & {(p, d, t) for p in PLACES for t, d in ours[p].items()}:
        noticed = any("stuck" in a.get("kind", "") or "park" in a.get("kind", "") for _, _, a in sim.notices.published)
        if not noticed:
            raise Broken(f"half-tagged without a notice: {one} and {two}")


def _open_images_were_promoted(sim: Simulation) -> None:
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


def every_digest_can_be_decided(sim: Simulation) -> None:
    """No digest's revisions contradict its facts permanently."""
    services = sim.services(None)
    for digest in sorted({f.digest for f in sim.ledger.facts if f.digest}):
        try:
            services.evaluator.digest(digest)
        except TallymanError as error:
            raise Broken(f"{digest.short} can't be decided about any more: {error!r}") from error
