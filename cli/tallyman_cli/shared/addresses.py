"""Looks up an IMAGE or REPOSITORY that a person wrote in the policy alone; reads nothing from the stack.

`tallyman copy` imports it at its start, so it imports little itself; naming.py reads the stack too.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallyman.domain.names import Digest, EcrRegistry, ImageName, Repository
from tallyman.domain.policy import Environment, Policy
from tallyman.errors import BadName

_LOCAL = re.compile(r"(?:localhost|127\.0\.0\.1):([0-9]{1,5})/(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Named:
    """An IMAGE or REPOSITORY, looked up in the policy.

    `text`: as written; `repositories`: those that it means, in the policy's order, of which the first is read;
    `environment`, `canonical`: None if the address is in no environment.
    """

    text: str
    environment: Environment | None
    canonical: str | None
    repositories: tuple[Repository, ...]
    tag: str | None = None
    digest: Digest | None = None

    @property
    def place(self) -> Repository:
        """The repository that is read."""
        return self.repositories[0]


def image(policy: Policy, text: str) -> Named:
    """Look up an IMAGE. Raises BadName if it is not an image, or names an environment or registry that the policy does
    not have."""
    return _looked_up(policy, text, ImageName.parse)


def parse(policy: Policy, text: str) -> tuple[ImageName, tuple[EcrRegistry, ...], Environment | None]:
    """Parse an IMAGE or a REPOSITORY, which may be a pattern. Return it with the registries that it means, and the
    environment if it names one. Raises BadName."""
    name = ImageName.parse_any(_from_port(policy, text), globs=True)
    return name, *_registries(policy, name)


def address(policy: Policy, repository: Repository) -> str:
    """The address for clients: `host/name`, inside a local cloud `localhost:PORT/name`."""
    for variable, registry in _variables(policy):
        if (port := os.environ.get(variable)) and registry == repository.registry:
            return f"{port}/{repository.name}"
    return f"{repository.registry.host}/{repository.name}"


def _variables(policy: Policy) -> Iterator[tuple[str, EcrRegistry]]:
    """The variable TALLYMAN_REGISTRY_<ENVIRONMENT>_<N> of every registry: the environment in upper case, with `_` for
    whatever is not a letter or digit."""
    for environment in policy.environments.values():
        for number, registry in enumerate(environment.registries, 1):
            yield f"TALLYMAN_REGISTRY_{re.sub('[^A-Z0-9]', '_', environment.name.upper())}_{number}", registry


def _from_port(policy: Policy, text: str) -> str:
    """Translate `localhost:PORT/…` of the local cloud into an ECR address, by TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>."""
    match = _LOCAL.fullmatch(text)
    if not match:
        return text
    for variable, registry in _variables(policy):
        if os.environ.get(variable, "").rpartition(":")[2] == match[1]:
            return f"{registry.host}/{match[2]}"
    raise BadName(f"'{text}': no TALLYMAN_REGISTRY_… variable names the port {match[1]}")


def anywhere(policy: Policy, text: str) -> Named:
    """Look up an IMAGE or a REPOSITORY without glob characters. Raises BadName."""
    return _looked_up(policy, text, ImageName.parse_any)


def repository(policy: Policy, text: str) -> Named:
    """Look up a REPOSITORY. Raises BadName, also for an image: the command would act on all of its repository."""
    named = anywhere(policy, text)
    if named.tag or named.digest:
        raise BadName(f"'{text}' names an image: expected a REPOSITORY")
    return named


def _looked_up(policy: Policy, text: str, parse: Callable[[str], ImageName]) -> Named:
    translated = _from_port(policy, text)
    try:
        return look_up(policy, text, parse(translated))
    except BadName as error:
        raise BadName(str(error).replace(translated, text)) from None


def look_up(policy: Policy, text: str, name: ImageName) -> Named:
    """Look up a parsed name; `text`: as the person wrote it."""
    registries, environment = _registries(policy, name)
    if environment is not None:
        places = tuple(Repository(r, environment.repository_name(name.repository)) for r in registries)
        return Named(text, environment, name.repository, places, name.tag, name.digest)
    place = Repository(registries[0], name.repository)
    owner, canonical = policy.environment_of(place)
    return Named(text, owner, canonical if owner else None, (place,), name.tag, name.digest)


def _registries(policy: Policy, name: ImageName) -> tuple[tuple[EcrRegistry, ...], Environment | None]:
    """The registries that the name means, and the environment if it names one."""
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
