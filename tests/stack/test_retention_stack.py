"""Retention through the deployed template: moto's ECS, Lambda and Batch report usage; only one role removes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from moto.eks.models import Cluster, eks_backends

from support.images import builders as b
from support.servers.kubernetes import KubernetesServer, kubernetes, status
from support.stacks.deployed import Deployed, deployed
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest, EcrRegistry
from tallyman_cli.retention import commands as retention
from tallyman_cli.retention import plan as retention_plan
from tallyman_cli.retention import proof as retention_proof

POLICY = """
environments:
  dev:  {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2, 222222222222/sa-east-1]}
repositories:
  - match: rocketseat/limited
    create: {immutable: true}
    retention: {keep: [{newest: 1, of: semver}], grace: 0s, at_most: 20%, enforce: true}
  - match: rocketseat/*
    create: {immutable: true, mutable_tags: [latest]}
    retention: {keep: [{newest: 1, of: semver}], grace: 0s, at_most: 100%, enforce: true}
"""


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), POLICY) as running:
        yield running


def versions(system: Deployed, name: str, count: int) -> list[b.Built]:
    built = [b.multi_arch(f"{name}-{n}", attested=True) for n in range(count)]
    for n, each in enumerate(built):
        system.push(each, name, f"v1.{n}.0", settle=False)
    system.settle()
    return built


def there(system: Deployed, name: str) -> set[Digest]:
    return {detail.digest for detail in system.stack.source.images(system.place(name))}


def apply(system: Deployed, name: str) -> dict[str, Any]:
    found = retention.ask(system.stack, system.place(name), 60)
    system.settle()
    return found


def test_an_expired_image_graph_is_removed_with_proof_and_history(system: Deployed) -> None:
    old, new = versions(system, "rocketseat/plain", 2)
    plan, _ = retention_plan.make(system.stack, system.place("rocketseat/plain"))
    assert {d for d in old.manifests if plan.goes(d)} == set(old.manifests)
    outcome = apply(system, "rocketseat/plain")
    assert (outcome["failed"], set(outcome["removed"])) == ({}, set(old.manifests))
    assert there(system, "rocketseat/plain") == set(new.manifests)
    (proof,) = retention_proof.proofs(system.stack, f"dev/rocketseat/plain@{old.digest}")
    assert proof["manifest"] == old.root.raw.decode()
    assert {u["source"] for u in proof["usage"]} == {"ECS", "Lambda", "Batch", "Inspector", "EKS"}
    assert {f.kind for f in system.facts(old.digest)} >= {Kind.MARKED, Kind.REMOVED, Kind.DELETED, Kind.PUSHED}
    again, _ = retention_plan.make(system.stack, system.place("rocketseat/plain"))
    assert again.removed == []


def test_images_used_by_ecs_lambda_and_batch_stay(system: Deployed) -> None:
    name = "rocketseat/used"
    by_service, by_function, by_job, free, newest = versions(system, name, 5)
    place = system.place(name)
    ecs = system.client("ecs")
    ecs.create_cluster(clusterName="shop")
    child = by_service.root.platform_children[0].digest
    container = {"name": "web", "image": place.at(child), "memory": 64}
    ecs.register_task_definition(family="web", containerDefinitions=[container])
    ecs.create_service(cluster="shop", serviceName="web", taskDefinition="web", desiredCount=0)
    lets = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = {"Version": "2012-10-17", "Statement": [lets]}
    system.client("iam").create_role(RoleName="runs", AssumeRolePolicyDocument=json.dumps(trust))
    system.client("batch").register_job_definition(
        jobDefinitionName="nightly",
        type="container",
        containerProperties={"image": place.at("v1.2.0"), "vcpus": 1, "memory": 64},
    )
    system.client("lambda").create_function(
        FunctionName="thumbs",
        Role=f"arn:aws:iam::{place.registry.account}:role/runs",
        PackageType="Image",
        Code={"ImageUri": place.at(by_function.digest)},
        Publish=True,
    )
    plan, _ = retention_plan.make(system.stack, place)
    kept = {d for built in (by_service, by_function, by_job, newest) for d in built.manifests}
    assert not [d for d in kept if plan.goes(d)]
    assert all(plan.goes(d) for d in free.manifests)
    reasons = [plan.image(plan.inventory.rows[d]).reason for d in (by_service.digest, by_job.digest)]
    assert "ecs service" in reasons[0]
    assert "batch job definition nightly" in reasons[1]


@pytest.mark.parametrize("account", ["111111111111", "222222222222"])
def test_images_of_an_eks_cluster_stay_and_an_unreadable_cluster_refuses_the_plan(
    system: Deployed, tmp_path: Path, account: str
) -> None:
    name = f"rocketseat/pods-{account[0]}"
    by_pod, by_history, free, newest = versions(system, name, 4)
    place, where = system.place(name), EcrRegistry(account, "us-east-2")
    with kubernetes(tmp_path, "shop") as cluster, known(cluster, where):
        cluster.objects["/api/v1/pods"] = [
            {
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"containers": [{"name": "web", "image": "docker.io/library/other:1"}]},
                "status": {
                    "containerStatuses": [
                        {"name": "web", "image": "x", "imageID": place.at(by_pod.root.platform_children[0].digest)}
                    ]
                },
            }
        ]
        template = {"spec": {"containers": [{"name": "web", "image": place.at("v1.1.0")}]}}
        cluster.objects["/apis/apps/v1/replicasets"] = [
            {"metadata": {"name": "web-1", "namespace": "default"}, "spec": {"replicas": 0, "template": template}}
        ]
        cluster.answers["/apis/batch/v1/jobs"] = [status(403, "Forbidden", "jobs.batch is forbidden")]
        refused = apply(system, name)["refused"]
        assert f"EKS cluster shop of {where} can't be read" in refused
        assert "jobs.batch is forbidden" in refused
        assert "aws eks create-access-entry --cluster-name shop" in refused
        role = "tallyman-apply-retention-us-east-2" if account == system.stack.hub.account else "tallyman-spoke-read"
        assert f"arn:aws:iam::{account}:role/{role}" in refused.replace(system.cloud.stack, "tallyman")
        assert set(apply(system, name)["removed"]) == set(free.manifests)
    assert there(system, name) == {d for built in (by_pod, by_history, newest) for d in built.manifests}


@contextmanager
def known(server: KubernetesServer, where: EcrRegistry) -> Iterator[None]:
    """moto's EKS has the cluster, at the server's address, until the block ends."""
    clusters = eks_backends[where.account][where.region].clusters
    made = Cluster(server.cluster, "arn:aws:iam::0:role/cluster", {}, where.account, where.region, "aws")
    made.endpoint, made.certificate_authority = server.url, server.described["certificateAuthority"]
    clusters[server.cluster] = made
    try:
        yield
    finally:
        del clusters[server.cluster]


def test_beyond_at_most_nothing_is_removed_and_the_outcome_says_so(system: Deployed) -> None:
    versions(system, "rocketseat/limited", 2)
    outcome = apply(system, "rocketseat/limited")
    assert "more than at_most, 20%" in outcome["refused"]
    assert len(there(system, "rocketseat/limited")) == 10
    assert any("retention of" in subject for subject in system.notices())


def test_a_removed_image_is_restored_from_another_environment_with_its_tag(system: Deployed) -> None:
    name = "rocketseat/back"
    old, _ = versions(system, name, 2)
    system.push(old, name, "v1.0.0", environment="prod")
    apply(system, name)
    assert old.digest not in there(system, name)
    result = retention_proof.bring_back(system.stack, f"dev/{name}@{old.digest}")
    assert result["tags"] == ["v1.0.0"]
    assert set(old.manifests) <= there(system, name)
    assert retention_proof.bring_back(system.stack, f"dev/{name}@{old.digest}")["outcome"] == "it is there"
