"""What a person wrote (IMAGE, REPOSITORY), by what the policy alone says: no stack is asked, nothing else imported.

`tallyman copy` starts with it: naming.py knows the stack too.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tallyman.domain.names import Digest, EcrRegistry, ImageName, Repository
from tallyman.domain.policy import Environment, Policy
from tallyman.errors import BadName

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
        return look_up(policy, text, ImageName.parse(translated))
    except BadName as error:
        raise BadName(str(error).replace(translated, text)) from None


def parse(policy: Policy, text: str) -> tuple[ImageName, tuple[EcrRegistry, ...], Environment | None]:
    """An IMAGE or a REPOSITORY, which may be a pattern, with the registries meant, and the environment if one is
    named. Raises BadName."""
    name = ImageName.parse_any(_from_port(policy, text, os.environ), globs=True)
    return name, *_registries(policy, name)


def address(policy: Policy, repository: Repository, environ: Mapping[str, str] | None = None) -> str:
    """What a client pushes to: `host/name`, inside a local cloud `localhost:PORT/name`."""
    for variable, registry in _variables(policy):
        port = (os.environ if environ is None else environ).get(variable)
        if port and registry == repository.registry:
            return f"{port}/{repository.name}"
    return f"{repository.registry.host}/{repository.name}"


def _variables(policy: Policy) -> Iterator[tuple[str, EcrRegistry]]:
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
        return look_up(policy, text, ImageName.parse_any(translated))
    except BadName as error:
        raise BadName(str(error).replace(translated, text)) from None


def look_up(policy: Policy, text: str, name: ImageName) -> Named:
    """What the parsed name means; `text` is what the person wrote."""
    registries, environment = _registries(policy, name)
    if environment is not None:
        places = tuple(Repository(r, environment.repository_name(name.repository)) for r in registries)
        return Named(text, environment, name.repository, places, name.tag, name.digest)
    place = Repository(registries[0], name.repository)
    found = policy.environments_of(place.registry, place.name)
    owner, canonical = found[0] if found else (None, None)
    return Named(text, owner, canonical, (place,), name.tag, name.digest)


def _registries(policy: Policy, name: ImageName) -> tuple[tuple[EcrRegistry, ...], Environment | None]:
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
