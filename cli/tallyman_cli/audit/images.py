"""Images that are not as promotions left them: stowaways, tags that differ, releases whose image is gone."""

from collections import defaultdict
from collections.abc import Iterator

from tallyman.domain.history.facts import Kind
from tallyman.domain.images.versions import parse_version
from tallyman.domain.names import Repository
from tallyman.domain.policy import Environment
from tallyman.domain.times import parse_time
from tallyman.errors import NotFound, TallymanError
from tallyman.services.promotion.intents import is_brought
from tallyman.state import images, pending, releases, tags
from tallyman.state.images import IMAGES
from tallyman.state.pending import PENDING
from tallyman.state.releases import RELEASES
from tallyman.state.tags import TAGS, Tag
from tallyman_cli.audit.finding import Finding, unread
from tallyman_cli.promotion.pending import noncompliant
from tallyman_cli.shared.context import Stack
from tallyman_cli.views import places


def findings(stack: Stack) -> Iterator[Finding]:
    """The findings of every kind.

    Cost: for each repository a Query of its tags, and one of its facts if promotions fill it; for each release a
    DescribeImages in each registry. Tags are those of the last event or sweep: run `tallyman reconcile` before.
    """
    named = places.by_name(stack.policy, places.sweeps(stack))
    for name, there in named.items():
        found = {place: _tags(stack, place) for some in there.values() for place in some}
        for environment, some in there.items():
            if stack.policy.is_target(environment, name):
                for place in some:
                    yield from _stowaways(stack, place, environment)
            yield from _between_registries(stack, stack.policy.environment(environment), name, found)
        yield from _between_environments(name, there, found)
    for each in stack.policy.environments.values():
        yield from _releases(stack, each)
    yield from _would_not_pass(stack)


def _tags(stack: Stack, place: Repository) -> dict[str, Tag]:
    listed = TAGS.list(stack.state, tags.partition(place))
    return {entry.sk: entry.value for entry in listed if entry.value.digest is not None}


def _stowaways(stack: Stack, place: Repository, environment: str) -> Iterator[Finding]:
    """Images that were recorded as stowaways, are still there, and were not promoted since."""
    recorded = (fact for fact in stack.ledger.of_repository(place) if fact.kind is Kind.STOWAWAY)
    # Facts come newest first: of each image and tag the last one, the oldest, is kept.
    first = {(fact.digest, fact.tag): fact for fact in recorded}
    for (digest, tag), fact in first.items():
        if digest is None:
            continue
        held = IMAGES.get(stack.state, images.key(place, digest))
        if held is None or not held.present:
            continue
        if is_brought(stack.policy, stack.ledger, stack.ledger.of_digest(digest), place, tag):
            continue
        name = f":{tag}" if tag else ""
        by = f" by {fact.actor}" if fact.actor else ""
        yield Finding(
            "stowaway",
            f"{place.name}{name} ({digest}) is in {environment} without a promotion, pushed{by}",
            str(place),
            fact.at,
            "no gate has evaluated it, and its origin is unknown",
            f"if it is wanted, promote it (tallyman promote); else recall it: tallyman recall "
            f"{environment}/{place.name}@{digest} --because …; to prevent it: create.push: tallyman-only",
        )


def _between_registries(
    stack: Stack, environment: Environment, name: str, found: dict[Repository, dict[str, Tag]]
) -> Iterator[Finding]:
    """Tags that differ between the registries of an environment, except those that a promotion is setting now."""
    around = list(environment.repositories(name))
    if len(around) < 2:
        return
    tagging = {
        tag
        for entry in PENDING.list(stack.state, pending.partition(environment.name))
        if entry.value.name == name and entry.value.tagging_since is not None
        for tag in entry.value.tags
    }
    for tag in sorted({tag for place in around for tag in found.get(place, {})} - tagging):
        each = {place: found.get(place, {}).get(tag) for place in around}
        if len({it.digest if it else None for it in each.values()}) < 2:
            continue
        values = ", ".join(f"{it.digest if it else 'nothing'} in {p.registry}" for p, it in each.items())
        yield Finding(
            "tags_differ",
            f"{name}:{tag} is {values}",
            environment.name,
            max(it.at for it in each.values() if it),
            "regions of one environment run different images under one name",
            f"see who moved it: tallyman history {environment.name}/{name}:{tag}; tag it as the release says",
        )


def _between_environments(
    name: str, there: dict[str, list[Repository]], found: dict[Repository, dict[str, Tag]]
) -> Iterator[Finding]:
    """Versions that name different images in two environments."""
    named: dict[str, dict[str, Tag]] = defaultdict(dict)
    for environment, some in there.items():
        for place in some:
            for tag, it in found[place].items():
                if parse_version(tag) is not None:
                    named[tag].setdefault(environment, it)
    for tag, each in sorted(named.items()):
        if len({it.digest for it in each.values()}) < 2:
            continue
        values = ", ".join(f"{it.digest} in {environment}" for environment, it in each.items())
        yield Finding(
            "versions_differ",
            f"{name}:{tag} is {values}",
            ", ".join(each),
            max(it.at for it in each.values()),
            "the image that was tested under this version is not the one in the other environment",
            "give one of them another version: a promotion never overwrites a tag",
        )


def _releases(stack: Stack, environment: Environment) -> Iterator[Finding]:
    """Releases whose image a registry no longer has: it can't be pulled, or rolled back to."""
    for entry in RELEASES.list(stack.state, releases.partition(environment.name)):
        for place in environment.repositories(entry.sk):
            digest = entry.value.digest
            try:
                there = bool(stack.source.describe(place, [digest]))
            except NotFound:
                there = False
            except TallymanError as error:
                yield unread(f"the release of {entry.sk}", str(place), error)
                continue
            if there:
                continue
            facts = stack.ledger.of_digest(digest)
            gone = [f.at for f in facts if f.kind is Kind.DELETED and f.repository == place]
            yield Finding(
                "release_gone",
                f"{environment.name} releases {entry.sk}@{digest} ({', '.join(entry.value.tags)}): it is gone",
                str(place),
                max(gone, default=None),
                "services that run it can't restart, and no release can be rolled back to it",
                f"bring it again (tallyman promote), or release another: tallyman release roll-back "
                f"{environment.name}/{entry.sk} --to … --because …",
            )


def _would_not_pass(stack: Stack) -> Iterator[Finding]:
    for row in noncompliant(stack, list(stack.policy.environments)):
        gates = "; ".join(f"{gate['name']}: {gate['reason']}" for gate in row["gates"])
        yield Finding(
            "would_not_pass",
            f"{row['image']} would not pass its gates today: {gates}",
            row["to"],
            parse_time(row["since"]) if row["since"] else None,
            "the policy, a scan or a signature changed since it was let in",
            "promote a better one, or recall it: tallyman pending --released",
        )
