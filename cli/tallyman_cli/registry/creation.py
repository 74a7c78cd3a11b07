"""Repositories as the policy wants them: created where they are missing, compared where they are there."""

from typing import Any

from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import Repository, parse_repository_name
from tallyman.domain.policy import Create
from tallyman.errors import TallymanError
from tallyman.services.promotion.creations import moves_functions, pushers_of, settings_of
from tallyman_cli.shared import addresses
from tallyman_cli.shared.context import Stack

CREATED, EQUAL, DIFFERS, FAILED = "created", "equal", "differs", "failed"


def create_in(stack: Stack, name: str, environment: str) -> list[dict[str, Any]]:
    """Sees to the repository of this canonical name in every registry of the environment, in the policy's order.

    A dict each: {registry, repository, uri, state, differences, policy, problem, error}; `state` is `created`, `equal`
    (it was there), `differs` (it was there and is left as it is) or `failed`; `policy` is the repository policy that
    the policy wants (None: none), `problem` what is wrong with one that is there. BadName: no such environment or name.
    """
    parse_repository_name(name)
    wanted = stack.policy.repository(name).create
    push, functions = pushers_of(stack.policy, environment, name), moves_functions(stack.policy, environment, name)
    places = stack.policy.environment(environment).repositories(name)
    return [_ensure(stack, wanted, push, functions, place) for place in places]


def planned(stack: Stack, name: str, environment: str) -> list[tuple[Repository, dict[str, Any]]]:
    """The repository policies that `create_in` would set, where the repository is not there yet: who may pull, and who
    alone may push. None where there is nothing to set."""
    parse_repository_name(name)
    create, push = stack.policy.repository(name).create, pushers_of(stack.policy, environment, name)
    functions = moves_functions(stack.policy, environment, name)
    found = []
    for place in stack.policy.environment(environment).repositories(name):
        if document := stack.policy_of(place, create.pull, push, functions):
            found.append((place, document))
    return found


def _ensure(
    stack: Stack, create: Create, push: tuple[str, ...] | None, functions: bool, place: Repository
) -> dict[str, Any]:
    """One registry's answer; another's failure is no reason not to ask it."""
    answer: dict[str, Any] = {
        "registry": str(place.registry),
        "repository": place.name,
        "uri": addresses.address(stack.policy, place),
        "state": FAILED,
        "differences": [],
        "policy": stack.policy_of(place, create.pull, push, functions),
        "problem": None,
        "error": None,
    }
    wanted = settings_of(create, place)
    try:
        there = stack.registries.settings(place)
        if there is None:
            stack.target.create(wanted, create.pull, push, functions)
            answer["state"] = CREATED
            there = stack.registries.settings(place)
        else:
            answer["state"] = EQUAL
            problem = stack.push_problem(place, push) if push is not None else None
            answer["problem"] = problem
    except TallymanError as error:
        return answer | {"state": FAILED, "error": str(error)}
    found = differences(wanted, there) if there else []
    differs = found or answer["problem"]
    return answer | {"state": DIFFERS if differs else answer["state"], "differences": found}


def differences(wanted: RepositorySettings, found: RepositorySettings) -> list[dict[str, Any]]:
    """Each setting that differs: {setting, wanted, found}."""
    pairs: list[tuple[str, Any, Any]] = [
        ("immutable", wanted.immutable, found.immutable),
        ("mutable_tags", sorted(wanted.mutable_tags), sorted(found.mutable_tags)),
        ("encryption", str(wanted.encryption), str(found.encryption)),
        ("scan_on_push", wanted.scan_on_push, found.scan_on_push),
    ]
    if wanted.kms_key and not _same_key(wanted.kms_key, found.kms_key):
        pairs.append(("kms_key", wanted.kms_key, found.kms_key))
    return [{"setting": name, "wanted": a, "found": b} for name, a, b in pairs if a != b]


def in_words(value: Any) -> str:
    """The value of a setting, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) or "none" if isinstance(value, list) else str(value)


def _same_key(wanted: str, found: str | None) -> bool:
    """ECR answers with the key's ARN; what is wanted may be that or its id. An alias can't be compared."""
    if "alias/" in wanted:
        return found is not None
    return found is not None and (found == wanted or found.endswith(f"/{wanted}"))
