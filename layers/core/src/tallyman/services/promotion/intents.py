"""Intents: what promotions are about to push, recorded first, so that the events of these pushes are known as ours."""

from collections.abc import Sequence
from datetime import datetime

from tallyman.domain.decide import Decision
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.promotions import Intended, Promoted, TaggingBegun
from tallyman.domain.history.facts import NO_TIME, Fact, Kind
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Environment, Policy
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger
from tallyman.services.deciding.image_facts import above


def is_intended(facts: Sequence[Fact], repository: Repository) -> bool:
    """Whether a promotion recorded that it would push the digest of these facts to this repository."""
    return any(
        str(repository.registry) in intended.registries and intended.repository == repository.name
        for intended in Intended.of(f for f in facts if f.kind is Kind.INTENDED)
    )


def is_brought(policy: Policy, ledger: Ledger, facts: Sequence[Fact], repository: Repository, tag: str | None) -> bool:
    """Whether a promotion brought the digest of these facts to this repository: with a `tag`, whether it began to set
    tags there. Content that was only staged and got a tag from somebody else was not brought.

    Cost: nothing for an image with tags of its own; a Query for each index above another one that somebody tagged.
    """
    if not is_intended(facts, repository):
        return False
    if tag is None:
        return True
    environment, name = policy.environment_of(repository)
    if environment is None or _is_tagged(policy, facts, environment, name):
        return environment is not None
    digest = next(f.digest for f in facts if f.digest is not None)
    roots = {Digest(each.root) for each in Intended.of(f for f in facts if f.kind is Kind.INTENDED) if each.root}
    whole = (roots | set(above(ledger, digest))) - {digest}  # it may be a part of what was brought
    return any(_is_tagged(policy, ledger.of_digest(each), environment, name) for each in sorted(whole))


def _is_tagged(policy: Policy, facts: Sequence[Fact], environment: Environment, name: str) -> bool:
    """Whether a promotion of the digest of these facts to the environment began to set tags, or ended."""
    begun = TaggingBegun.of(f for f in facts if f.kind is Kind.TAGGING)
    promoted = Promoted.of(f for f in facts if f.kind is Kind.PROMOTED)
    return any((each.target, each.name) == (environment.name, name) for each in begun) or any(
        each.is_into(environment, name, policy.environments) for each in promoted
    )


def changes_no_decision(policy: Policy, facts: Sequence[Fact], repository: Repository) -> bool:
    """Whether a push of the digest of these facts to this repository changes no decision: it is our own push, to
    environments that no promotion leads out of."""
    return not policy.promotions_out_of(repository) and is_intended(facts, repository)


def intend(
    ledger: Ledger,
    decision: Decision,
    members: Sequence[Digest],
    places: Sequence[Repository],
    at: datetime,
    clock: Clock,
) -> None:
    """Record in the partition of every member that it is about to be pushed to these repositories, which differ only
    in their registry. `at`: a time that is the same in each try, so that a second try writes nothing.

    The fact of the root is written last: if it is there, all are. The fact of another member has no time, and no root
    in its key: any number of indexes may bring the same member to the same place. Cost: a write for each member.
    """
    registries, name = [str(p.registry) for p in places], places[0].name
    details = Intended(decision.target, registries, name, decision.repository, decision.digest)
    for member in [*(m for m in members if m != decision.digest), decision.digest]:
        root = decision.digest if member == decision.digest else None
        key = (member, root, decision.target, name, *registries)
        ledger.append(new_fact(Kind.INTENDED, key, details, clock(), at=at if root else NO_TIME, digest=member))
