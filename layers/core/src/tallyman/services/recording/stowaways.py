"""Stowaways: images in an environment that only promotions fill, which no promotion meant to bring there."""

from collections.abc import Sequence

from tallyman.domain.history.details.releases import Stowaway
from tallyman.domain.history.facts import Fact, Kind, fact_id
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.domain.times import format_time
from tallyman.ports.messages import Notices
from tallyman.ports.records import Appended, Ledger
from tallyman.services.promotion.intents import is_intended


def report_stowaway(
    policy: Policy,
    ledger: Ledger,
    notices: Notices,
    fact: Fact,
    notify: bool = True,
    known: Sequence[Fact] | None = None,
) -> bool:
    """Records that the image of this push is a stowaway, and sends its notice once. True: it is one, and that is news.

    `fact.seen` becomes that of the entry: a caller that looks at an old fact puts the present time there. Without
    `notify` it is only written down. `known`: the image's facts, read after its push happened: a promotion writes what
    it intends before it pushes. Cost: nothing outside of environments that promotions fill, there a Query unless they
    are known.
    """
    if fact.kind not in PUSHES or fact.repository is None or fact.digest is None:
        return False
    for environment, name in policy.environments_of(fact.repository.registry, fact.repository.name):
        if not policy.is_target(environment.name, name):
            continue
        facts = ledger.of_digest(fact.digest) if known is None else known
        found = Fact(
            kind=Kind.STOWAWAY,
            id=fact_id(Kind.STOWAWAY, fact.repository, fact.tag, fact.digest),
            at=fact.at,
            seen=fact.seen,
            via=fact.via,
            digest=fact.digest,
            repository=fact.repository,
            tag=fact.tag,
            actor=fact.actor,
            detail=Stowaway(environment.name).dump(),
        )
        if is_intended(facts, fact.repository) or any(f.id == found.id for f in facts):
            return False
        if notify:
            # sent before it is written: a crash in between sends it twice, never not at all
            image = f"{name}:{fact.tag}" if fact.tag else f"{name}@{fact.digest}"
            who = fact.actor or "somebody (CloudTrail knows)"
            notices.publish(
                f"stowaway in {environment.name}: {name}",
                f"{image} is in {fact.repository.registry} ({environment.name}), but no promotion brought it there.\n"
                f"Digest: {fact.digest}\nPushed: {format_time(fact.at)} by {who}",
                {"kind": "stowaway", "environment": environment.name, "repository": name},
            )
        return ledger.append(found) is Appended.WRITTEN
    return False


def report_gathered(policy: Policy, ledger: Ledger, notices: Notices, repository: Repository) -> None:
    """One notice for all stowaways that are recorded of a repository; none if there are none.

    Reads the repository's facts from an index: what was written just now may be missing, so the number is a minimum.
    """
    found = [f for f in ledger.of_repository(repository) if f.kind is Kind.STOWAWAY]
    for environment, name in policy.environments_of(repository.registry, repository.name):
        if not found:
            return
        images = [f"{name}:{f.tag}" if f.tag else f"{name}@{f.digest}" for f in found]
        notices.publish(
            f"stowaways in {environment.name}: {name}",
            f"At least {len(images)} images were in {repository.registry} ({environment.name}) when it was first "
            f"looked at, and no promotion brought them there: {', '.join(images[:10])}"
            f"{', …' if len(images) > 10 else ''}",
            {"kind": "stowaway", "environment": environment.name, "repository": name},
        )
