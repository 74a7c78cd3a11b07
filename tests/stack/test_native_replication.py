"""`replicate: native` on the deployed stack: real template, roles, events, and the local registries' replication."""

import json
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

import support.images.builders as b
from support.stacks.deployed import Deployed, deployed, until
from tallyman.adapters.ecr.replication import EcrReplication
from tallyman.adapters.ecr.settings import EcrSettings
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import EcrRegistry
from tallyman.state.releases import RELEASES, key
from tallyman_cli.audit.finding import Finding as Audited
from tallyman_cli.audit.repositories import Repositories
from tallyman_cli.doctor.finding import Finding, Site
from tallyman_cli.doctor.replication import replications
from tallyman_cli.setup.policy import summary
from tallyman_local.ecr.rules.replication import Replication

POLICY = """\
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod:
    registries: [222222222222/us-east-2, 222222222222/sa-east-1, 333333333333/us-east-2]
    repository: "prod/{name}"
    replicate: native
repositories:
  - match: "*"
    create: {immutable: true, scan_on_push: true}
    verify: {layers: content}
    promotions:
      - {from: dev, to: prod, tags: [semver], gates: {verified: true}}
"""
NEAR, FAR = EcrRegistry("222222222222", "sa-east-1"), EcrRegistry("333333333333", "us-east-2")
LETTING_IN = """{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"},
"Action": ["ecr:ReplicateImage"], "Resource": "arn:aws:ecr:us-east-2:333333333333:repository/prod/let-in/*"}]}"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), POLICY, scanner="clean") as running:
        far = running.client("ecr", FAR.region, role=f"arn:aws:iam::{FAR.account}:role/admin")
        far.put_registry_policy(policyText=LETTING_IN)
        yield running


def replicate(system: Deployed, *prefixes: str) -> None:
    """Configure the replication of the first registry, as its owner would."""
    rule: dict[str, Any] = {"destinations": [{"region": r.region, "registryId": r.account} for r in (NEAR, FAR)]}
    rule["repositoryFilters"] = [{"filter": prefix, "filterType": "PREFIX_MATCH"} for prefix in prefixes]
    owner = system.client("ecr", role="arn:aws:iam::222222222222:role/admin")
    owner.put_replication_configuration(replicationConfiguration={"rules": [rule]})


def released(system: Deployed, name: str, image: b.Built) -> bool:
    """Whether it is released, and the tag names it in all three registries."""
    release = RELEASES.get(system.stack.state, key("prod", name))
    same = release is not None and release.digest == image.digest
    return same and system.digests_in(name, "v1.0.0") == [image.digest] * 3


def test_ecr_replicates_an_index_to_the_other_registries_and_it_is_released(system: Deployed) -> None:
    replicate(system, "prod/let-in/")
    image = b.multi_arch("carried")
    system.push(image, "let-in/app", "v1.0.0")
    assert until(lambda: released(system, "let-in/app", image), "not released", system.cloud)
    assert len(system.facts(image.digest, Kind.PROMOTED)) == 1
    assert not system.facts(image.digest, Kind.STOWAWAY)
    replicated = [f for f in system.facts(image.digest, Kind.REPLICATED) if f.repository]
    assert {f.repository.registry for f in replicated if f.repository} == {NEAR, FAR}
    assert not [text for text in system.notices() if "let-in/app" in text]


def test_a_tag_that_replication_drops_is_set(system: Deployed) -> None:
    replicate(system, "prod/let-in/")
    whole = Replication.replicate

    def without_tags(self: Replication, row: Any, image: Any, tags: list[str | None], to: EcrRegistry) -> str | None:
        return whole(self, row, image, [None], to)

    image = b.image("dropped")
    with mock.patch.object(Replication, "replicate", without_tags):
        system.push(image, "let-in/dropped", "v1.0.0")
        assert until(lambda: released(system, "let-in/dropped", image), "not released", system.cloud)


def test_a_registry_that_refuses_replication_is_copied_to_with_a_notice(system: Deployed) -> None:
    replicate(system, "prod/kept-out/")
    image = b.image("refused")
    system.push(image, "kept-out/app", "v1.0.0")
    assert until(lambda: released(system, "kept-out/app", image), "not released", system.cloud)
    (result,) = [text for text in system.notices() if "kept-out/app" in text]
    assert "did not replicate" in result


def test_without_a_rule_nothing_is_promoted_and_why_says_what_to_do(system: Deployed) -> None:
    replicate(system, "prod/let-in/")
    image = b.image("nowhere")
    system.push(image, "elsewhere/app", "v1.0.0")

    def reason() -> str:
        gate = next(g for g in system.why("elsewhere/app", "v1.0.0").gates if g.name == "target")
        return gate.reason if gate.verdict == "waiting" else ""

    assert until(lambda: "no replication rule of 222222222222/us-east-2" in reason(), "no reason", system.cloud)
    assert system.digests_in("elsewhere/app", image.digest) == [None] * 3
    replicate(system, "prod/elsewhere/")
    system.reconcile()
    assert until(lambda: released(system, "elsewhere/app", image), "not released", system.cloud)


def test_the_doctor_prints_the_rule_until_it_is_set_and_warns_of_removals(system: Deployed) -> None:
    def found() -> list[Finding]:
        return list(replications(Site(system.stack, system.cloud.stack, lambda service, region: None)))

    replicate(system, "prod/let-in/")
    (lacking,) = found()
    assert lacking.verdict == "failed"
    assert "prod/elsewhere/app to 222222222222/sa-east-1, 333333333333/us-east-2" in lacking.found
    command = re.search(r"--replication-configuration '(.*)' \(in account 222222222222\)", str(lacking.todo))
    assert command
    rules = json.loads(command[1])
    assert rules["rules"][0]["repositoryFilters"] == [{"filter": "prod/let-in/", "filterType": "PREFIX_MATCH"}]
    assert "registry policy in 333333333333" in str(lacking.todo)
    assert [each.what for each in audited(system) if each.kind == "replication"] == [lacking.found]
    owner = system.client("ecr", role="arn:aws:iam::222222222222:role/admin")
    owner.put_replication_configuration(replicationConfiguration=rules)
    assert [each.verdict for each in found()] == ["ok"]
    assert not {"replication", "unread"} & {each.kind for each in audited(system)}
    rules["rules"][1]["deleteReplication"] = {"enabled": True}
    owner.put_replication_configuration(replicationConfiguration=rules)
    assert [each.verdict for each in found()] == ["ok", "warning"]


def audited(system: Deployed) -> list[Audited]:
    """The audit's findings about repositories."""
    clients = system.stack.clients()
    return list(
        Repositories(system.stack, EcrReplication(clients), EcrSettings(clients), lambda remark: None).findings()
    )


def test_the_check_of_the_policy_prints_the_rule(system: Deployed) -> None:
    said = summary(system.stack.policy)
    assert '"repositoryFilters":[{"filter":"prod/","filterType":"PREFIX_MATCH"}]' in said
    assert "--region us-east-2" in said
