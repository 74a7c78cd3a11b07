"""Events and CloudTrail records of pushes and deletions by `/v2/`, in ECR's format."""

import pytest

from support.images.builders import attestation, big_layer, image, index, multi_arch, signature
from support.servers.ecr import NAME, Served

pytestmark = pytest.mark.usefixtures("repository")

V2 = f"/v2/{NAME}"


def test_each_manifest_of_a_push_is_an_event_with_the_children_untagged(served: Served) -> None:
    both = multi_arch(attested=True)
    served.push(both, "v1")
    assert [(e["detail"]["image-digest"], e["detail"]["image-tag"]) for e in served.events] == [
        *((digest, "") for digest in both.manifests if digest != both.digest),
        (both.digest, "v1"),
    ]


def test_a_push_event_is_as_ecr_writes_it(served: Served) -> None:
    app = image("app")
    served.push(app, "v1.0.0-abc123")
    event = dict(served.events[-1])
    assert len(event.pop("id")) == 36
    assert event == {
        "version": "0",
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": "111111111111",
        "time": "2026-11-16T12:00:00Z",
        "region": "us-east-2",
        "resources": [],
        "detail": {
            "result": "SUCCESS",
            "repository-name": NAME,
            "image-digest": app.digest,
            "action-type": "PUSH",
            "image-tag": "v1.0.0-abc123",
            "manifest-media-type": "application/vnd.oci.image.manifest.v1+json",
            "artifact-media-type": "application/vnd.oci.image.config.v1+json",
        },
    }


def test_a_referrers_push_is_a_referrer_action_event(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    served.push(signature(app))
    assert [e["detail-type"] for e in served.events] == ["ECR Image Action", "ECR Referrer Action"]


def test_an_unchanged_or_refused_push_sends_no_event(served: Served) -> None:
    served.create(name="team/app", imageTagMutability="IMMUTABLE")
    app = image("app")
    for name in (NAME, "team/app"):
        served.push(app, "v1", name=name)
    found = len(served.events)
    for name in (NAME, "team/app"):
        served.push(app, "v1", name=name)
        served.put(b"{", "v2", app.media_type, name=name)
    assert len(served.events) == found


def test_a_deletion_sends_one_event_per_tag_and_one_for_the_image(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    served.put(app.raw, "v2", app.media_type)
    served.events.clear()
    served.send("DELETE", f"{V2}/manifests/{app.digest}")
    found = [(e["detail"]["action-type"], e["detail"]["image-tag"]) for e in served.events]
    assert found == [("DELETE", "v1"), ("DELETE", "v2"), ("DELETE", "")]


def test_a_manifest_put_is_recorded_as_put_image_also_if_it_fails(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    record = served.trail[-1]
    assert (record["eventName"], record["eventSource"]) == ("PutImage", "ecr.amazonaws.com")
    assert (record["eventTime"], record["awsRegion"]) == ("2026-11-16T12:00:00Z", "us-east-2")
    assert record["userIdentity"]["arn"] == "arn:aws:iam::111111111111:user/dev"
    asked = record["requestParameters"]
    assert (asked["repositoryName"], asked["imageTag"], asked["registryId"]) == (NAME, "v1", "111111111111")
    assert record["responseElements"]["image"]["imageId"] == {"imageDigest": app.digest, "imageTag": "v1"}
    served.put(b"{", "v2", app.media_type)
    assert (served.trail[-1]["errorCode"], served.trail[-1]["responseElements"]) == ("InvalidParameterException", None)


def test_a_push_is_answered_after_its_event(served: Served) -> None:
    for app in (
        image("one"),
        multi_arch("two"),
        image(big_layer(1000)),
        index(image("one"), attestation(image("one"))),
    ):
        served.push(app)
        assert served.events[-1]["detail"]["image-digest"] == app.digest
