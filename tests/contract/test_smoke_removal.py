"""`make aws-smoke` deploys and removes, against moto: the stacks, the data that the hub retains, and sam's uploads."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aws import make
from aws.images import image
from aws.site import Place, Site
from boto3.session import Session

from support.servers.aws_mock import aws, client, table

pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse")  # types that moto does not have
ACCOUNT = "123456789012"  # moto's
OUTPUTS = {"BusArn": {"Value": f"arn:aws:events:us-east-2:{ACCOUNT}:event-bus/tallyman-smoke-x"}}
HUB = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "x"}}}, "Outputs": OUTPUTS}
SAM = {"Resources": HUB["Resources"], "Outputs": {"SourceBucket": {"Value": "sam"}}}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A hub as a run has deployed it, with data in its retained resources."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with aws():
        session = Session()
        caller = f"arn:aws:sts::{ACCOUNT}:assumed-role/developer/ana"
        hub, prod = Place(ACCOUNT, "us-east-2", session), Place(ACCOUNT, "sa-east-1", session)
        site = Site(hub, prod, id="x", caller=caller)
        make.remove_hub_later(site)
        stacks: list[tuple[str, Any]] = [(site.stack, HUB), ("aws-sam-cli-managed-default", SAM)]
        for name, template in stacks:
            client("cloudformation").create_stack(StackName=name, TemplateBody=json.dumps(template))
        s3 = client("s3")
        for bucket, key in (
            (f"{site.stack}-archive-{ACCOUNT}-us-east-2", "manifests/1"),
            ("sam", f"{site.stack}/code"),
        ):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            for _ in range(2):
                s3.put_object(Bucket=bucket, Key=key, Body=b"x")
            s3.delete_object(Bucket=bucket, Key=key)
        s3.put_object(Bucket="sam", Key="another-stack/code", Body=b"x")
        table("LedgerTable", f"{site.stack}-ledger")
        table("StateTable", f"{site.stack}-state")
        yield site


def objects(bucket: str) -> list[str]:
    answer = client("s3").list_object_versions(Bucket=bucket)
    return [each["Key"] for each in (*answer.get("Versions", []), *answer.get("DeleteMarkers", []))]


def test_stacks_and_their_retained_resources_are_removed_and_nothing_else(site: Site) -> None:
    assert make.spoke(site) == f"in {ACCOUNT}/sa-east-1"
    (spoke,) = site.prod.client("cloudformation").describe_stacks()["Stacks"]
    given = {p["ParameterKey"]: p["ParameterValue"] for p in spoke["Parameters"]}
    assert (given["RolesRegion"], given["CanPush"]) == ("sa-east-1", "true")
    assert site.remove() == "nothing is left"
    assert site.prod.client("cloudformation").describe_stacks()["Stacks"] == []
    left = [s["StackName"] for s in client("cloudformation").describe_stacks()["Stacks"]]
    assert left == ["aws-sam-cli-managed-default"]
    assert client("dynamodb").list_tables()["TableNames"] == []
    assert [b["Name"] for b in client("s3").list_buckets()["Buckets"]] == ["sam"]
    assert objects("sam") == ["another-stack/code"]


def test_removal_succeeds_if_the_deployment_never_began(site: Site) -> None:
    site.remove()
    make.remove_hub_later(site)
    assert site.remove() == "nothing is left"


def test_in_another_account_the_spoke_updates_the_function_and_trusts_the_caller(site: Site) -> None:
    site.prod.account = "222222222222"
    make.spoke(site)
    (spoke,) = site.prod.client("cloudformation").describe_stacks()["Stacks"]
    given = {p["ParameterKey"]: p["ParameterValue"] for p in spoke["Parameters"]}
    assert given["RollOutFunctions"].strip("[']") == "arn:aws:lambda:sa-east-1:222222222222:function:tallyman-smoke-x"
    assert given["PeopleRoles"].strip("[']") == f"arn:aws:iam::{ACCOUNT}:role/*developer"


def test_only_the_runs_own_repositories_are_removed(site: Site) -> None:
    for place in (site.hub, site.prod):
        for name in (site.app, "rocketseat/smoke-y/app", "rocketseat/shop"):
            place.client("ecr").create_repository(repositoryName=name)
    make.remove_repositories(site)
    for place in (site.hub, site.prod):
        found = [r["repositoryName"] for r in place.client("ecr").describe_repositories()["repositories"]]
        assert sorted(found) == ["rocketseat/shop", "rocketseat/smoke-y/app"]


def test_the_same_run_creates_the_same_images() -> None:
    assert image("one x").digest == image("one x").digest != image("one y").digest
