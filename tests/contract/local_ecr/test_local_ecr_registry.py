"""Registry settings: policy, account settings, scanning, exclusions, templates, signing, quotas."""

import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.images.builders import image, multi_arch, signature
from support.servers.ecr import DEV, NAME, PROD, Served, serve
from tallyman.domain.names import Repository

DENY = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Principal": "*", "Action": "ecr:PutImage", "Resource": "*"}],
    }
)
PROFILE = "arn:aws:signer:us-east-2:111111111111:/signing-profiles/widgets"


@pytest.fixture
def client(served: Served) -> Any:
    """A client without a repository: each test creates its own."""
    return served.client()


def refusal(call: Any, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    return str(caught.value.response["Error"]["Code"])


def status_and_code(answer: Any) -> tuple[int, str]:
    return answer.status, json.loads(answer.data)["errors"][0]["code"]


# -- policy


def test_a_denying_registry_policy_is_enforced_with_scope_v2(served: Served, client: Any) -> None:
    served.create()
    assert refusal(client.get_registry_policy) == "RegistryPolicyNotFoundException"
    assert refusal(client.put_registry_policy, policyText="{}") == "InvalidParameterException"
    client.put_registry_policy(policyText=DENY)
    assert client.get_registry_policy()["policyText"] == DENY
    assert status_and_code(served.push(image("app"), "v1")) == (403, "DENIED")
    client.put_account_setting(name="REGISTRY_POLICY_SCOPE", value="V1")
    assert served.push(image("app"), "v1").status == 201
    assert client.delete_registry_policy()["policyText"] == DENY
    assert refusal(client.delete_registry_policy) == "RegistryPolicyNotFoundException"


# -- account settings


def test_blobs_are_not_mounted_until_the_account_setting_allows_it(served: Served, client: Any) -> None:
    for name in (NAME, "team/other"):
        served.create(name=name)
    digest = served.upload(b"shared")
    path = f"/v2/team/other/blobs/uploads/?mount={digest}&from={NAME}"
    assert client.get_account_setting(name="BLOB_MOUNTING")["value"] == "DISABLED"
    assert served.send("POST", path).status == 202
    client.put_account_setting(name="BLOB_MOUNTING", value="ENABLED")
    assert served.send("POST", path).status == 201
    other = served.client(PROD)
    assert other.get_account_setting(name="BLOB_MOUNTING")["value"] == "DISABLED"


@pytest.mark.parametrize(("name", "value"), [("BLOB_MOUNTING", "yes"), ("COFFEE", "ENABLED")])
def test_an_invalid_account_setting_is_refused(client: Any, name: str, value: str) -> None:
    assert refusal(client.put_account_setting, name=name, value=value) == "InvalidParameterException"


# -- scanning


def test_the_registrys_scanning_rules_start_scans_on_push(served: Served, client: Any) -> None:
    served.create()
    served.create(name="team/own", imageScanningConfiguration={"scanOnPush": True})
    served.create(name="team/other")
    assert client.get_registry_scanning_configuration()["scanningConfiguration"] == {"scanType": "BASIC", "rules": []}
    rule = {"filter": "rocketseat/*", "filterType": "WILDCARD"}
    rules = [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [rule]}]
    client.put_registry_scanning_configuration(scanType="BASIC", rules=rules)
    names = [NAME, "team/own", "team/other", "team/none"]
    answer = client.batch_get_repository_scanning_configuration(repositoryNames=names)
    found = {
        c["repositoryName"]: (c["scanFrequency"], c["appliedScanFilters"]) for c in answer["scanningConfigurations"]
    }
    expected = {NAME: ("SCAN_ON_PUSH", [rule]), "team/own": ("SCAN_ON_PUSH", []), "team/other": ("MANUAL", [])}
    assert found == expected
    assert [f["failureCode"] for f in answer["failures"]] == ["REPOSITORY_NOT_FOUND"]
    for name in expected:
        served.push(image("app"), "v1", name=name)
    rows = {name: served.ecr.store.get(Repository(DEV, name)) for name in expected}
    scanned = [name for name, row in rows.items() if served.ecr.scanner.scan(row.id, image("app").digest)]
    assert scanned == [NAME, "team/own"]


def test_enhanced_scanning_is_refused_clearly(client: Any) -> None:
    assert refusal(client.put_registry_scanning_configuration, scanType="ENHANCED") == "ValidationException"
    rules = [{"scanFrequency": "CONTINUOUS_SCAN", "repositoryFilters": []}]
    assert refusal(client.put_registry_scanning_configuration, rules=rules) == "InvalidParameterException"


# -- pulls excluded from lastRecordedPullTime


def test_the_pulls_of_an_excluded_principal_are_not_recorded(served: Served, client: Any) -> None:
    served.create()
    served.push(image("app"), "v1")
    arn = "arn:aws:iam::111111111111:user/dev"
    client.register_pull_time_update_exclusion(principalArn=arn)
    again = refusal(client.register_pull_time_update_exclusion, principalArn=arn)
    assert again == "ExclusionAlreadyExistsException"
    assert client.list_pull_time_update_exclusions()["pullTimeUpdateExclusions"] == [arn]

    def pulled() -> bool:
        served.send("GET", f"/v2/{NAME}/manifests/v1")
        client.batch_get_image(repositoryName=NAME, imageIds=[{"imageTag": "v1"}])
        return "lastRecordedPullTime" in client.describe_images(repositoryName=NAME)["imageDetails"][0]

    assert not pulled()
    client.deregister_pull_time_update_exclusion(principalArn=arn)
    assert pulled()
    gone = refusal(client.deregister_pull_time_update_exclusion, principalArn=arn)
    assert gone == "ExclusionNotFoundException"


# -- templates


def template(client: Any, prefix: str, *purposes: str, **more: Any) -> None:
    client.create_repository_creation_template(prefix=prefix, appliedFor=list(purposes), **more)


def test_a_push_creates_a_repository_that_a_template_covers(served: Served, client: Any) -> None:
    assert status_and_code(served.send("POST", f"/v2/{NAME}/blobs/uploads/")) == (404, "NAME_UNKNOWN")
    tags = [{"Key": "team", "Value": "widgets"}]
    policy = json.dumps({"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "ecr:DeleteRepository"}]})
    settings = {"imageTagMutability": "IMMUTABLE", "resourceTags": tags, "repositoryPolicy": policy}
    template(client, "rocketseat", "CREATE_ON_PUSH", **settings)
    assert served.push(image("app"), "v1").status == 201
    (found,) = client.describe_repositories()["repositories"]
    assert (found["repositoryName"], found["imageTagMutability"]) == (NAME, "IMMUTABLE")
    assert client.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"] == tags
    assert client.get_repository_policy(repositoryName=NAME)["policyText"] == policy
    assert "CreateRepository" in [record["eventName"] for record in served.trail]
    assert status_and_code(served.send("POST", "/v2/team/other/blobs/uploads/")) == (404, "NAME_UNKNOWN")


def test_a_push_without_the_permission_creates_no_repository(served: Served, client: Any) -> None:
    template(client, "ROOT", "CREATE_ON_PUSH")
    served.denied.add(("dev", "ecr:CreateRepository"))
    assert status_and_code(served.send("POST", f"/v2/{NAME}/blobs/uploads/")) == (403, "DENIED")
    assert client.describe_repositories()["repositories"] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("team/api/one", "IMMUTABLE"),  # the longest prefix
        ("team/other", "MUTABLE"),
        ("teams/other", "ROOT"),  # a prefix ends with a slash, written or implied
        ("team/cache/x", None),  # the longest prefix is for something else
    ],
)
def test_the_template_with_the_longest_matching_prefix_is_used(
    served: Served, client: Any, name: str, expected: str | None
) -> None:
    template(client, "team/api/", "CREATE_ON_PUSH", imageTagMutability="IMMUTABLE")
    template(client, "team", "CREATE_ON_PUSH", imageTagMutability="MUTABLE")
    template(client, "team/cache", "REPLICATION")
    template(client, "ROOT", "CREATE_ON_PUSH", resourceTags=[{"Key": "by", "Value": "root"}])
    status = served.send("POST", f"/v2/{name}/blobs/uploads/").status
    found = client.describe_repositories()["repositories"]
    if expected is None:
        assert (status, found) == (404, [])
        return
    root = client.list_tags_for_resource(resourceArn=found[0]["repositoryArn"])["tags"]
    assert (status, "ROOT" if root else found[0]["imageTagMutability"]) == (202, expected)


def test_templates_are_kept_changed_and_removed(client: Any) -> None:
    template(client, "team", "REPLICATION", description="one")
    again = {"prefix": "team/", "appliedFor": ["REPLICATION"]}
    assert refusal(client.create_repository_creation_template, **again) == "TemplateAlreadyExistsException"
    client.update_repository_creation_template(prefix="team", description="two", imageTagMutability="IMMUTABLE")
    (found,) = client.describe_repository_creation_templates()["repositoryCreationTemplates"]
    assert (found["description"], found["imageTagMutability"], found["appliedFor"]) == (
        "two",
        "IMMUTABLE",
        ["REPLICATION"],
    )
    bad = refusal(client.update_repository_creation_template, prefix="team", repositoryPolicy="{")
    assert bad == "InvalidParameterException"
    assert client.delete_repository_creation_template(prefix="team")["repositoryCreationTemplate"]["prefix"] == "team"
    assert refusal(client.delete_repository_creation_template, prefix="team") == "TemplateNotFoundException"


# -- managed signing


def test_managed_signing_is_in_progress_until_a_test_completes_it(served: Served, client: Any) -> None:
    served.create()
    assert refusal(client.get_signing_configuration) == "SigningConfigurationNotFoundException"
    filters = [{"filter": "rocketseat/*", "filterType": "WILDCARD_MATCH"}]
    rules = [{"signingProfileArn": PROFILE, "repositoryFilters": filters}]
    client.put_signing_configuration(signingConfiguration={"rules": rules})
    app = image("app")
    served.push(app, "v1")
    served.push(signature(app))

    def statuses() -> list[str]:
        asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
        found = client.describe_image_signing_status(**asked)["signingStatuses"]
        assert {one["signingProfileArn"] for one in found} == {PROFILE}
        return [one["status"] for one in found]

    assert statuses() == ["IN_PROGRESS"]
    (signed,) = served.ecr.signing.complete(DEV, NAME, app.digest)
    assert statuses() == ["COMPLETE"]
    wanted = {"artifactTypes": ["application/vnd.cncf.notary.signature"]}
    subject = {"repositoryName": NAME, "subjectId": {"imageDigest": app.digest}, "filter": wanted}
    found = [one["digest"] for one in client.list_image_referrers(**subject)["referrers"]]
    assert str(signed) in found
    assert served.ecr.signing.complete(DEV, NAME, app.digest) == []
    assert client.delete_signing_configuration()["signingConfiguration"]["rules"] == rules
    served.push(image("other"), "v2")
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v2"}}
    assert client.describe_image_signing_status(**asked)["signingStatuses"] == []


def test_failed_signing_has_a_reason(served: Served, client: Any) -> None:
    served.create()
    client.put_signing_configuration(signingConfiguration={"rules": [{"signingProfileArn": PROFILE}]})
    app = image("app")
    served.push(app, "v1")
    assert served.ecr.signing.complete(DEV, NAME, app.digest, "FAILED", "the profile was revoked") == []
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
    (found,) = client.describe_image_signing_status(**asked)["signingStatuses"]
    assert (found["status"], found["failureReason"]) == ("FAILED", "the profile was revoked")


# -- storage class


def test_an_archived_image_cannot_be_pulled_and_is_restored_by_a_push(served: Served, client: Any) -> None:
    served.create()
    app = image("app")
    served.push(app, "v1")
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
    client.update_image_storage_class(**asked, targetStorageClass="ARCHIVE")
    assert status_and_code(served.send("GET", f"/v2/{NAME}/manifests/v1")) == (404, "MANIFEST_UNKNOWN")
    answer = client.batch_get_image(repositoryName=NAME, imageIds=[{"imageTag": "v1"}])
    assert [f["failureCode"] for f in answer["failures"]] == ["ImageNotFound"]
    assert served.put(app.raw, "v1", app.media_type).status == 201
    (found,) = client.describe_images(repositoryName=NAME)["imageDetails"]
    assert (found["imageStatus"], found["imageTags"]) == ("ACTIVE", ["v1"])
    assert served.send("GET", f"/v2/{NAME}/manifests/v1").status == 200


def test_an_archived_referrer_is_listed_only_on_request(served: Served, client: Any) -> None:
    served.create()
    app = multi_arch("app")
    signed = signature(app)
    served.push(app, "v1")
    served.push(signed)
    asked = {"repositoryName": NAME, "imageId": {"imageDigest": signed.digest}}
    client.update_image_storage_class(**asked, targetStorageClass="ARCHIVE")

    def listed(**wanted: str) -> list[str]:
        subject = {"repositoryName": NAME, "subjectId": {"imageDigest": app.digest}}
        return [d["artifactStatus"] for d in client.list_image_referrers(**subject, filter=wanted)["referrers"]]

    assert (listed(), listed(artifactStatus="ARCHIVED"), listed(artifactStatus="ANY")) == (
        [],
        ["ARCHIVED"],
        ["ARCHIVED"],
    )
    assert json.loads(served.send("GET", f"/v2/{NAME}/referrers/{app.digest}").data)["manifests"] == []


# -- quotas


def test_a_rate_quota_throttles_the_api_and_the_registry_with_ecrs_messages(tmp_path: Path) -> None:
    with serve(tmp_path, quotas={"PutImage": 2, "DescribeImages": 1}) as served:
        served.create()
        app = image("app")
        served.push(app, "v1")
        assert served.put(app.raw, "v2", app.media_type).status == 201
        throttled = served.put(app.raw, "v3", app.media_type)
        assert throttled.status == 429
        assert json.loads(throttled.data)["errors"] == [{"code": "TOOMANYREQUESTS", "message": "Rate exceeded"}]
        manifest: dict[str, Any] = {"repositoryName": NAME, "imageManifest": app.raw.decode(), "imageTag": "v3"}
        assert served.api("PutImage", **manifest) == (
            400,
            {"__type": "ThrottlingException", "message": "Rate exceeded"},
        )
        assert served.api("DescribeImages", repositoryName=NAME)[0] == 200
        assert served.api("DescribeImages", PROD, repositoryName=NAME)[1]["__type"] == "RepositoryNotFoundException"
        assert served.api("DescribeImages", repositoryName=NAME)[1]["__type"] == "ThrottlingException"
        served.clock.move(seconds=0.5)  # half a second later one more is allowed
        assert served.put(app.raw, "v3", app.media_type).status == 201
        assert served.put(app.raw, "v4", app.media_type).status == 429


def test_images_and_repositories_have_a_limit_on_request(tmp_path: Path) -> None:
    with serve(tmp_path, quotas={"ImagesPerRepository": 1, "RepositoriesPerRegistry": 1}) as served:
        served.create()
        assert served.api("CreateRepository", repositoryName="team/b")[1]["__type"] == "LimitExceededException"
        app = image("app")
        served.push(app, "v1")
        assert served.put(app.raw, "v2", app.media_type).status == 201  # the same image again
        assert served.push(image("other"), "v3").status == 400


@pytest.mark.parametrize("quotas", [{"MakeCoffee": 1}, {"PutImage": 0}])
def test_an_invalid_quota_is_a_value_error(tmp_path: Path, quotas: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(quotas))), serve(tmp_path, quotas=quotas):
        pass
