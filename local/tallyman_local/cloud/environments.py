"""The registries that a policy names, and the environment variables for their addresses."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tallyman.domain.names import EcrRegistry
from tallyman.errors import BadName


class BadPolicy(ValueError):
    """The policy file can't be read, or its registries are not in the form `account/region`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A registry as the policy lists it: the n-th (from 1) of an environment."""

    environment: str
    number: int
    registry: EcrRegistry

    @property
    def variable(self) -> str:
        """`TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>`: upper case, anything else but letters and digits is `_`."""
        name = re.sub(r"[^A-Z0-9]", "_", self.environment.upper())
        return f"TALLYMAN_REGISTRY_{name}_{self.number}"


def places(policy: Path) -> list[Place]:
    """All registries of the policy's environments, in its order. Raises BadPolicy.

    Reads nothing else: the handlers check the rest of the policy.
    """
    try:
        document = yaml.safe_load(policy.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadPolicy(f"{policy}: can't be read: {error}") from error
    except yaml.YAMLError as error:
        raise BadPolicy(f"{policy}: not YAML: {error}") from error
    environments = document.get("environments") if isinstance(document, dict) else None
    if environments is None:
        return []
    if not isinstance(environments, dict):
        raise BadPolicy(f"{policy}: environments: expected a mapping of names")
    return [place for name, value in environments.items() for place in _environment(policy, str(name), value)]


def _environment(policy: Path, name: str, value: Any) -> list[Place]:
    registries = value.get("registries") if isinstance(value, dict) else None
    if not isinstance(registries, list) or not registries:
        raise BadPolicy(f"{policy}: environments.{name}.registries: expected a list of account/region")
    found = []
    for number, text in enumerate(registries, 1):
        try:
            found.append(Place(name, number, EcrRegistry.parse(str(text))))
        except BadName as error:
            raise BadPolicy(f"{policy}: environments.{name}.registries: {error}") from error
    return found
