"""Subscribers of a push: their failures never fail the push, and never keep other subscribers from their event."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images.builders import image
from support.servers.ecr import DEV, NAME, Served, serve
from tallyman_local.ecr.rules.replication import Replication
from tallyman_local.ecr.rules.scanner import Scanner
from tallyman_local.ecr.rules.signing import Signing


def fail(*_: Any, **__: Any) -> Any:
    raise KeyError("a fault of a subscriber")


def everything(served: Served) -> None:
    """A repository whose pushes are scanned, signed and replicated."""
    client = served.client()
    client.create_repository(repositoryName=NAME, imageScanningConfiguration={"scanOnPush": True})
    rules = [
        {"destinations": [{"region": "sa-east-1", "registryId": DEV.account}], "deleteReplication": {"enabled": True}}
    ]
    client.put_replication_configuration(replicationConfiguration={"rules": rules})
    profile = "arn:aws:signer:us-east-2:111111111111:/signing-profiles/widgets"
    client.put_signing_configuration(signingConfiguration={"rules": [{"signingProfileArn": profile}]})


@pytest.mark.parametrize(
    "subscriber",
    [
        ("events", "_emit"),
        ("events", "_trail"),
        (Replication, "planned"),
        (Replication, "pushed"),
        (Replication, "removed"),
        (Replication, "_copy"),
        (Signing, "planned"),
        (Signing, "removed"),
        (Scanner, "begin"),
    ],
    ids=str,
)
def test_pushes_and_deletions_succeed_whichever_subscriber_fails(
    served: Served, monkeypatch: pytest.MonkeyPatch, subscriber: tuple[Any, str]
) -> None:
    everything(served)
    owner, method = subscriber
    monkeypatch.setattr(served.ecr._parts.events if owner == "events" else owner, method, fail)
    app, other = image("app"), image("other")
    assert served.push(app, "v1").status == 201
    served.push(other, "v2")
    client = served.client()
    asked = {"repositoryName": NAME, "imageManifest": app.raw.decode(), "imageTag": "v3"}
    assert client.put_image(**asked)["image"]["imageId"]["imageTag"] == "v3"
    removed = client.batch_delete_image(repositoryName=NAME, imageIds=[{"imageTag": "v2"}])
    assert removed["failures"] == []
    assert [d["imageTags"] for d in client.describe_images(repositoryName=NAME)["imageDetails"]] == [["v1", "v3"]]


def test_a_failing_subscriber_does_not_stop_the_others(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    everything(served)
    monkeypatch.setattr(Signing, "planned", fail)
    served.push(image("app"), "v1")
    kinds = [event["detail-type"] for event in served.events]
    assert kinds == ["ECR Image Action", "ECR Replication Action"]
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
    assert served.client().describe_image_scan_findings(**asked)["imageScanStatus"]["status"] == "IN_PROGRESS"


def test_a_broken_replication_is_reported_as_failed(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    everything(served)
    monkeypatch.setattr(Replication, "_copy", fail)
    served.push(image("app"), "v1")
    answer = served.client().describe_image_replication_status(repositoryName=NAME, imageId={"imageTag": "v1"})
    assert [(s["status"], s["failureCode"]) for s in answer["replicationStatuses"]] == [("FAILED", "ReplicationFailed")]


@pytest.mark.parametrize("region", ["mars-north-1", "us-east-9", "cn-north-1", "nowhere"])
def test_replication_to_an_unknown_region_is_refused(served: Served, region: str) -> None:
    served.create()
    rules = [{"destinations": [{"region": region, "registryId": DEV.account}]}]
    with pytest.raises(ClientError, match=f"images of us-east-2 can't be replicated to '{region}'"):
        served.client().put_replication_configuration(replicationConfiguration={"rules": rules})
    assert served.client().describe_registry()["replicationConfiguration"] == {"rules": []}
    assert served.push(image("app"), "v1").status == 201


def test_a_push_succeeds_although_the_stored_replication_names_no_region(tmp_path: Path) -> None:
    """An earlier version stored configurations without a region."""

    def emit_like_the_bus(served: Served) -> Callable[..., None]:
        def emit(event: dict[str, Any], account: str, region: str) -> None:
            {"us-east-2": None}[region]
            served.events.append(event)

        return emit

    with serve(tmp_path) as served:
        served.create()
        rules = [{"destinations": [{"region": "mars-north-1", "registryId": DEV.account}]}]
        served.ecr._parts.settings.put(DEV, "replication", {"rules": rules}, 0.0)
        served.ecr._parts.events._emit = emit_like_the_bus(served)
        assert served.push(image("app"), "v1").status == 201
        assert [json.dumps(e["detail"]["action-type"]) for e in served.events] == ['"PUSH"']
