"""Policies of thousands of environments: checked in time linear in their size, and without recursion."""

import time
from itertools import combinations, pairwise, product
from typing import Any

import pytest

from support.fakes.policies import parsed
from tallyman.domain.policy import PolicyProblem
from tallyman.errors import PolicyError

MANY = 4000


def registry(number: int) -> str:
    return f"{111111111111 + number}/us-east-2"


@pytest.mark.parametrize(
    "environments",
    [
        {f"e{n}": {"registries": [registry(n)]} for n in range(MANY)},
        {f"e{n}": {"registries": [registry(0)], "repository": f"e{n}/{{name}}"} for n in range(MANY)},
        {f"e{n}": {"registries": [registry(0)], "repository": f"{{name}}-e{n}x"} for n in range(MANY)},
        {"one": {"registries": [registry(n) for n in range(MANY)]}},
    ],
)
def test_a_policy_of_thousands_of_environments_is_checked_in_seconds(environments: dict[str, Any]) -> None:
    names = list(environments)
    chain = [{"from": a, "to": b} for a, b in pairwise(names)]
    begun = time.process_time()
    policy = parsed({"environments": environments, "repositories": [{"match": "*", "promotions": chain}]})
    assert time.process_time() - begun < 15  # over 30 s for the environments alone when every pair was compared
    assert len(policy.environments) == len(names)


def test_a_cycle_of_thousands_of_promotions_is_found() -> None:
    names = [f"e{n}" for n in range(MANY)]
    environments = {name: {"registries": [registry(n)]} for n, name in enumerate(names)}
    circle = [{"from": a, "to": b} for a, b in zip(names, [*names[1:], names[0]], strict=True)]
    with pytest.raises(PolicyError, match="form a circle: e0 → e1 → "):
        parsed({"environments": environments, "repositories": [{"match": "*", "promotions": circle}]})


def collide(first: str, second: str) -> bool:
    """Compare every pair: one name may match both, and neither is more specific."""
    (a, _, b), (c, _, d) = first.partition("{name}"), second.partition("{name}")
    if (a, b) == (c, d):
        return True
    if not ((a.startswith(c) or c.startswith(a)) and (b.endswith(d) or d.endswith(b))):
        return False
    return not ((a.startswith(c) and b.endswith(d)) or (c.startswith(a) and d.endswith(b)))


def test_environments_in_a_shared_registry_collide_exactly_as_pairs() -> None:
    templates = [f"{head}{{name}}{tail}" for head, tail in product(("", "a/", "a/b/", "c/"), ("", "/x", "/y/x", "/z"))]
    for first, second in combinations([*templates, "a/{name}"], 2):
        environments = {"one": {"registries": [registry(0)], "repository": first}}
        environments["two"] = {"registries": [registry(1), registry(0)], "repository": second}
        if collide(first, second):
            with pytest.raises(PolicyProblem, match="could belong to 'one'"):
                parsed({"environments": environments})
        else:
            assert len(parsed({"environments": environments}).environments) == 2
