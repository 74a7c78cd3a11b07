"""template.yaml: queues, timeouts, encryption, retention, names, tables, alarms, outputs."""

import json
import re
from typing import Any

import pytest
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from support.stacks.templates import (
    FUNCTIONS,
    ROOT,
    actions,
    attached,
    hub,
    listed,
    logical_id,
    of_type,
    spoke,
    statements,
    text,
)
from tallyman_cli.doctor.quotas import OWN_CONCURRENCY

DAY = 86400
QUEUES = of_type(hub(), "AWS::SQS::Queue")
MAPPED = {function: queue for function, queue in FUNCTIONS.items() if queue}
NAMED = {
    "AWS::SQS::Queue": "QueueName",
    "AWS::Events::Rule": "Name",
    "AWS::Events::EventBus": "Name",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::S3::Bucket": "BucketName",
    "AWS::SNS::Topic": "TopicName",
    "AWS::Serverless::Function": "FunctionName",
    "AWS::Serverless::LayerVersion": "LayerName",
    "AWS::IAM::Role": "RoleName",
    "AWS::Logs::LogGroup": "LogGroupName",
    "AWS::CloudWatch::Alarm": "AlarmName",
}


def function(name: str) -> dict[str, Any]:
    found: dict[str, Any] = hub()["Resources"][logical_id(name)]["Properties"]
    return found


def source(name: str) -> dict[str, Any]:
    """The SQS event source of a function."""
    events: list[dict[str, Any]] = [e["Properties"] for e in function(name)["Events"].values() if e["Type"] == "SQS"]
    (event,) = events
    return event


def test_every_function_folder_is_a_function_with_both_layers_and_its_own_role() -> None:
    functions = of_type(hub(), "AWS::Serverless::Function")
    assert sorted(functions) == sorted(logical_id(name) for name in FUNCTIONS)
    assert hub()["Globals"]["Function"]["Layers"] == [{"Ref": "CoreLayer"}, {"Ref": "PolicyLayer"}]
    for name in FUNCTIONS:
        properties = function(name)
        assert properties["CodeUri"] == f"functions/{name}/"
        assert (ROOT / properties["CodeUri"] / "app.py").is_file()
        assert text(properties["Role"]) == f"${{{logical_id(name)}Role.Arn}}"
        assert properties["Description"]


def test_the_functions_folder_contains_only_functions() -> None:
    folders = {path.parent.name for path in (ROOT / "functions").glob("*/app.py")}
    assert folders == set(FUNCTIONS)


@pytest.mark.parametrize(("name", "queue"), MAPPED.items())
def test_the_visibility_timeout_exceeds_the_functions_timeout(name: str, queue: str) -> None:
    timeout, visibility = function(name)["Timeout"], QUEUES[queue]["VisibilityTimeout"]
    window = source(name).get("MaximumBatchingWindowInSeconds", 0)
    # AWS recommends six times the timeout; for the long ones a margin is enough
    assert visibility >= (6 if timeout < 900 else 1) * timeout + window
    assert visibility > timeout


def test_long_work_has_batches_of_one() -> None:
    """Verifications come in small batches: most need one read, and tallyman.runtime hands back those that a long one
    leaves no time for."""
    sizes = {name: source(name)["BatchSize"] for name in MAPPED if function(name)["Timeout"] == 900}
    assert sizes == {"promote_image": 1, "apply_retention": 1, "verify_digest": 5}


@pytest.mark.parametrize(("name", "queue"), MAPPED.items())
def test_a_queue_invokes_one_function_that_reports_batch_failures(name: str, queue: str) -> None:
    event = source(name)
    assert text(event["Queue"]) == f"${{{queue}.Arn}}"
    assert event["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert 1 <= event["BatchSize"] <= 10


def test_promotions_have_batches_of_one_a_concurrency_limit_and_may_continue_themselves() -> None:
    assert source("promote_image")["BatchSize"] == 1
    assert source("promote_image")["ScalingConfig"] == {"MaximumConcurrency": {"Ref": "PromoteConcurrency"}}
    assert function("promote_image")["RecursiveLoop"] == "Allow"
    # Besides apply_retention, which also continues itself, and roll_out, which waits: a loop of any other function is a
    # fault that Lambda should stop. Each of them has its own limit.
    # that Lambda shall stop. Each of them has a limit of its own.
    assert [n for n in FUNCTIONS if "RecursiveLoop" in function(n)] == ["promote_image", "apply_retention", "roll_out"]
    for name in FUNCTIONS:
        assert "ReservedConcurrentExecutions" not in function(name)  # a new account has ten in all


def at_once(name: str) -> int:
    """Batches that a function may handle concurrently, by the parameters' defaults; reconcile's schedule starts one."""
    if FUNCTIONS[name] is None:
        return 1
    most = source(name)["ScalingConfig"]["MaximumConcurrency"]  # without it Lambda scales up to the account's limit
    return int(hub()["Parameters"][most["Ref"]]["Default"] if isinstance(most, dict) else most)


def test_long_functions_leave_concurrency_for_the_others_in_a_new_account() -> None:
    """A new account has ten concurrent runs. A throttled message is delivered again after the visibility timeout."""
    long = sum(at_once(name) for name in FUNCTIONS if function(name)["Timeout"] == 900)
    assert long == 7
    short = [name for name in FUNCTIONS if function(name)["Timeout"] < 900]
    assert [at_once(name) for name in short] == [2] * len(short)  # Lambda's minimum for a queue
    assert long + sum(map(at_once, short)) == OWN_CONCURRENCY


@pytest.mark.parametrize("queue", MAPPED.values())
def test_a_queue_has_a_dead_letter_queue_that_only_it_may_use(queue: str) -> None:
    redrive = QUEUES[queue]["RedrivePolicy"]
    dead = queue.removesuffix("Queue") + "DeadLetters"
    assert text(redrive["deadLetterTargetArn"]) == f"${{{dead}.Arn}}"
    assert 3 <= redrive["maxReceiveCount"] <= 10
    allow = QUEUES[dead]["RedriveAllowPolicy"]
    assert allow["redrivePermission"] == "byQueue"
    (arn,) = allow["sourceQueueArns"]
    assert text(arn).endswith(":" + text(QUEUES[queue]["QueueName"]))


def test_dead_letters_are_kept_14_days_and_longer_than_their_messages() -> None:
    dead = {name for name, p in QUEUES.items() if "RedrivePolicy" not in p}
    assert dead == {q.removesuffix("Queue") + "DeadLetters" for q in MAPPED.values()} | {"UndeliveredQueue"}
    for name, properties in QUEUES.items():
        wanted = 14 * DAY if name in dead else 4 * DAY  # the age of a dead letter counts from its first queue
        assert properties["MessageRetentionPeriod"] == wanted


@pytest.mark.parametrize("template", [hub(), spoke()], ids=["hub", "spoke"])
def test_every_queue_is_encrypted_with_a_key_that_allows_eventbridge(template: dict[str, Any]) -> None:
    own = [{"Fn::If": ["HasKey", {"Ref": "AWS::NoValue"}, True]}, True]
    customers = {"Fn::If": ["HasKey", {"Ref": "KmsKeyArn"}, {"Ref": "AWS::NoValue"}]}
    for properties in of_type(template, "AWS::SQS::Queue").values():
        assert properties["SqsManagedSseEnabled"] in own
        assert properties.get("KmsMasterKeyId", customers) == customers  # never alias/aws/sqs


def test_a_vpc_and_a_customer_key_apply_to_every_function_and_only_on_request() -> None:
    assert hub()["Globals"]["Function"]["VpcConfig"]["Fn::If"][0] == "InVpc"
    for name, condition in (("VpcPolicy", "InVpc"), ("KeyPolicy", "HasKey")):
        policy = hub()["Resources"][name]
        assert policy["Condition"] == condition
        for function in FUNCTIONS:
            role = hub()["Resources"][f"{logical_id(function)}Role"]["Properties"]
            assert name in attached(role, condition)  # from the role: a function is created after its policies
        assert "Roles" not in policy["Properties"]
    assert hub()["Parameters"]["SubnetIds"]["Default"] == hub()["Parameters"]["KmsKeyArn"]["Default"] == ""


REPLAYED = {"PushQueue", "VerifyQueue", "OriginQueue", "ScanQueue", "RetentionQueue", "RollOutQueue"}
LETTERS = [
    *(
        f"{name}DeadLetters"
        for name in ("Push", "Verify", "Origin", "Scan", "Commands", "Promote", "Retention", "RollOut")
    ),
    "UndeliveredQueue",
]


def test_each_functions_variables_name_only_queues_that_it_may_send_to() -> None:
    for name, queue in FUNCTIONS.items():
        variables = function(name)["Environment"]["Variables"]
        known = {text(v)[2:-1] for k, v in variables.items() if k.endswith("_QUEUE") or k == "TALLYMAN_DEAD_LETTERS"}
        role = hub()["Resources"][logical_id(name) + "Role"]["Properties"]
        may = {
            text(arn)[2:-1].removesuffix(".Arn")
            for s in statements(role)
            if "sqs:SendMessage" in listed(s["Action"])
            for arn in listed(s["Resource"])
        }
        # replays go to queues for which it sends no hints; never to the commands queue
        assert known == may - (REPLAYED if name == "record_command" else set())
        assert may > REPLAYED or name != "record_command"
        assert ("TALLYMAN_DEAD_LETTERS" in variables) == (queue is not None)


def test_a_function_receives_from_its_own_queue_only() -> None:
    for name, queue in FUNCTIONS.items():
        role = hub()["Resources"][logical_id(name) + "Role"]["Properties"]
        received = [s["Resource"] for s in statements(role) if "sqs:ReceiveMessage" in listed(s["Action"])]
        if name == "record_command":
            assert [text(r) for r in received.pop()] == [f"${{{letters}.Arn}}" for letters in LETTERS]
        assert [text(r) for r in received] == ([f"${{{queue}.Arn}}"] if queue else [])


def test_the_tables_are_retained_protected_and_restorable() -> None:
    tables = {n: r for n, r in hub()["Resources"].items() if r["Type"] == "AWS::DynamoDB::Table"}
    assert sorted(tables) == ["LedgerTable", "StateTable"]
    for table in tables.values():
        # a failed first deployment leaves nothing that blocks the next one
        assert (table["DeletionPolicy"], table["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
        properties = table["Properties"]
        assert properties["BillingMode"] == "PAY_PER_REQUEST"
        assert properties["DeletionProtectionEnabled"] == {"Ref": "DeletionProtection"}
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
        assert [k["AttributeName"] for k in properties["KeySchema"]] == ["pk", "sk"]
    assert hub()["Parameters"]["DeletionProtection"]["Default"] == "false"  # `make deploy` enables it afterwards


def test_the_ledger_has_its_indexes_and_nothing_in_it_expires() -> None:
    ledger = hub()["Resources"]["LedgerTable"]["Properties"]
    keys = {i["IndexName"]: [k["AttributeName"] for k in i["KeySchema"]] for i in ledger["GlobalSecondaryIndexes"]}
    assert keys == {"by-repository": ["repo_pk", "sk"], "by-tag": ["tag_pk", "sk"], "by-seen": ["seen_pk", "seen_sk"]}
    assert "TimeToLiveSpecification" not in ledger
    state = hub()["Resources"]["StateTable"]["Properties"]
    assert state["TimeToLiveSpecification"] == {"AttributeName": "expires", "Enabled": True}


def test_the_archive_is_versioned_encrypted_private_and_retained() -> None:
    bucket = hub()["Resources"]["ArchiveBucket"]
    assert (bucket["DeletionPolicy"], bucket["UpdateReplacePolicy"]) == ("RetainExceptOnCreate", "Retain")
    properties = bucket["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    statement, seals = of_type(hub(), "AWS::S3::BucketPolicy")["ArchiveBucketPolicy"]["PolicyDocument"]["Statement"]
    assert (seals["Effect"], seals["Principal"], seals["Action"]) == ("Deny", "*", "s3:PutObject")
    assert text(seals["Resource"]) == "${ArchiveBucket.Arn}/seals/*"
    assert seals["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": {"Fn::GetAtt": ["ReconcileRole", "Arn"]}}}
    assert (statement["Effect"], statement["Action"]) == ("Deny", "s3:*")
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_every_log_group_has_the_configured_retention() -> None:
    groups = of_type(hub(), "AWS::Logs::LogGroup")
    for name in FUNCTIONS:
        group = f"{logical_id(name)}Logs"
        assert groups[group]["RetentionInDays"] == {"Ref": "LogRetentionDays"}
        assert function(name)["LoggingConfig"]["LogGroup"] == {"Ref": group}
        named = text(function(name)["FunctionName"])
        assert text(groups[group]["LogGroupName"]) == f"/aws/lambda/{named}"
    assert len(groups) == len(FUNCTIONS)


def test_every_dead_letter_queue_and_function_has_an_alarm_with_a_notice() -> None:
    alarms = of_type(hub(), "AWS::CloudWatch::Alarm").values()
    # our own metrics (an override) have alarms too, by the dimension that Powertools adds
    watched = {
        text(a["Dimensions"][0]["Value"])[2:-1]
        for a in alarms
        if a.get("MetricName") in ("ApproximateNumberOfMessagesVisible", "Errors")
    }
    dead = {f"{name}.QueueName" for name, p in QUEUES.items() if "RedrivePolicy" not in p}
    assert watched == dead | {logical_id(name) for name in FUNCTIONS}
    for alarm in alarms:
        assert alarm["AlarmActions"] == [{"Ref": "NoticesTopic"}]
        assert alarm["AlarmDescription"]


def test_stuck_queues_and_missing_reconcile_runs_raise_an_alarm() -> None:
    alarms = of_type(hub(), "AWS::CloudWatch::Alarm")
    aged = {
        text(a["Dimensions"][0]["Value"])[2:-1].removesuffix(".QueueName"): a
        for a in alarms.values()
        if a.get("MetricName") == "ApproximateAgeOfOldestMessage"
    }
    assert set(aged) == set(MAPPED.values())
    for queue, alarm in aged.items():
        retries = 2 * QUEUES[queue]["VisibilityTimeout"]
        assert retries < alarm["Threshold"] < QUEUES[queue]["MessageRetentionPeriod"]
    metrics = [m["MetricStat"]["Metric"] for m in alarms["LettersExpireAlarm"]["Metrics"] if "MetricStat" in m]
    letters = {text(m["Dimensions"][0]["Value"])[2:-1].removesuffix(".QueueName") for m in metrics}
    assert letters == set(QUEUES) - set(MAPPED.values())
    assert alarms["LettersExpireAlarm"]["Threshold"] < 14 * DAY
    silent = alarms["ReconcileSilentAlarm"]
    assert (silent["MetricName"], silent["TreatMissingData"]) == ("Invocations", "breaching")
    assert text(silent["Dimensions"][0]["Value"]) == "${Reconcile}"


def test_alarms_on_our_own_metrics_name_all_their_dimensions(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """CloudWatch finds a metric only by all of its dimensions; Powertools adds `service` to each metric."""
    ours = [a for a in of_type(hub(), "AWS::CloudWatch::Alarm").values() if a.get("Namespace") == "Tallyman"]
    assert ours
    for alarm in ours:
        named = {d["Name"]: d["Value"] for d in alarm["Dimensions"]}
        writer = function(named["service"])
        monkeypatch.setenv("POWERTOOLS_SERVICE_NAME", writer["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"])
        with single_metric(alarm["MetricName"], MetricUnit.Count, 1, namespace="Tallyman") as metric:
            for name in named.keys() - {"service"}:
                metric.add_dimension(name, "x")
        written = json.loads(capsys.readouterr().out)
        assert set(written["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0]) == set(named)
        assert written["service"] == named["service"]


@pytest.mark.parametrize("kind", sorted(NAMED))
def test_every_name_contains_the_stacks_name(kind: str) -> None:
    found = of_type(hub(), kind)
    assert found
    for properties in found.values():
        assert "${AWS::StackName}" in text(properties[NAMED[kind]])


def test_names_are_unique_per_kind_of_resource() -> None:
    for kind, key in NAMED.items():
        names = [(text(p.get("EventBusName", "")), text(p[key])) for p in of_type(hub(), kind).values() if key in p]
        assert len(names) == len(set(names)), kind


def test_a_spokes_names_contain_the_hubs_stack_and_global_ones_the_region() -> None:
    for kind in ("AWS::SQS::Queue", "AWS::Events::Rule", "AWS::IAM::Role"):
        for properties in of_type(spoke(), kind).values():
            assert "${HubStack}-spoke-" in text(properties[NAMED[kind]])
    for properties in of_type(hub(), "AWS::IAM::Role").values():
        assert text(properties["RoleName"]).endswith("-${AWS::Region}")


def test_a_role_name_fits_into_64_characters_with_a_stack_name_of_30() -> None:
    regions = "ap-southeast-2"  # among the longest
    for template in (hub(), spoke()):
        for properties in of_type(template, "AWS::IAM::Role").values():
            name = re.sub(r"\$\{(AWS::StackName|HubStack)\}", "s" * 30, text(properties["RoleName"]))
            assert len(name.replace("${AWS::Region}", regions)) <= 64


@pytest.mark.parametrize("template", [hub(), spoke()], ids=["hub", "spoke"])
def test_every_parameter_is_described_and_validated(template: dict[str, Any]) -> None:
    for name, parameter in template["Parameters"].items():
        assert parameter["Description"], name
        assert parameter.keys() & {"AllowedPattern", "AllowedValues", "MinValue"}, name
        if "Default" in parameter and "AllowedPattern" in parameter:
            assert re.search(parameter["AllowedPattern"], parameter["Default"]), name
        if "Default" in parameter and "AllowedValues" in parameter:
            assert parameter["Default"] in parameter["AllowedValues"], name


def test_no_parameter_has_the_name_of_a_resource_that_sam_generates() -> None:
    made = {
        f"{function}{event}{suffix}"
        for function, properties in of_type(hub(), "AWS::Serverless::Function").items()
        for event in properties.get("Events", {})
        for suffix in ("", "Permission")
    }
    assert not (made | hub()["Resources"].keys()) & hub()["Parameters"].keys()


def test_the_outputs_are_what_the_command_line_looks_for() -> None:
    assert {name for name in hub()["Outputs"] if not name.startswith("Build")} == {
        "LedgerTable",
        "StateTable",
        "ArchiveBucket",
        "BusName",
        "BusArn",
        "CommandsQueueUrl",
        "VerifyQueueUrl",
        "PromoteQueueUrl",
        "RetentionQueueUrl",
        "ReconcileFunction",
        "NoticesTopicArn",
        "PeoplePolicyArn",
    }


def test_a_spokes_undelivered_events_raise_an_alarm_in_its_own_account() -> None:
    (alarm,) = of_type(spoke(), "AWS::CloudWatch::Alarm").values()
    assert text(alarm["Dimensions"][0]["Value"]) == "${UndeliveredQueue.QueueName}"
    assert (alarm["MetricName"], alarm["Threshold"]) == ("ApproximateNumberOfMessagesVisible", 0)
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    named = {"Fn::Sub": "arn:${AWS::Partition}:sns:${AWS::Region}:${AWS::AccountId}:${NoticesTopicName}"}
    one = {"Fn::If": ["NamesTopic", named, {"Ref": "NoticesTopicArn"}]}  # the name is the same in every region
    topic = {"Fn::If": ["HasTopic", [one], {"Ref": "AWS::NoValue"}]}
    assert alarm["AlarmActions"] == topic
    assert spoke()["Parameters"]["NoticesTopicArn"]["Default"] == ""


def test_tracing_uses_the_services_own_integration() -> None:
    assert hub()["Globals"]["Function"]["Tracing"] == "Active"
    for name in FUNCTIONS:
        role = hub()["Resources"][logical_id(name) + "Role"]["Properties"]
        assert {"xray:PutTraceSegments", "xray:PutTelemetryRecords"} <= actions(role)
    assert not re.search(r"(?i)xray", (ROOT / "layers/core/src/requirements.txt").read_text())


def test_the_layers_are_where_sam_build_finds_them() -> None:
    layers = hub()["Resources"]
    core, policy = layers["CoreLayer"], layers["PolicyLayer"]
    assert (ROOT / core["Properties"]["ContentUri"] / "requirements.txt").is_file()
    assert (ROOT / core["Properties"]["ContentUri"] / "tallyman/__init__.py").is_file()
    assert core["Metadata"] == {"BuildMethod": "python3.13", "BuildArchitecture": {"Ref": "Architecture"}}
    assert hub()["Globals"]["Function"]["Runtime"] == "python3.13"
    # The policy is copied unchanged to /opt/tallyman.yaml.
    assert "Metadata" not in policy
    path = hub()["Globals"]["Function"]["Environment"]["Variables"]["TALLYMAN_POLICY"]
    assert (ROOT / policy["Properties"]["ContentUri"] / path.removeprefix("/opt/")).is_file()


def test_a_spoke_is_plain_cloudformation_for_stacksets() -> None:
    assert "Transform" not in spoke()
    assert not [r for r in spoke()["Resources"].values() if r["Type"].startswith("AWS::Serverless")]
