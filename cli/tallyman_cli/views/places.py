"""The repositories that the state knows, and what is released of them: no registry is asked."""

from collections.abc import Iterable

from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Environment, Policy, glob_matches
from tallyman.state import active as active_items
from tallyman.state import releases as release_items
from tallyman.state import sweeps as sweep_items
from tallyman.state import tags as tag_items
from tallyman.state.releases import RELEASES, ReleaseState
from tallyman.state.sweeps import SWEEPS, SweepState
from tallyman.state.tags import TAGS
from tallyman_cli.shared.context import Stack

ANY = "*?["
"""Characters that make a name a pattern."""


def sweeps(stack: Stack) -> dict[Repository, SweepState]:
    """What the last sweep of each repository found, by repository; an empty state where only a push is known. Two
    Queries (about 200 bytes a repository)."""
    pushed = active_items.repositories(stack.state)
    swept = SWEEPS.list(stack.state, sweep_items.PARTITION)
    return dict.fromkeys(pushed, SweepState()) | {Repository.parse(e.sk): e.value for e in swept}


def canonical(policy: Policy, place: Repository) -> tuple[str | None, str]:
    """The environment of a repository of a registry (None: it belongs to none) and its canonical name."""
    environment, name = policy.environment_of(place)
    return environment.name if environment else None, name


def by_name(policy: Policy, places: Iterable[Repository]) -> dict[str, dict[str, list[Repository]]]:
    """Canonical name → environment → its repositories, for those that belong to an environment; names in order."""
    found: dict[str, dict[str, list[Repository]]] = {}
    for place in sorted(places):
        environment, name = canonical(policy, place)
        if environment is not None:
            found.setdefault(name, {}).setdefault(environment, []).append(place)
    return dict(sorted(found.items()))


def releases(stack: Stack, name: str) -> dict[str, ReleaseState]:
    """What each environment releases of the repository, by environment; without those that release nothing of it. One
    BatchGetItem."""
    keys = {release_items.key(environment, name): environment for environment in stack.policy.environments}
    found = RELEASES.get_many(stack.state, list(keys))
    return {environment: found[key] for key, environment in keys.items() if key in found}


def pointing(stack: Stack, place: Repository, tags: Iterable[str]) -> dict[str, Digest | None]:
    """The digest that each of these tags of the repository points to; None: none that the state knows. One BatchGetItem
    for a hundred tags."""
    keys = {tag: tag_items.key(place, tag) for tag in tags}
    found = TAGS.get_many(stack.state, list(keys.values()))
    return {tag: found[key].digest if key in found else None for tag, key in keys.items()}


def chosen(names: Iterable[str], match: str | None) -> list[str]:
    """The names that a person's words mean: a pattern with `*`, or any part of a name."""
    wanted = (match or "").strip().lower()
    if not wanted:
        return list(names)
    if any(c in wanted for c in ANY):
        return [name for name in names if glob_matches(wanted, name)]
    return [name for name in names if wanted in name]


def environments_for(policy: Policy, name: str, there: Iterable[str]) -> list[Environment]:
    """Where a repository is, or may be promoted to, in the policy's order."""
    rule = policy.repository(name)
    wanted = {*there, *(p.target for p in rule.promotions), *(p.source for p in rule.promotions)}
    return [environment for environment in policy.environments.values() if environment.name in wanted]
