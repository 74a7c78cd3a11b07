"""Whether repositories are as the policy says and as good practice asks: scans, fixed tags, who may in, clean-up."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.errors import BadInput, TallymanError
from tallyman.services.promotion.creations import settings_of
from tallyman_cli.doctor.contents import of_builds
from tallyman_cli.doctor.finding import OK, UNKNOWN, WARN, Finding, Site
from tallyman_cli.registry.creation import differences

TITLE = "repositories"
_MEND = "mend the repository, or change `create` in the policy"


@dataclass(frozen=True, slots=True)
class Repositories:
    """The settings of every repository of every registry that the person's credentials can read.

    Cost: a listing for each registry, and two calls for each repository.
    """

    site: Site

    def findings(self) -> Iterator[Finding]:
        """One for each repository; one registry that can't be read keeps no other waiting."""
        for registry in self.site.stack.policy.registries():
            self.site.say(f"the repositories of {registry} are read")
            try:
                yield from self._registry(registry)
            except TallymanError as error:
                yield Finding(TITLE, UNKNOWN, f"{registry}: {error}", f"ask with credentials that may read {registry}")

    def _registry(self, registry: EcrRegistry) -> Iterator[Finding]:
        listed = list(self.site.stack.registries.repositories(registry))
        names = {found.repository.name for found in listed}
        for found in listed:
            place, fine = found.repository, "as the policy says"
            problems = self._open(place)
            if of_builds(place.name, names):
                fine = "what builds keep, outside all rules"
            else:
                settings, clean_up = self._settings(found), self._clean_up(place)
                if settings:
                    problems = [*settings, *problems, *clean_up]
                else:  # as Tallyman creates it: that is well by our own check
                    fine = "; ".join([fine, *clean_up])
            if problems:
                yield Finding(TITLE, WARN, f"{place}: {'; '.join(problems)}", _MEND)
            else:
                yield Finding(TITLE, OK, f"{place}: {fine}")

    def _settings(self, found: RepositorySettings) -> list[str]:
        stack, place = self.site.stack, found.repository
        problems = []
        environments = stack.policy.environments_of(place.registry, place.name)
        for environment, canonical in environments:
            wanted = settings_of(stack.policy.repository(canonical).create, place)
            for d in differences(wanted, found):
                if d["setting"] == "mutable_tags" and not found.immutable:
                    continue  # every tag can be moved, which is said already
                problems.append(f"{d['setting']} is {d['found']}, {environment.name} wants {d['wanted']}")
        text = " ".join(problems)
        if environments and not problems:
            return problems  # as the policy says, whatever that is
        if not found.scan_on_push and "scan_on_push" not in text:
            problems.append("images are not scanned on push")
        if not found.immutable and "immutable" not in text:
            problems.append("tags can be moved: a version names another image from one day to the next")
        return problems

    def _open(self, place: Repository) -> list[str]:
        document = self.site.stack.guards.policy(place) if self.site.stack.guards is not None else None
        return ["its policy lets everybody in"] if document is not None and open_to_all(document) else []

    def _clean_up(self, place: Repository) -> list[str]:
        """Whether anything ever removes images: the policy's retention, or a lifecycle policy of the repository."""
        policy = self.site.stack.policy
        for _, canonical in policy.environments_of(place.registry, place.name):
            if (retention := policy.repository(canonical).retention).removes and retention.enforce:
                return []
        there = self.site.stack.lifecycle(place) is not None
        return [] if there else ["neither `retention` nor a lifecycle policy removes old images (no lifecycle policy)"]


def statements(document: str | None) -> list[dict[str, Any]]:
    """The statements of a repository policy; BadInput where it is none that can be read."""
    try:
        policy = json.loads(document) if document else {}
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the repository's policy is not JSON: {error}") from None
    listed: list[Any] = _listed(policy.get("Statement", [])) if isinstance(policy, dict) else [None]
    if not all(isinstance(each, dict) for each in listed):
        raise BadInput("the repository's policy has no statements that can be read")
    return listed


def open_to_all(document: str) -> bool:
    """Whether a statement of the repository policy allows anybody anything, on no condition. BadInput."""
    return any(
        statement.get("Effect") == "Allow" and _everybody(statement) and not statement.get("Condition")
        for statement in statements(document)
    )


def _everybody(statement: dict[str, Any]) -> bool:
    if "NotPrincipal" in statement:
        return True  # allowed to all but these
    principal = statement.get("Principal")
    return principal == "*" or (isinstance(principal, dict) and "*" in _listed(principal.get("AWS", [])))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
