"""Looks up an IMAGE or REPOSITORY that a person wrote in the stack: repositories of registries, digests."""

from datetime import datetime

from tallyman.domain.history.fold import digest_at
from tallyman.domain.names import Digest, Repository
from tallyman.domain.policy import Environment, Policy, glob_matches
from tallyman.errors import BadName, NotFound, TallymanError
from tallyman.state import tags
from tallyman.state.tags import TAGS
from tallyman_cli.shared.addresses import Named, look_up, parse
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.rows import tag_facts


def must_exist(stack: Stack, places: list[Repository]) -> None:
    """Raise NotFound if none of these repositories exists, and nothing was ever recorded about them. One whose
    registry can't be read may exist."""
    for place in places:
        if next(iter(stack.ledger.of_repository(place)), None) is not None:
            return
        try:
            if stack.registries.settings(place) is not None:
                return
        except TallymanError:
            return
    where = ", ".join(str(place.registry) for place in places)
    raise NotFound(f"there is no repository {places[0].name} in {where}, and nothing was ever recorded about it")


def repositories(stack: Stack, text: str) -> list[Named]:
    """Look up an IMAGE or a REPOSITORY; a pattern means every existing repository that matches. Raises BadName,
    NotFound. Cost: for a pattern a listing of each registry."""
    policy = stack.policy
    name, registries, environment = parse(policy, text)
    if not any(c in name.repository for c in "*?["):
        return [look_up(policy, text, name)]
    if name.tag or name.digest:
        raise BadName(f"'{text}': a tag or digest belongs to one repository, not to a pattern")
    found: dict[str, list[Repository]] = {}
    for registry in registries:
        for settings in stack.registries.repositories(registry):
            canonical = _canonical(policy, settings.repository, environment)
            if canonical and glob_matches(name.repository, canonical):
                found.setdefault(canonical, []).append(settings.repository)
    if not found:
        raise NotFound(f"'{text}' matches no repository of {', '.join(map(str, registries))}")
    return [Named(text, environment, canonical, tuple(places)) for canonical, places in sorted(found.items())]


def digest_of(stack: Stack, named: Named, at: datetime | None = None) -> Digest:
    """The digest of an image: as written, or what its tag points to (pointed to at `at`).

    Reads the state table, and the registry if the table does not know the tag (its event may not have arrived yet).
    Raises NotFound.
    """
    if named.digest is not None:
        return named.digest
    assert named.tag is not None  # an image has one of the two
    place = named.place
    if at is not None:
        found = digest_at(tag_facts(stack.ledger, place, named.tag, at), place, named.tag, at)
        if found is None:
            raise NotFound(f"{named.text}: no record says what the tag '{named.tag}' pointed to in {place} then")
        return found
    tag = TAGS.get(stack.state, tags.key(place, named.tag))
    if tag is not None and tag.digest:
        return tag.digest
    for detail in stack.source.describe(place, [named.tag]):
        if named.tag in detail.tags:
            return detail.digest
    raise NotFound(f"{named.text}: there is no tag '{named.tag}' in {place}")


def _canonical(policy: Policy, repository: Repository, environment: Environment | None) -> str | None:
    if environment is None:
        return repository.name
    owner, canonical = policy.environment_of(repository)
    return canonical if owner == environment else None
