"""Compares repositories with the policy and with good practice: scans, immutable tags, who has access, clean-up."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import Repository
from tallyman.domain.policy import Policy
from tallyman.errors import BadInput, TallymanError
from tallyman.services.promotion.creations import settings_of
from tallyman.services.retention.hints import is_enforced
from tallyman_cli.doctor.contents import of_builds
from tallyman_cli.doctor.finding import OK, UNKNOWN, WARN, Finding, Site
from tallyman_cli.registry.creation import differences, in_words

TITLE = "repositories"
NO_CLEAN_UP = "nothing removes old images: there is no lifecycle policy, and `retention` is not enforced"
_MEND = "mend the repository, or change `create` in the policy"


def removes_old_images(policy: Policy, place: Repository, lifecycle: Callable[[Repository], str | None]) -> bool:
    """Whether enforced retention, or else the repository's lifecycle policy, removes images. `lifecycle` reads it.

    Where neither does, that is a remark, not a fault: retention may be planned without being enforced, and creation
    sets no lifecycle policy. Cost: a read of the lifecycle policy, unless retention is enforced.
    """
    return is_enforced(policy, place) or lifecycle(place) is not None


def repositories(site: Site) -> Iterator[Finding]:
    """One for each repository of every registry. What can't be read, a registry or a repository, is unknown; the others
    go on. Cost: a listing for each registry, and two calls for each repository."""
    for registry in site.stack.policy.registries():
        site.say(f"reading the repositories of {registry}")
        try:
            listed = site.repositories(registry)
        except TallymanError as error:
            yield Finding(TITLE, UNKNOWN, f"{registry}: {error}", f"use credentials that may read {registry}")
            continue
        names = {found.repository.name for found in listed}
        for found in listed:
            place = found.repository
            try:
                yield _judged(site, found, of_builds(place.name, names))
            except TallymanError as error:
                todo = f"use credentials that may read {registry}, or look at it yourself"
                yield Finding(TITLE, UNKNOWN, f"{place}: {error}", todo)


def _judged(site: Site, found: RepositorySettings, kept_by_builds: bool) -> Finding:
    place, policy = found.repository, site.stack.policy
    opened = ["its policy lets everybody in"] if open_to_all(site.stack.guards.policy(place)) else []
    if kept_by_builds:
        problems, said = opened, opened or ["what builds keep, outside all rules"]
    else:
        problems = [*_settings(policy, found), *opened]
        owner, _ = policy.environment_of(place)
        said = problems or ["as the policy says" if owner else "in no environment of the policy"]
        said = said if removes_old_images(policy, place, site.stack.lifecycle) else [*said, NO_CLEAN_UP]
    text = f"{place}: {'; '.join(said)}"
    return Finding(TITLE, WARN, text, _MEND) if problems else Finding(TITLE, OK, text)


def _settings(policy: Policy, found: RepositorySettings) -> list[str]:
    place = found.repository
    problems, named = [], set()
    environment, canonical = policy.environment_of(place)
    if environment is not None:
        wanted = settings_of(policy.repository(canonical).create, place)
        for d in differences(wanted, found):
            if d["setting"] == "mutable_tags" and not found.immutable:
                continue  # `immutable` says already that every tag can be moved
            named.add(d["setting"])
            problems.append(
                f"{d['setting']} is {in_words(d['found'])}, {environment.name} wants {in_words(d['wanted'])}"
            )
        if not problems:
            return problems  # as the policy says, whatever that is
    if not found.scan_on_push and "scan_on_push" not in named:
        problems.append("images are not scanned on push")
    if not found.immutable and "immutable" not in named:
        problems.append("tags can be moved: a version names another image from one day to the next")
    return problems


def statements(document: str | None) -> list[dict[str, Any]]:
    """The statements of a repository policy (None: it has none). BadInput: they can't be read."""
    try:
        policy = json.loads(document) if document else {}
    except (ValueError, RecursionError) as error:
        raise BadInput(f"the repository's policy is not JSON: {error}") from None
    found: list[Any] = as_list(policy.get("Statement", [])) if isinstance(policy, dict) else [None]
    if not all(isinstance(each, dict) for each in found):
        raise BadInput("the repository's policy has no statements that can be read")
    return found


def open_to_all(document: str | None) -> bool:
    """Whether a statement of the repository policy allows everybody something, without a condition. BadInput: it can't
    be read."""
    return any(
        statement.get("Effect") == "Allow" and _everybody(statement) and not statement.get("Condition")
        for statement in statements(document)
    )


def _everybody(statement: dict[str, Any]) -> bool:
    if "NotPrincipal" in statement:
        return True  # allowed to all but these
    principal = statement.get("Principal")
    return principal == "*" or (isinstance(principal, dict) and "*" in as_list(principal.get("AWS", [])))


def as_list(value: Any) -> list[Any]:
    """IAM takes one value or a list of them: always the list."""
    return value if isinstance(value, list) else [value]
