"""Creates the repositories that the policy wants, and compares those that exist with it."""

from typing import Any

from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import Repository, parse_repository_name
from tallyman.domain.push_protection import repository_policy, role_arn
from tallyman.errors import TallymanError
from tallyman.services.promotion.creations import moves_functions, pushers_of, settings_of
from tallyman_cli.shared import addresses
from tallyman_cli.shared.context import Stack

CREATED, EQUAL, DIFFERS, FAILED = "created", "equal", "differs", "failed"


def create_in(stack: Stack, name: str, environment: str) -> list[dict[str, Any]]:
    """Create the repository of this canonical name in every registry of the environment that lacks it, in the policy's
    order.

    Return for each {registry, repository, uri, state, differences, policy, problem, error}. `state`: `created`,
    `equal` (it existed), `differs` (it existed and is not changed) or `failed`; `policy`: the repository policy that
    creation sets (None: none); `problem`: what is wrong with the existing one. BadName: no such environment or name.
    """
    parse_repository_name(name)
    return [
        _ensure(stack, environment, name, place) for place in stack.policy.environment(environment).repositories(name)
    ]


def planned(stack: Stack, name: str, environment: str) -> list[tuple[Repository, dict[str, Any]]]:
    """The repository policies that `create_in` sets where the repository is missing: who may pull, and who alone may
    push. Repositories without one are left out."""
    parse_repository_name(name)
    places = stack.policy.environment(environment).repositories(name)
    found = [(place, policy_for(stack, environment, name, place)) for place in places]
    return [(place, document) for place, document in found if document]


def policy_for(stack: Stack, environment: str, name: str, place: Repository) -> dict[str, Any] | None:
    """The repository policy that creation sets for this canonical name in the environment; None: it sets none."""
    policy, push = stack.policy, pushers_of(stack.policy, environment, name)
    may_push = []
    if push is not None:
        may_push = [stack.clients().promoter(place.registry.account), *(role_arn(place, role) for role in push)]
    functions = moves_functions(policy, environment, name)
    return repository_policy(place, policy.repository(name).create.pull, may_push, functions)


def _ensure(stack: Stack, environment: str, name: str, place: Repository) -> dict[str, Any]:
    """Create or compare the repository in one registry. An error is part of the answer: the others go on."""
    create, push = stack.policy.repository(name).create, pushers_of(stack.policy, environment, name)
    answer: dict[str, Any] = {
        "registry": str(place.registry),
        "repository": place.name,
        "uri": addresses.address(stack.policy, place),
        "state": FAILED,
        "differences": [],
        "policy": policy_for(stack, environment, name, place),
        "problem": None,
        "error": None,
    }
    wanted = settings_of(create, place)
    try:
        there = stack.registries.settings(place)
        if there is None:
            stack.target.create(wanted, create.pull, push, moves_functions(stack.policy, environment, name))
            answer["state"] = CREATED
            there = stack.registries.settings(place)
        else:
            answer["state"] = EQUAL
            answer["problem"] = stack.push_problem(place, push) if push is not None else None
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
    """Whether the key is the wanted one. ECR answers with the key's ARN; the policy names that, its id, or an alias,
    which can't be compared."""
    if "alias/" in wanted:
        return found is not None
    return found is not None and (found == wanted or found.endswith(f"/{wanted}"))
