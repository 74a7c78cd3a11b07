"""Which repositories a run of `reconcile` reads: all on schedule, or those that a person requests."""

from collections.abc import Mapping
from typing import Any, Self

from tallyman.domain.names import EcrRegistry, Repository
from tallyman.domain.policy import Policy, glob_matches
from tallyman.errors import BadInput
from tallyman.values import value


@value
class Scope:
    """`token`: identifies a person's sweep over all its invocations; None: a scheduled run. The other fields limit the
    repositories; None: no limit."""

    token: str | None
    environment: str | None = None
    registry: EcrRegistry | None = None
    patterns: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, event: Mapping[str, Any], request: str) -> Self:
        """Parse the function's event: the schedule's, or {repositories: [environment/name, name, account/region/name,
        or globs of these], environment, registry, token, recalled, round_trip, ways}, each optional. Raises BadInput.

        Without `repositories`: all; an empty list: none. `request`: the id of the invocation, used where there is no
        token.
        """
        if event.get("source") == "aws.events":
            return cls(None)
        texts = {key: event.get(key) for key in ("token", "environment", "registry")}
        if bad := [key for key, value in texts.items() if not (value is None or isinstance(value, str))]:
            raise BadInput(f"reconcile: '{bad[0]}' must be a string")
        names = event.get("repositories")
        if names is not None and not (isinstance(names, list) and all(isinstance(n, str) for n in names)):
            raise BadInput("reconcile: 'repositories' must be a list of strings")
        registry = EcrRegistry.parse(texts["registry"]) if texts["registry"] else None
        patterns = None if names is None else tuple(names)
        return cls(texts["token"] or request, texts["environment"], registry, patterns)

    def takes(self, policy: Policy, repository: Repository) -> bool:
        """Whether the run reads the repository."""
        if self.registry is not None and repository.registry != self.registry:
            return False
        environment, name = policy.environment_of(repository)
        if self.environment is not None and (environment is None or self.environment != environment.name):
            return False
        names = {name, str(repository)}
        if environment is not None:
            number = environment.registries.index(repository.registry) + 1
            names |= {f"{environment.name}/{name}", f"{environment.name}[{number}]/{name}"}
        return self.patterns is None or any(glob_matches(p, name) for p in self.patterns for name in names)
