"""Reports stowaways: images in the target of promotions that no promotion brought there."""

from collections.abc import Sequence

from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.releases import Stowaway
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.domain.text import counted
from tallyman.domain.times import format_time
from tallyman.ports.messages import Notices
from tallyman.ports.records import Appended, Ledger
from tallyman.services.promotion.intents import is_brought


def report_stowaway(
    policy: Policy,
    ledger: Ledger,
    notices: Notices,
    fact: Fact,
    notify: bool = True,
    known: Sequence[Fact] | None = None,
) -> bool:
    """Record that the image of this push is a stowaway if it is one, and send its notice once. Return True if it is
    one that was not known.

    The new fact takes `fact.seen`: for an old fact the caller sets the present time there. Without `notify` no notice
    is sent. `known`: the image's facts, read after the push (a promotion records its intent before it pushes). Cost:
    nothing where the environment is not a target of promotions; else a Query, unless `known` is given.
    """
    if fact.kind not in PUSHES or fact.repository is None or fact.digest is None:
        return False
    environment, name = policy.environment_of(fact.repository)
    if environment is None or not policy.is_target(environment.name, name):
        return False
    facts = ledger.of_digest(fact.digest) if known is None else known
    found = new_fact(
        Kind.STOWAWAY,
        (fact.repository, fact.tag, fact.digest),
        Stowaway(environment.name),
        fact.seen,
        at=fact.at,
        via=fact.via,
        digest=fact.digest,
        repository=fact.repository,
        tag=fact.tag,
        actor=fact.actor,
    )
    if any(f.id == found.id for f in facts) or is_brought(policy, ledger, facts, fact.repository, fact.tag):
        return False
    if notify:
        # sent before the fact is written: after a crash in between it is sent twice, never lost
        image = f"{name}:{fact.tag}" if fact.tag else f"{name}@{fact.digest}"
        who = fact.actor or "somebody (CloudTrail knows)"
        notices.publish(
            f"stowaway in {environment.name}: {name}",
            f"{image} is in {fact.repository.registry} ({environment.name}), but no promotion brought it there.\n"
            f"Digest: {fact.digest}\nPushed: {format_time(fact.at)} by {who}",
            {"kind": "stowaway", "environment": environment.name, "repository": name},
        )
    return ledger.append(found) is Appended.WRITTEN


def report_gathered(policy: Policy, ledger: Ledger, notices: Notices, repository: Repository) -> None:
    """Send one notice for all recorded stowaways of a repository; none if there are none.

    Read an index of the ledger that may lag, so the number in the notice is a minimum.
    """
    found = [f for f in ledger.of_repository(repository) if f.kind is Kind.STOWAWAY]
    environment, name = policy.environment_of(repository)
    if environment is None or not found:
        return
    images = [f"{name}:{f.tag}" if f.tag else f"{name}@{f.digest}" for f in found]
    notices.publish(
        f"stowaways in {environment.name}: {name}",
        f"When {repository.registry} ({environment.name}) was first read, it held at least "
        f"{counted(len(images), 'image')} that no promotion had brought there: {', '.join(images[:10])}"
        f"{', …' if len(images) > 10 else ''}",
        {"kind": "stowaway", "environment": environment.name, "repository": name},
    )
