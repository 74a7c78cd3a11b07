"""The resources that a run creates: stacks, repositories, a function, a queue that receives ECR's events, a role with
few permissions."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

from aws.site import ROOT, Place, Site
from boto3.session import Session
from botocore.exceptions import ClientError

ALIAS = "live"


class Skipped(Exception):
    """The step does not apply here; the text says why."""


def policy(site: Site) -> str:
    """The policy of the run's stack."""
    return f"""\
environments:
  dev: {{registries: [{site.hub}]}}
  prod:
    registries: [{site.prod}]
    rollout: {{services: [{{lambda: {site.name}, alias: {ALIAS}, repository: {site.app}}}]}}
repositories:
  - match: rocketseat/*
    create: {{immutable: true, mutable_tags: [latest], encryption: AES256, scan_on_push: true}}
    verify: {{layers: content}}
    promotions: [{{from: dev, to: prod, tags: [semver], gates: {{verified: true}}}}]
"""


def function_arn(site: Site) -> str:
    """The ARN pattern for the parameter RollOutFunctions."""
    partition = site.hub.session.get_partition_for_region(site.hub.region)
    return f"arn:{partition}:lambda:{site.prod.region}:{site.prod.account}:function:{site.name}"


def checkout(site: Site) -> None:
    """A copy of the checkout with its own policy and an environment `smoke`, so that your files do not change."""
    tree = site.folder / "checkout"
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in listed.splitlines():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    for made in (".venv", ".venv-sam"):  # takes minutes to rebuild
        if (ROOT / made).is_dir():
            (tree / made).symlink_to(ROOT / made)
    (tree / "layers/policy/tallyman.yaml").write_text(policy(site))
    given = {"LogRetentionDays": "1", "WithDashboard": "false", "RollOutFunctions": function_arn(site)}
    if site.prod.account == site.hub.account:
        given["SpokeAccounts"] = ""
    else:
        given |= {"SpokeAccounts": site.prod.account, "RollOutFunctions": ""}
    words = " ".join(f"{name}={value}" for name, value in given.items() if value)
    config = (tree / "samconfig.toml").read_text() + (
        f'\n[smoke.global.parameters]\nstack_name = "{site.stack}"\n\n'
        f'[smoke.deploy.parameters]\nresolve_s3 = true\ns3_prefix = "{site.stack}"\n'
        'capabilities = "CAPABILITY_IAM CAPABILITY_NAMED_IAM"\nconfirm_changeset = false\n'
        f'fail_on_empty_changeset = false\nparameter_overrides = "{words}"\n'
    )
    (tree / "samconfig.toml").write_text(config)


def deploy(site: Site) -> str:
    """Deploy the hub."""
    if site.deployed:
        raise Skipped(f"{site.stack} is there already")
    checkout(site)
    remove_hub_later(site)
    environment = {**os.environ, "AWS_REGION": site.hub.region, "AWS_DEFAULT_REGION": site.hub.region}
    subprocess.run(["make", "deploy", "ENV=smoke"], cwd=site.folder / "checkout", check=True, env=environment)
    return site.stack


def remove_hub_later(site: Site) -> None:
    """Register the removal of the stack, then of what it retains, then of what sam uploaded to its bucket."""
    dynamodb = site.hub.client("dynamodb")

    def table(name: str) -> Callable[[], object]:
        return lambda: dynamodb.delete_table(TableName=name)

    site.remove_later("what sam uploaded", lambda: _empty(_sam_bucket(site.hub), site.hub, f"{site.stack}/"))
    bucket = f"{site.stack}-archive-{site.hub.account}-{site.hub.region}"
    site.remove_later(f"the bucket {bucket}", lambda: site.hub.client("s3").delete_bucket(Bucket=bucket))
    site.remove_later(f"the objects of {bucket}", lambda: _empty(bucket, site.hub))
    for name in (f"{site.stack}-ledger", f"{site.stack}-state"):
        site.remove_later(f"the table {name}", table(name))
    site.remove_later(f"the stack {site.stack}", lambda: _delete_stack(site.hub, site.stack))


def _sam_bucket(place: Place) -> str:
    stacks = place.client("cloudformation").describe_stacks(StackName="aws-sam-cli-managed-default")["Stacks"]
    return next(str(o["OutputValue"]) for o in stacks[0]["Outputs"] if o["OutputKey"] == "SourceBucket")


def _empty(bucket: str, place: Place, prefix: str = "") -> None:
    """Delete every version of every object below the prefix."""
    s3 = place.client("s3")
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        keys = [{"Key": each["Key"], "VersionId": each["VersionId"]} for each in found]
        if keys:
            s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def _delete_stack(place: Place, name: str) -> None:
    cloudformation = place.client("cloudformation")
    cloudformation.delete_stack(StackName=name)
    cloudformation.get_waiter("stack_delete_complete").wait(StackName=name)


def spoke(site: Site) -> str:
    """Deploy spoke.yaml in production's region."""
    if site.deployed:
        raise Skipped("the spokes of a deployed hub are its owner's")
    outputs = site.hub.client("cloudformation").describe_stacks(StackName=site.stack)["Stacks"][0]["Outputs"]
    bus = next(o["OutputValue"] for o in outputs if o["OutputKey"] == "BusArn")
    given = {
        "HubAccount": site.hub.account,
        "HubRegion": site.hub.region,
        "HubStack": site.stack,
        "HubBusArn": bus,
        "RolesRegion": site.prod.region,
        "CanPush": "true",
    }
    if site.prod.account != site.hub.account:
        given["RollOutFunctions"] = function_arn(site)
        if ":assumed-role/" in site.caller:  # the account whose principals may read there; a user can't be named
            role = site.caller.split("/")[1]
            given["PeopleRoles"] = f"arn:{site.caller.split(':')[1]}:iam::{site.hub.account}:role/*{role}"
    name, cloudformation = f"{site.stack}-spoke", site.prod.client("cloudformation")
    site.remove_later(f"the stack {name}", lambda: _delete_stack(site.prod, name))
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=(ROOT / "spoke.yaml").read_text(),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in given.items()],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )
    cloudformation.get_waiter("stack_create_complete").wait(StackName=name)
    return f"in {site.prod}"


def remove_repositories(site: Site) -> None:
    """Delete the repositories of both registries; twice, because a promotion in progress may create one again."""
    for again in (False, True):
        for place in (site.hub, site.prod):
            ecr = place.client("ecr")
            for page in ecr.get_paginator("describe_repositories").paginate():
                for found in page["repositories"]:
                    if found["repositoryName"].startswith(f"{site.prefix}/"):
                        ecr.delete_repository(repositoryName=found["repositoryName"], force=True)
        if not again and site.deployed:
            time.sleep(3)


def function(site: Site, image: str) -> Any:
    """Create a Lambda function of the image in production's account, with a version and an alias; return Lambda's
    client."""
    client, iam = site.prod.client("lambda"), site.prod.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    site.remove_later(f"the role {site.name}", lambda: iam.delete_role(RoleName=site.name))
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=site.name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    site.remove_later(f"the function {site.name}", lambda: client.delete_function(FunctionName=site.name))
    given = {"FunctionName": site.name, "Role": role, "PackageType": "Image", "Code": {"ImageUri": image}}

    def created() -> bool:
        try:
            client.create_function(**given, Architectures=["x86_64"])
        except client.exceptions.InvalidParameterValueException as error:
            if "assume" not in str(error):  # the role is only seconds old
                raise
            return False
        return True

    site.until("a role that Lambda can be", created, 60)
    client.get_waiter("function_active_v2").wait(FunctionName=site.name)
    version = client.publish_version(FunctionName=site.name)["Version"]
    client.create_alias(FunctionName=site.name, Name=ALIAS, FunctionVersion=version)
    return client


class Watcher:
    """A rule and a queue of this run that receive every event of its repositories in the hub's registry."""

    def __init__(self, site: Site) -> None:
        sqs, events, name = site.hub.client("sqs"), site.hub.client("events"), f"{site.name}-events"
        self._sqs = sqs
        self.seen: list[dict[str, Any]] = []
        pattern = {"source": ["aws.ecr"], "detail": {"repository-name": [{"prefix": f"{site.prefix}/"}]}}
        site.remove_later(f"the rule {name}", lambda: events.delete_rule(Name=name))
        rule = events.put_rule(Name=name, EventPattern=json.dumps(pattern))["RuleArn"]
        self.url = str(sqs.create_queue(QueueName=name)["QueueUrl"])
        site.remove_later(f"the queue {name}", lambda: sqs.delete_queue(QueueUrl=self.url))
        arn = sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allowed = {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
        }
        text = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"Policy": text})
        site.remove_later(f"the target of {name}", lambda: events.remove_targets(Rule=name, Ids=["queue"]))
        events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])

    def pushes(self, digest: str) -> int:
        """The push events of this digest so far."""
        while messages := self._sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1).get(
            "Messages"
        ):
            for message in messages:
                self.seen.append(json.loads(message["Body"])["detail"])
                self._sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        return sum(e.get("action-type") == "PUSH" and e.get("image-digest") == digest for e in self.seen)


def limited(site: Site, statements: list[dict[str, Any]]) -> Place:
    """The hub's place with the credentials of a role that has only these permissions."""
    iam, sts, name = site.hub.client("iam"), site.hub.client("sts"), f"{site.name}-limited"
    partition = site.hub.session.get_partition_for_region(site.hub.region)
    root = f"arn:{partition}:iam::{site.hub.account}:root"
    trust = {"Effect": "Allow", "Principal": {"AWS": root}, "Action": "sts:AssumeRole"}
    site.remove_later(f"the role {name}", lambda: iam.delete_role(RoleName=name))
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    site.remove_later(f"the policy of {name}", lambda: iam.delete_role_policy(RoleName=name, PolicyName="limited"))
    policy_document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_role_policy(RoleName=name, PolicyName="limited", PolicyDocument=policy_document)

    def assumed() -> Any:
        try:
            return sts.assume_role(RoleArn=role, RoleSessionName="smoke")["Credentials"]
        except ClientError as error:
            if "AccessDenied" not in str(error):  # the role is only seconds old
                raise
            return None

    keys = site.until(f"credentials of {name}", assumed, 60)
    session = Session(
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    return Place(site.hub.account, site.hub.region, session)
