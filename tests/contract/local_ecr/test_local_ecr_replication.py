"""Native replication between local registries, with ECR's gaps: settings are not copied, tags can be missing, no
chains."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images.builders import image, multi_arch
from support.servers.ecr import DEV, NAME, PROD, Served, serve
from tallyman.domain.names import EcrRegistry

NEAR = EcrRegistry(DEV.account, "sa-east-1")
FAR = EcrRegistry("333333333333", "eu-west-1")
ALLOW = ["ecr:ReplicateImage", "ecr:CreateRepository"]

pytestmark = pytest.mark.usefixtures("repository")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("ecr"), (DEV, PROD, NEAR, FAR)) as served:
        yield served


def replicate(
    served: Served, *to: EcrRegistry, source: EcrRegistry = DEV, prefix: str = "", removals: bool = False
) -> None:
    """Configure the source's replication to these registries."""
    rule: dict[str, Any] = {"destinations": [{"region": r.region, "registryId": r.account} for r in to]}
    if prefix:
        rule["repositoryFilters"] = [{"filter": prefix, "filterType": "PREFIX_MATCH"}]
    if removals:
        rule["deleteReplication"] = {"enabled": True}
    served.client(source).put_replication_configuration(replicationConfiguration={"rules": [rule]})


def wait_for_backfills(served: Served) -> None:
    """Wait until no backfill is running."""
    ends = time.monotonic() + 60
    while served.ecr.backfills.busy():
        assert time.monotonic() < ends
        time.sleep(0.01)


def allow(served: Served, registry: EcrRegistry, actions: list[str], source: EcrRegistry = DEV) -> None:
    """Allow these actions to another account in the registry's policy."""
    statement = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{source.account}:root"}, "Action": actions}
    statement["Resource"] = f"arn:aws:ecr:{registry.region}:{registry.account}:repository/*"
    served.client(registry).put_registry_policy(policyText=json.dumps({"Statement": [statement]}))


def tags(served: Served, registry: EcrRegistry) -> dict[str, list[str]]:
    """Digest → tags of the registry's images."""
    details = served.client(registry).describe_images(repositoryName=NAME)["imageDetails"]
    return {d["imageDigest"]: d.get("imageTags", []) for d in details}


def statuses(served: Served, tag: str = "v1") -> dict[str, tuple[str, str | None]]:
    """account/region → (status, failure code)."""
    asked = {"repositoryName": NAME, "imageId": {"imageTag": tag}}
    found = served.client().describe_image_replication_status(**asked)["replicationStatuses"]
    return {f"{s['registryId']}/{s['region']}": (s["status"], s.get("failureCode")) for s in found}


def events_of(served: Served, registry: EcrRegistry) -> list[tuple[str, str]]:
    """(detail-type, tag) of a registry's events."""
    return [
        (e["detail-type"], e["detail"]["image-tag"])
        for e in served.events
        if (e["account"], e["region"]) == (registry.account, registry.region)
    ]


def test_a_pushed_image_is_replicated_byte_by_byte(served: Served) -> None:
    replicate(served, NEAR)
    both = multi_arch("app")
    served.push(both, "v1")
    assert served.send("GET", f"/v2/{NAME}/manifests/v1", registry=NEAR).data == both.raw
    for digest, raw in both.blobs.items():
        assert served.ecr.store.blobs.path(NEAR, digest).read_bytes() == raw
    assert statuses(served) == {str(NEAR): ("COMPLETE", None)}


def test_the_destination_sends_a_replication_event_and_no_push_event(served: Served) -> None:
    replicate(served, NEAR)
    app = image("app")
    served.push(app, "v1")
    (event,) = [e for e in served.events if e["region"] == NEAR.region]
    assert (event["detail-type"], event["source"], event["account"]) == (
        "ECR Replication Action",
        "aws.ecr",
        NEAR.account,
    )
    assert event["detail"] == {
        "result": "SUCCESS",
        "repository-name": NAME,
        "image-digest": app.digest,
        "source-account": DEV.account,
        "source-region": DEV.region,
        "action-type": "REPLICATE",
        "image-tag": "v1",
    }


def test_settings_are_not_copied_but_come_from_the_destinations_own_templates(served: Served) -> None:
    served.client().put_image_tag_mutability(repositoryName=NAME, imageTagMutability="IMMUTABLE")
    served.client(NEAR).create_repository_creation_template(
        prefix="rocketseat", appliedFor=["REPLICATION"], encryptionConfiguration={"encryptionType": "KMS"}
    )
    allow(served, FAR, ALLOW)
    replicate(served, NEAR, FAR)
    served.push(image("app"), "v1")
    settings = {}
    for registry in (NEAR, FAR):
        (found,) = served.client(registry).describe_repositories()["repositories"]
        settings[registry] = (found["imageTagMutability"], found["encryptionConfiguration"]["encryptionType"])
    assert settings == {NEAR: ("MUTABLE", "KMS"), FAR: ("MUTABLE", "AES256")}


def test_an_immutable_destination_keeps_its_existing_tag(served: Served) -> None:
    served.create(NEAR, imageTagMutability="IMMUTABLE")
    old, new = image("old"), image("new")
    served.push(old, "v1", registry=NEAR)
    replicate(served, NEAR)
    served.events.clear()
    served.push(new, "v1")
    assert tags(served, NEAR) == {old.digest: ["v1"], new.digest: []}
    assert events_of(served, NEAR) == [("ECR Replication Action", "")]
    assert statuses(served) == {str(NEAR): ("COMPLETE", None)}


def test_a_tag_that_moves_moves_in_a_mutable_destination(served: Served) -> None:
    replicate(served, NEAR)
    old, new = image("old"), image("new")
    served.push(old, "latest")
    served.push(new, "latest")
    assert tags(served, NEAR) == {old.digest: [], new.digest: ["latest"]}
    served.events.clear()
    served.put(new.raw, "latest", new.media_type)
    assert served.events == []


@pytest.mark.parametrize(("actions", "created"), [([], False), (["ecr:ReplicateImage"], False), (ALLOW, True)])
def test_another_account_must_allow_replication(served: Served, actions: list[str], created: bool) -> None:
    if actions:
        allow(served, PROD, actions)
    replicate(served, PROD)
    assert served.push(image("app"), "v1").status == 201
    if created:
        assert statuses(served) == {str(PROD): ("COMPLETE", None)}
        return
    assert statuses(served) == {str(PROD): ("FAILED", "AccessDenied")}
    assert served.ecr.store.repositories(PROD) == []
    record = served.trail[-1] if served.trail[-1].get("errorCode") else served.trail[-2]
    assert (record["errorCode"], record["recipientAccountId"]) == ("AccessDenied", PROD.account)


def test_an_existing_repository_needs_no_permission_to_create_one(served: Served) -> None:
    served.create(PROD)
    allow(served, PROD, ["ecr:ReplicateImage"])
    replicate(served, PROD)
    served.push(image("app"), "v1")
    assert statuses(served) == {str(PROD): ("COMPLETE", None)}


def test_only_repositories_with_the_prefix_are_replicated(served: Served) -> None:
    served.create(name="team/other")
    replicate(served, NEAR, prefix="team/")
    served.push(image("app"), "v1")
    served.push(image("app"), "v1", name="team/other")
    assert [row.name.name for row in served.ecr.store.repositories(NEAR)] == ["team/other"]
    assert statuses(served) == {}


def test_replicated_images_are_not_replicated_further(served: Served) -> None:
    allow(served, FAR, ALLOW)
    replicate(served, FAR, source=NEAR)
    replicate(served, NEAR)
    served.push(image("app"), "v1")
    assert len(tags(served, NEAR)) == 1
    assert served.ecr.store.repositories(FAR) == []


@pytest.mark.parametrize("removals", [True, False])
def test_deletions_are_replicated_only_if_the_rule_says_so(served: Served, removals: bool) -> None:
    replicate(served, NEAR, removals=removals)
    app, both = image("app"), multi_arch("both")
    served.push(app, "v1")
    served.put(app.raw, "v2", app.media_type)
    served.push(both, "multi")
    served.client().batch_delete_image(repositoryName=NAME, imageIds=[{"imageTag": "v1"}])
    assert tags(served, NEAR)[app.digest] == (["v2"] if removals else ["v1", "v2"])
    for wanted in ({"imageDigest": app.digest}, {"imageTag": "multi"}):
        served.client().batch_delete_image(repositoryName=NAME, imageIds=[wanted])
    assert (app.digest in tags(served, NEAR), both.digest in tags(served, NEAR)) == (not removals, not removals)


@pytest.mark.parametrize(
    "rules",
    [
        [{"destinations": [{"region": DEV.region, "registryId": DEV.account}]}],
        [{"destinations": []}],
        [{"destinations": [{"region": "sa-east-1", "registryId": DEV.account}]}] * 11,
        [{"destinations": [{"region": f"r-{n}", "registryId": DEV.account} for n in range(26)]}],
    ],
    ids=["to itself", "nowhere", "11 rules", "26 destinations"],
)
def test_a_configuration_outside_the_limits_is_refused(served: Served, rules: list[Any]) -> None:
    with pytest.raises(ClientError) as caught:
        served.client().put_replication_configuration(replicationConfiguration={"rules": rules})
    assert caught.value.response["Error"]["Code"] == "InvalidParameterException"
    assert served.client().describe_registry()["replicationConfiguration"] == {"rules": []}


# -- backfill


def backfill(served: Served, to: EcrRegistry = NEAR) -> dict[str, Any]:
    """Start a backfill."""
    destination = {"region": to.region, "registryId": to.account}
    answer: dict[str, Any] = served.client().start_replication_backfill(destination=destination)
    return answer


def test_a_backfill_replicates_images_from_before_the_configuration(served: Served) -> None:
    app, both = image("app"), multi_arch("both")
    served.push(app, "v1")
    served.put(app.raw, "v2", app.media_type)
    served.push(both, "multi")
    with pytest.raises(ClientError, match="must be in the registry's replication configuration"):
        backfill(served)
    replicate(served, NEAR)
    started = backfill(served)
    wait_for_backfills(served)
    assert tags(served, NEAR) == tags(served, DEV)
    asked = {"replicationBackfillId": started["replicationBackfillId"]}
    found = served.client().describe_replication_backfill_results(**asked)
    assert found["status"] == "COMPLETE"
    assert found["progress"]["completedReplicationCount"] == found["progress"]["totalReplicationCount"] == 4
    assert {r["imageId"]["imageDigest"] for r in found["results"]} == set(tags(served, DEV))
    assert served.client().describe_replication_backfill_results(**asked, resultStatusFilter="FAILED")["results"] == []
    pages = served.client().get_paginator("list_replication_backfills").paginate()
    assert [b["replicationBackfillId"] for p in pages for b in p["backfills"]] == [started["replicationBackfillId"]]
    with pytest.raises(ClientError, match="ReplicationBackfillInvalidStatusException"):
        served.client().stop_replication_backfill(**asked)


def test_a_backfill_without_permission_fails(served: Served) -> None:
    served.push(image("app"), "v1")
    replicate(served, PROD)
    started = backfill(served, PROD)
    wait_for_backfills(served)
    asked = {"replicationBackfillId": started["replicationBackfillId"]}
    found = served.client().describe_replication_backfill_results(**asked)
    assert (found["status"], found["progress"]["failureCodes"]) == ("FAILED", ["AccessDenied"])


def test_a_backfill_can_be_stopped_and_only_one_runs_at_a_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(3):
        served.push(image(f"app {n}"), f"v{n}")
    replicate(served, NEAR)
    arrived, go_on = threading.Event(), threading.Event()
    events = served.ecr._parts.events
    original = events.replicated

    def slowly(*args: Any) -> None:
        arrived.set()
        assert go_on.wait(30)
        original(*args)

    monkeypatch.setattr(events, "replicated", slowly)
    started = backfill(served)
    assert arrived.wait(30)
    with pytest.raises(ClientError, match="ReplicationBackfillInProgressException"):
        backfill(served)
    asked = {"replicationBackfillId": started["replicationBackfillId"]}
    assert served.client().describe_replication_backfill_results(**asked)["results"] == []
    assert served.client().stop_replication_backfill(**asked)["status"] == "STOPPING"
    go_on.set()
    wait_for_backfills(served)
    found = served.client().describe_replication_backfill_results(**asked)
    assert (found["status"], len(found["results"]), len(tags(served, NEAR))) == ("STOPPED", 1, 1)
    missing = {"replicationBackfillId": "00000000-0000-0000-0000-000000000000"}
    with pytest.raises(ClientError, match="ReplicationBackfillNotFoundException"):
        served.client().stop_replication_backfill(**missing)


# -- killed in the middle

CHILD = """
import os, signal, sys
from pathlib import Path
from support.images.builders import image
from support.servers.ecr import DEV, NAME, serve
from tallyman_local.ecr.rules.replication import Replication

with serve(Path(sys.argv[1])) as served:
    served.create()
    rules = [{"destinations": [{"region": "sa-east-1", "registryId": DEV.account}]}]
    served.client().put_replication_configuration(replicationConfiguration={"rules": rules})
    Replication._copy = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
    served.push(image("app"), "v1")
"""


def test_pending_replication_of_a_killed_process_completes_after_restart(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], env=environment, timeout=60)
    assert child.returncode == -signal.SIGKILL
    with serve(tmp_path, (DEV, NEAR)) as served:
        assert statuses(served) == {str(NEAR): ("COMPLETE", None)}
        assert tags(served, NEAR) == {image("app").digest: ["v1"]}
