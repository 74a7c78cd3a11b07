"""`tallyman doctor` against a healthy stack and a faulty one."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from support.images import builders as b
from support.stacks.clients import client_of
from support.stacks.deployed import Deployed, deployed
from tallyman_cli.doctor import repositories as checked
from tallyman_cli.doctor.content_checks import Contents
from tallyman_cli.doctor.finding import Finding, Site, clients
from tallyman_cli.doctor.round_trip import round_trip
from tallyman_cli.main import app
from tallyman_local.moto import calls as moto_calls

NAME = "rocketseat/doctor"
HUB, SPOKE, FAR = "111111111111/us-east-2", "222222222222/us-east-2", "222222222222/sa-east-1"
PREFIX = "org.opencontainers.image."
READER = "arn:aws:iam::222222222222:role/tallyman-spoke-read"


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    with deployed(tmp_path_factory.mktemp("cloud"), scanner="clean") as running:
        running.push(b.image("doctor"), NAME, "v1.0.0")
        yield running


def findings(status: int, *arguments: str) -> dict[str, list[tuple[str, str]]]:
    """(Verdict, found) by check."""
    done = CliRunner().invoke(app, ["doctor", "--json", *arguments])
    assert done.exit_code == status, done.stdout + done.stderr
    found: dict[str, list[tuple[str, str]]] = {}
    for each in json.loads(done.stdout):
        found.setdefault(each["check"], []).append((each["verdict"], each["found"]))
    return found


def trips(system: Deployed) -> dict[str, Finding]:
    """Round trips by registry. A pause lasts until the cloud is idle; its seconds are counted, not waited for."""
    slept = [0.0]

    def sleep(seconds: float) -> None:
        slept[0] += seconds
        system.cloud.settle(0.2)

    stack = replace(system.stack, sleep=sleep, monotonic=lambda: slept[0])
    found = {f.found.partition(": ")[0]: f for f in round_trip(Site(stack, "tallyman", clients(), 5.0))}
    assert set(found) == {HUB, SPOKE, FAR}
    return found


@contextmanager
def changed(do: Callable[[], Any], undo: Callable[[], Any]) -> Iterator[None]:
    do()
    try:
        yield
    finally:
        undo()


def emptied(system: Deployed) -> None:
    """Take undelivered events out of the queues, in the spokes too."""
    system.settle()
    system.dead_letters()
    for region in ("us-east-2", "sa-east-1"):
        sqs = system.client("sqs", region, READER.replace("tallyman-spoke-read", "admin"))
        sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName="tallyman-spoke-undelivered")["QueueUrl"])


def test_a_healthy_stack_passes_every_check(system: Deployed) -> None:
    well = findings(0)
    assert [verdict for verdict, _ in well["rules"] + well["queues"]] == ["ok", "ok"]
    assert [verdict for verdict, _ in well["round trip"]] == ["ok"] * 3
    assert [found.partition(":")[0] for _, found in well["round trip"]] == [HUB, SPOKE, FAR]
    assert [verdict for verdict, _ in well["registries"]] == ["ok"] * 3
    assert [verdict for verdict, _ in well["quotas"]] == ["ok"] * 4
    assert [verdict for verdict, found in well["applications"] if "one application" in found] == ["ok"]
    assert [verdict for verdict, found in well["base images"] if found.startswith(f"{NAME}: ")] == ["warning"]


def test_a_round_trip_leaves_nothing_in_the_ledger(system: Deployed) -> None:
    def size() -> int:
        return int(system.client("dynamodb").scan(TableName="tallyman-ledger", Select="COUNT")["Count"])

    before = size()
    assert {f.verdict for f in trips(system).values()} == {"ok"}
    assert size() == before
    assert system.dead_letters() == []


def test_a_spoke_whose_rule_is_disabled_is_named(system: Deployed) -> None:
    events = system.client("events", "sa-east-1", READER.replace("tallyman-spoke-read", "admin"))
    rule = {"Name": "tallyman-spoke-image"}
    with changed(lambda: events.disable_rule(**rule), lambda: events.enable_rule(**rule)):
        found = trips(system)
    assert [found[r].verdict for r in (HUB, SPOKE, FAR)] == ["ok", "ok", "failed"]
    assert "the rule tallyman-spoke-image is disabled there" in found[FAR].found
    assert "--region sa-east-1" in str(found[FAR].todo)


def test_a_bus_that_refuses_the_account_is_named(system: Deployed) -> None:
    events = system.client("events")
    policy = events.describe_event_bus(Name="tallyman")["Policy"]
    shut = {"EventBusName": "tallyman", "StatementId": "spokes"}
    with changed(
        lambda: events.remove_permission(**shut),
        lambda: events.put_permission(EventBusName="tallyman", Policy=policy),
    ):
        found = trips(system)
        queues = findings(1, "--timeout", "0")["queues"]
    emptied(system)
    assert [found[r].verdict for r in (HUB, SPOKE, FAR)] == ["ok", "failed", "failed"]
    assert f"the bus tallyman in {HUB} does not let account 222222222222 in" in found[SPOKE].found
    assert f"tallyman-spoke-undelivered in {SPOKE}" in queues[0][1]
    assert {f.verdict for f in trips(system).values()} == {"ok"}


def test_a_record_push_that_processes_nothing_is_named(system: Deployed) -> None:
    (feed,) = [feed for feed in system.cloud.pollers._feeds if feed.mapping.function == "RecordPush"]

    def busy(batches: int) -> None:
        with moto_calls.CHANGED:
            feed.batches += batches
            moto_calls.CHANGED.notify_all()

    most = feed.mapping.concurrency
    with changed(lambda: busy(most), lambda: busy(-most)):
        found = trips(system)
    system.settle()
    assert {f.verdict for f in found.values()} == {"failed"}
    for finding in found.values():
        assert "waits in the queue tallyman-push, and record_push does not process it" in finding.found
    assert {f.verdict for f in trips(system).values()} == {"ok"}


def test_a_spoke_whose_role_cannot_be_assumed_is_named(system: Deployed) -> None:
    iam = system.client("iam", role=READER.replace("tallyman-spoke-read", "admin"))
    role = iam.get_role(RoleName="tallyman-spoke-read")["Role"]["AssumeRolePolicyDocument"]
    other = {"Effect": "Allow", "Principal": {"AWS": "333333333333"}, "Action": "sts:AssumeRole"}
    nobody = {"Version": "2012-10-17", "Statement": [other]}

    def trust(document: Any) -> None:
        iam.update_assume_role_policy(RoleName="tallyman-spoke-read", PolicyDocument=json.dumps(document))
        system.cloud.kill("tallyman-reconcile")  # it has credentials from before

    with changed(lambda: trust(nobody), lambda: trust(role)):
        found = trips(system)
    assert [found[r].verdict for r in (HUB, SPOKE, FAR)] == ["ok", "failed", "failed"]
    assert "no test event could be sent: assume the role" in found[SPOKE].found
    assert "deploy spoke.yaml again" in str(found[SPOKE].todo)


@pytest.mark.parametrize(
    "entry",
    [
        {"Source": "aws.ecr", "DetailType": "Round Trip"},
        {"Source": "tallyman.doctor", "DetailType": "ECR Image Action"},
        {"Source": "tallyman.doctor", "DetailType": "Round Trip", "EventBusName": "other"},
    ],
    ids=["another source", "another type", "another bus"],
)
@pytest.mark.parametrize("who", ["spoke-read", "reconcile"])
def test_the_role_that_puts_a_test_event_may_put_nothing_else(
    system: Deployed, who: str, entry: dict[str, str]
) -> None:
    role = READER if who == "spoke-read" else "arn:aws:iam::111111111111:role/tallyman-reconcile-us-east-2"
    keys = system.cloud.credentials(role)
    events = client_of(system.cloud.url, keys, "events")
    with pytest.raises(ClientError, match=r"not authorized to perform: events:PutEvents"):
        events.put_events(Entries=[{**entry, "Detail": "{}"}])
    good = {"Source": "tallyman.doctor", "DetailType": "Round Trip", "Detail": "{}"}
    assert events.put_events(Entries=[good])["FailedEntryCount"] == 0
    system.settle()
    assert system.dead_letters() == []  # a forged one is not reported as a bad message either


def test_a_caller_in_a_spoke_cannot_forge_a_push_event(system: Deployed) -> None:
    admin = system.client("events", "us-east-2", READER.replace("tallyman-spoke-read", "admin"))
    push = {**b.push_event()["detail"], "repository-name": NAME}
    forged = {"Source": "tallyman.doctor", "DetailType": "ECR Image Action", "Detail": json.dumps(push)}
    before = system.client("dynamodb").scan(TableName="tallyman-ledger", Select="COUNT")["Count"]
    admin.put_events(Entries=[forged])
    bus = "arn:aws:events:us-east-2:111111111111:event-bus/tallyman"
    admin.put_events(Entries=[{**forged, "EventBusName": bus}])  # its policy knows sources, the rules know types
    with pytest.raises(ClientError, match=r"not authorized to perform: events:PutEvents"):
        admin.put_events(Entries=[{**forged, "Source": "tallyman", "EventBusName": bus}])
    answer = admin.put_events(Entries=[{**forged, "Source": "aws.ecr"}])
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"
    system.settle()
    assert system.client("dynamodb").scan(TableName="tallyman-ledger", Select="COUNT")["Count"] == before


def repositories(system: Deployed) -> dict[str, Finding]:
    found = checked.repositories(Site(system.stack, "tallyman", clients()))
    return {f.found.partition(": ")[0]: f for f in found}


def test_deviations_from_policy_and_good_practice_are_reported_per_repository(system: Deployed) -> None:
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [everybody]})
    expire = {
        "rulePriority": 1,
        "selection": {"tagStatus": "untagged", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 14},
        "action": {"type": "expire"},
    }
    ecr = system.client("ecr")
    far = system.client("ecr", "sa-east-1", READER.replace("tallyman-spoke-read", "admin"))
    ecr.create_repository(repositoryName="loose/one")
    far.create_repository(repositoryName="loose/two", imageTagMutability="IMMUTABLE")
    system.create("rocketseat/tidy")
    ecr.put_lifecycle_policy(repositoryName="rocketseat/tidy", lifecyclePolicyText=json.dumps({"rules": [expire]}))
    ecr.create_repository(repositoryName="rocketseat/tidy-parts")
    ecr.create_repository(repositoryName="spare-parts")
    found = repositories(system)
    assert found[f"{HUB}/rocketseat/tidy-parts"].verdict == "ok"  # a build's own
    assert found[f"{HUB}/spare-parts"].verdict == "warning"
    assert (found[f"{HUB}/rocketseat/tidy"].verdict, found[f"{HUB}/rocketseat/tidy"].todo) == ("ok", None)
    loose = found[f"{HUB}/loose/one"]
    assert loose.verdict == "warning"
    assert "scan" in loose.found
    assert "tags can be moved" in loose.found or "immutable is no" in loose.found
    assert "no lifecycle policy" in loose.found
    assert "everybody" not in loose.found
    assert "immutable" not in found[f"{FAR}/loose/two"].found  # a spoke's are inspected too
    ecr.set_repository_policy(repositoryName="loose/one", policyText=policy)
    assert "its policy lets everybody in" in repositories(system)[f"{HUB}/loose/one"].found
    ecr.put_image_scanning_configuration(
        repositoryName="rocketseat/tidy", imageScanningConfiguration={"scanOnPush": False}
    )
    ecr.put_image_tag_mutability(repositoryName="rocketseat/tidy", imageTagMutability="MUTABLE")
    untidy = repositories(system)[f"{HUB}/rocketseat/tidy"].found
    assert "scan_on_push is no, dev wants yes" in untidy
    assert "immutable is no, dev wants yes" in untidy
    system.settle()


def test_repositories_that_we_create_pass_our_own_check(system: Deployed) -> None:
    system.create("rocketseat/fresh")
    system.settle()  # the fixture's image is promoted: its repositories in prod are ours too
    found = repositories(system)
    for place in (f"{HUB}/rocketseat/fresh", *(f"{spoke}/{NAME}" for spoke in (SPOKE, FAR))):
        assert (found[place].verdict, found[place].todo) == ("ok", None), found[place].found
        assert "no lifecycle policy" in found[place].found  # reported, without an alarm


def test_base_images_and_applications_are_read_from_labels_and_annotations(system: Deployed) -> None:
    base, own = "rocketseat/base", "111111111111.dkr.ecr.us-east-2.amazonaws.com"
    labels = {PREFIX + "base.name": f"{own}/{base}:v3.0.0", PREFIX + "base.digest": f"sha256:{'1' * 64}"}
    system.push(b.image("base", labels={PREFIX + "base.name": "debian:13"}), base, "v3.0.0")
    system.push(b.image("labelled", labels=labels), "rocketseat/labelled", "v1.0.0")
    outside = {PREFIX + "revision": "3f2a91c", PREFIX + "base.name": "python:3.13-slim"}
    system.push(b.image("annotated", labels=labels, annotations=outside), "rocketseat/annotated", "v1.0.0")
    system.push(b.image("api"), "rocketseat/shared", "api-1.0.0")
    system.push(b.image("web"), "rocketseat/shared", "web-1.0.0")
    system.reconcile()
    contents = Contents(Site(system.stack, "tallyman", clients()))
    found = {f.found.partition(": ")[0]: f for f in contents.base_images()}
    assert (found[base].verdict, found["rocketseat/labelled"].verdict) == ("ok", "ok")
    assert found["rocketseat/labelled"].found.endswith(f"builds on {own}/{base}:v3.0.0 (1)")
    assert found["rocketseat/annotated"].verdict == "warning"
    assert "from other registries: python:3.13-slim" in found["rocketseat/annotated"].found
    several = [f.found for f in contents.applications() if f.verdict == "warning"]
    assert several == ["rocketseat/shared: evidently holds several applications: api, web"]


def test_a_missing_event_and_a_dead_letter_are_reported(system: Deployed) -> None:
    system.send("push", "no event")
    system.settle()
    with system.chaos(lose=1.0):
        system.push(b.image("unheard"), NAME, "v9.0.0")
    ill = findings(1)
    assert ill["queues"] == [("failed", "not empty: tallyman-push-dead-letters (1)")]
    assert ill["events"][0] == ("failed", f"{HUB}: a sweep found the last push, no event reported it")
    system.dead_letters()
    system.push(b.image("heard"), NAME, "v9.1.0")
    assert findings(0)["events"][0][0] == "ok"


def test_trails_are_reported(system: Deployed) -> None:
    assert findings(0)["trail"] == [("warning", "there is no CloudTrail trail")]
    system.client("s3").create_bucket(Bucket="trail", CreateBucketConfiguration={"LocationConstraint": "us-east-2"})
    cloudtrail = system.client("cloudtrail")
    with changed(
        lambda: cloudtrail.create_trail(Name="all", S3BucketName="trail"), lambda: cloudtrail.delete_trail(Name="all")
    ):
        assert findings(0)["trail"] == [("warning", "every trail is off: all")]
        cloudtrail.start_logging(Name="all")
        assert findings(0)["trail"] == [("ok", "CloudTrail writes to all")]
