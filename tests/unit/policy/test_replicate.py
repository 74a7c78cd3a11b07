"""`replicate: native`: valid values in a policy, and the ECR rule that it requires."""

import pytest

from tallyman.adapters.files import policy_file
from tallyman.domain.names import EcrRegistry
from tallyman.domain.policy import Policy
from tallyman.domain.replication import ReplicationRule, destinations, wanted_rule
from tallyman.errors import PolicyError

HOME, NEAR = EcrRegistry("222222222222", "us-east-2"), EcrRegistry("222222222222", "sa-east-1")


def loaded(registries: str, repositories: str = "[]", name: str = "{name}") -> Policy:
    """A policy whose prod ECR replicates."""
    text = f"""
environments:
  dev: {{registries: [111111111111/us-east-2]}}
  prod: {{registries: [{registries}], repository: "{name}", replicate: native}}
repositories: {repositories}
"""
    return policy_file.loads(text.encode(), "tallyman.yaml")


def test_native_replication_needs_two_registries() -> None:
    (warning,) = loaded(str(HOME)).warnings
    assert "has no effect: the environment has only one registry" in str(warning)


def test_an_unknown_value_of_replicate_is_refused() -> None:
    with pytest.raises(PolicyError, match="copy or native"):
        policy_file.loads(
            b"environments: {a: {registries: [222222222222/us-east-2], replicate: both}}", "tallyman.yaml"
        )


def test_ecr_replicates_to_no_other_partition_and_not_to_more_than_25() -> None:
    with pytest.raises(PolicyError, match="partition"):
        loaded(f"{HOME}, 222222222222/cn-north-1")
    many = ", ".join(f"{200000000000 + n}/us-east-2" for n in range(27))
    with pytest.raises(PolicyError, match="at most 25 registries, found 26"):
        loaded(many)


@pytest.mark.parametrize(
    ("name", "matches", "prefixes"),
    [
        ("{name}", ["rocketseat/*"], ["rocketseat/"]),
        ("prod/{name}", ["rocketseat/*", "rocketseat/a", "other?"], ["prod/other", "prod/rocketseat/"]),
        ("prod/{name}", ["*"], ["prod/"]),
        ("{name}", ["*"], []),
    ],
)
def test_the_rule_matches_promoted_repositories_as_narrowly_as_prefixes_can(
    name: str, matches: list[str], prefixes: list[str]
) -> None:
    rules = [f"{{match: '{match}', promotions: [{{from: dev, to: prod}}]}}" for match in reversed(matches)]
    policy = loaded(f"{HOME}, {NEAR}", f"[{', '.join(rules)}]", name)
    rule = wanted_rule(policy, policy.environment("prod"))
    assert rule.destinations == (NEAR,)
    assert [text for _, text in rule.filters] == prefixes


def test_an_unknown_filter_type_guarantees_no_replication() -> None:
    rule = ReplicationRule((NEAR,), (("TAG_MATCH", "v"),))
    assert destinations([rule], "app") == frozenset()
    assert rule.might_take("app")
    assert destinations([ReplicationRule((NEAR,))], "app") == {NEAR}
