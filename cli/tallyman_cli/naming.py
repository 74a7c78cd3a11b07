"""From what a person wrote (IMAGE, REPOSITORY) to repositories of registries and digests."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from tallyman.domain.history import digest_at
from tallyman.domain.names import Digest, ImageName, Registry, Repository
from tallyman.domain.policy import Environment, Policy, glob_matches
from tallyman.errors import BadName, NotFound
from tallyman.services.gather import tag_partition
from tallyman_cli.context import Stack
from tallyman_cli.rows import tag_facts

_LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1):([0-9]{1,5})/(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Named:
    """An IMAGE or REPOSITORY, looked up in the policy.

    `repositories` are those meant, in the policy's order; an image is read from the first. `environment` and
    `canonical` are None where an address belongs to no environment.
    """

    text: str
    environment: Environment | None
    canonical: str | None
    repositories: tuple[Repository, ...]
    tag: str | None = None
    digest: Digest | None = None

    @property
    def place(self) -> Repository:
        """Where it is read."""
        return self.repositories[0]


def image(policy: Policy, text: str, environ: Mapping[str, str] | None = None) -> Named:
    """An IMAGE. Raises BadName where it parses as none, or names an environment or registry that is not there."""
    translated = _from_port(policy, text, os.environ if environ is None else environ)
    try:
        return _look_up(policy, text, ImageName.parse(translated))
    except BadName as error:
        raise BadName(str(error).replace(translated, text)) from None


def repositories(stack: Stack, text: str) -> list[Named]:
    """An IMAGE or a REPOSITORY; one with glob characters is every repository that matches and is there now."""
    policy = stack.policy
    name, registries, environment = parse(policy, text)
    if not any(c in name.repository for c in "*?["):
        return [_look_up(policy, text, name)]
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


def parse(policy: Policy, text: str) -> tuple[ImageName, tuple[Registry, ...], Environment | None]:
    """An IMAGE or a REPOSITORY, which may be a pattern, with the registries meant, and the environment if one is
    named. Raises BadName."""
    name = ImageName.parse_any(_from_port(policy, text, os.environ), globs=True)
    return name, *_registries(policy, name)


def digest_of(stack: Stack, named: Named, at: datetime | None = None) -> Digest:
    """The digest that is meant: as written, or what the tag points to (at `at`: pointed to).

    Asks the state table, and the registry where the table does not know the tag (its event may still be under way).
    Raises NotFound.
    """
    if named.digest is not None:
        return named.digest
    assert named.tag is not None  # an image has one of the two
    place = named.place
    if at is not None:
        found = digest_at(tag_facts(stack.ledger, place, named.tag, at), place, named.tag, at)
        if found is None:
            raise NotFound(f"{named.text}: nothing is known that the tag '{named.tag}' pointed to in {place} then")
        return found
    item = stack.state.get(tag_partition(place), named.tag)
    if item is not None and item.data.get("digest"):
        return Digest(item.data["digest"])
    for detail in stack.source.describe(place, [named.tag]):
        if named.tag in detail.tags:
            return detail.digest
    raise NotFound(f"{named.text}: there is no tag '{named.tag}' in {place}")


def _look_up(policy: Policy, text: str, name: ImageName) -> Named:
    registries, environment = _registries(policy, name)
    if environment is not None:
        places = tuple(Repository(r, environment.repository_name(name.repository)) for r in registries)
        return Named(text, environment, name.repository, places, name.tag, name.digest)
    place = Repository(registries[0], name.repository)
    found = policy.environments_of(place.registry, place.name)
    owner, canonical = found[0] if found else (None, None)
    return Named(text, owner, canonical, (place,), name.tag, name.digest)


def _registries(policy: Policy, name: ImageName) -> tuple[tuple[Registry, ...], Environment | None]:
    """The registries that are asked for, and the environment where one was named."""
    if name.registry is not None:
        return (name.registry,), None
    assert name.environment is not None  # a name has one of the two
    environment = policy.environment(name.environment)
    if name.index is None:
        return environment.registries, environment
    if name.index > len(environment.registries):
        count = len(environment.registries)
        raise BadName(f"'{name.text}': {environment.name} has {count} registr{'y' if count == 1 else 'ies'}")
    return (environment.registries[name.index - 1],), environment


def _canonical(policy: Policy, repository: Repository, environment: Environment | None) -> str | None:
    found = policy.environments_of(repository.registry, repository.name)
    if environment is None:
        return repository.name
    return next((canonical for owner, canonical in found if owner == environment), None)


def address(policy: Policy, repository: Repository, environ: Mapping[str, str] | None = None) -> str:
    """What a client pushes to: `host/name`, inside a local cloud `localhost:PORT/name`."""
    for variable, registry in _variables(policy):
        port = (os.environ if environ is None else environ).get(variable)
        if port and registry == repository.registry:
            return f"{port}/{repository.name}"
    return f"{repository.registry.host}/{repository.name}"


def _variables(policy: Policy) -> Iterator[tuple[str, Registry]]:
    """TALLYMAN_REGISTRY_<ENVIRONMENT>_<N> of every registry: upper case, all but letters and digits is `_`."""
    for environment in policy.environments.values():
        for number, registry in enumerate(environment.registries, 1):
            yield f"TALLYMAN_REGISTRY_{re.sub('[^A-Z0-9]', '_', environment.name.upper())}_{number}", registry


def _from_port(policy: Policy, text: str, environ: Mapping[str, str]) -> str:
    """`localhost:PORT/…` of the local cloud as an ECR address, by its TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>."""
    match = _LOCAL.fullmatch(text)
    if not match:
        return text
    for variable, registry in _variables(policy):
        if environ.get(variable, "").rpartition(":")[2] == match[1]:
            return f"{registry.host}/{match[2]}"
    raise BadName(f"'{text}': no TALLYMAN_REGISTRY_… variable names the port {match[1]}")


def anywhere(policy: Policy, text: str) -> Named:
    """An IMAGE or a REPOSITORY without glob characters, by what the policy alone says. Raises BadName."""
    translated = _from_port(policy, text, os.environ)
    try:
        return _look_up(policy, text, ImageName.parse_any(translated))
    except BadName as error:
        raise BadName(str(error).replace(translated, text)) from None
