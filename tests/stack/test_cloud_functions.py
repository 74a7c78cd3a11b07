"""Queues invoke functions as Lambda's event source mappings do, without AWS's delays."""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.stacks import sample_stack as sample
from tallyman_local.cloud.cloud import Cloud
from tallyman_local.moto import calls as moto_calls
from tallyman_local.runtime.functions import Functions
from tallyman_local.runtime.pollers import Pollers
from tallyman_local.stack.template import BadTemplate


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sample")


@pytest.fixture(scope="module")
def cloud(folder: Path) -> Iterator[Cloud]:
    with sample.cloud(folder) as running:
        yield running


def test_a_message_reaches_its_function_and_leaves_the_queue(cloud: Cloud, folder: Path) -> None:
    sample.send(cloud, name="plain")
    assert cloud.settle(30) == {}
    assert sample.done(folder).count("plain") == 1
    assert depth(cloud, "sample-work") == 0


def test_a_failed_message_is_redelivered_soon_and_the_rest_of_its_batch_is_not(cloud: Cloud, folder: Path) -> None:
    sqs = sample.client(cloud, "sqs")
    orders = [{"name": "good"}, {"name": "fails-once", "fail_times": 1}]
    sqs.send_message_batch(
        QueueUrl=sqs.get_queue_url(QueueName="sample-work")["QueueUrl"],
        Entries=[{"Id": str(n), "MessageBody": json.dumps(order)} for n, order in enumerate(orders)],
    )
    assert cloud.settle(30) == {}  # the queue's visibility timeout is six minutes
    assert sample.done(folder).count("good") == 1
    assert sample.done(folder).count("fails-once") == 2


def test_a_repeatedly_failing_message_moves_to_the_dead_letter_queue(cloud: Cloud, folder: Path) -> None:
    sample.send(cloud, name="hopeless", fail_times=99)
    assert cloud.settle(30) == {}
    assert sample.done(folder).count("hopeless") == 3
    letters = receive(cloud, "sample-dead")
    assert [json.loads(letter["Body"])["name"] for letter in letters].count("hopeless") == 1


def test_the_batch_of_a_killed_worker_is_redelivered(cloud: Cloud, folder: Path) -> None:
    sample.send(cloud, name="killed", gate="never-opened-then-opened")
    waiting = sample.wait_for(lambda: [note for note in sample.notes(folder) if note.get("waits") == "killed"])
    assert cloud.left()["queues"]["sample-work"]["in_flight"] == 1
    assert cloud.kill("sample-work") >= 1
    (folder / "never-opened-then-opened").touch()
    assert cloud.settle(30) == {}
    did = [note for note in sample.notes(folder) if note.get("name") == "killed"]
    assert [note["received"] for note in did] == [2]
    assert did[0]["pid"] != waiting[0]["pid"]


def test_a_worker_that_exits_loses_no_message(cloud: Cloud, folder: Path) -> None:
    sample.send(cloud, name="dies", die_first=True)
    assert cloud.settle(30) == {}
    assert sample.done(folder).count("dies") == 2


def test_a_function_is_killed_at_its_timeout(cloud: Cloud, folder: Path) -> None:
    outcome = cloud.invoke("sample-slow", {"Records": [record({"name": "sleepy", "sleep": 30})]})
    assert outcome.error
    assert "Task timed out after 1.00 seconds" in outcome.error["errorMessage"]


def test_two_batches_run_concurrently_if_the_template_allows_two(cloud: Cloud, folder: Path) -> None:
    for name in ("left", "right"):
        sample.send(cloud, "sample-slow", name=name, gate="both")
    sample.wait_for(lambda: {"left", "right"} <= {note.get("waits") for note in sample.notes(folder)})
    (folder / "both").touch()
    assert cloud.settle(30) == {}


def test_settle_reports_what_is_left_at_its_timeout(cloud: Cloud, folder: Path) -> None:
    sample.send(cloud, name="held", gate="held-gate")
    sample.wait_for(lambda: any(note.get("waits") == "held" for note in sample.notes(folder)))
    left = cloud.settle(0.01)
    assert left == {"queues": {"sample-work": {"visible": 0, "in_flight": 1, "due": 0}}}
    (folder / "held-gate").touch()
    assert cloud.settle(30) == {}


def test_settle_waits_for_a_message_due_soon_and_not_for_one_due_later(cloud: Cloud, folder: Path) -> None:
    sample.send(cloud, name="later", delay=60)
    assert cloud.settle(30) == {}
    assert "later" not in sample.done(folder)
    sample.send(cloud, name="soon", delay=1)
    assert cloud.settle(30) == {}
    assert "soon" in sample.done(folder)


def test_settle_until_due_waits_for_what_is_due_later(cloud: Cloud, folder: Path) -> None:
    sqs = sample.client(cloud, "sqs")
    sqs.purge_queue(QueueUrl=sqs.get_queue_url(QueueName="sample-work")["QueueUrl"])  # left over from another test
    sample.send(cloud, name="opens", delay=7)
    assert cloud.settle(30) == {}
    assert "opens" not in sample.done(folder)
    assert cloud.settle(1, until_due=True) == {"queues": {"sample-work": {"visible": 0, "in_flight": 0, "due": 1}}}
    assert cloud.settle(30, until_due=True) == {}
    assert "opens" in sample.done(folder)


def test_settle_does_not_wait_for_dead_letters(cloud: Cloud) -> None:
    sample.send(cloud, "sample-dead", name="dead already")
    assert cloud.settle(5) == {}


def test_a_handler_sees_only_its_declared_environment(
    cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKED", "yes")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    cloud.kill("sample-work")
    answer = cloud.invoke("sample-work", {"ask": "environment"}).result
    environment = answer["environment"]
    assert answer["layer"] == "sample layer"
    assert environment["FOLDER"] == str(folder)
    assert environment["OWN_QUEUE"].endswith("/111111111111/sample-work")
    assert environment["TALLYMAN_POLICY"] == str(cloud.policy)
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == "sample-work"
    allowed = {
        "PATH",
        "LANG",
        "LC_CTYPE",
        "TZ",
        "FOLDER",
        "OWN_QUEUE",
        "TALLYMAN_POLICY",
        "TALLYMAN_TRAIL_RATE",
        "_HANDLER",
    }
    assert {name for name in environment if not name.startswith("AWS_")} <= allowed
    assert "AWS_PROFILE" not in environment


def test_a_worker_runs_as_the_functions_own_role(cloud: Cloud) -> None:
    environment = cloud.invoke("sample-work", {"ask": "environment"}).result["environment"]
    identity = moto_calls.identify(environment["AWS_ACCESS_KEY_ID"])
    assert identity
    assert identity.account == sample.HUB
    assert "WorkRole" in identity.arn


def test_the_context_has_lambdas_fields(cloud: Cloud) -> None:
    context = cloud.invoke("sample-work", {"ask": "context"}).result
    assert context["name"] == "sample-work"
    assert context["arn"] == "arn:aws:lambda:us-east-2:111111111111:function:sample-work"
    assert context["memory"] == "256"
    assert 0 < context["left"] <= 60_000
    assert len(context["request"]) == 36


def test_invoke_over_the_api_returns_the_payload(cloud: Cloud) -> None:
    answer = sample.client(cloud, "lambda").invoke(FunctionName="sample-work", Payload=b'{"ask": "context"}')
    assert answer["StatusCode"] == 200
    assert "FunctionError" not in answer
    assert json.loads(answer["Payload"].read())["name"] == "sample-work"


def test_invoke_over_the_api_returns_an_error(cloud: Cloud) -> None:
    answer = sample.client(cloud, "lambda").invoke(FunctionName="sample-work", Payload=b'{"ask": "raise"}')
    assert answer["FunctionError"] == "Unhandled"
    error = json.loads(answer["Payload"].read())
    assert (error["errorType"], error["errorMessage"]) == ("ValueError", "asked to")


def test_a_handler_that_cannot_be_imported_is_an_error_of_each_invocation(cloud: Cloud) -> None:
    error = cloud.invoke("sample-broken", {}).error
    assert error
    assert error["errorType"] == "Runtime.ImportModuleError"


def test_a_handlers_output_is_in_its_log(cloud: Cloud) -> None:
    sample.send(cloud, name="printed")
    assert cloud.settle(30) == {}
    assert "acting on printed" in (cloud.data_dir / "logs" / "sample-work.log").read_text()


def test_schedules_fire_when_they_are_due(cloud: Cloud, folder: Path) -> None:
    minute = 29_000_000
    assert minute % 5 == 0
    assert cloud.fire_schedules(minute + 1) == 0
    assert cloud.fire_schedules(minute) == 1
    assert cloud.settle(30) == {}
    assert [note["time"] for note in sample.notes(folder) if note.get("name") == "scheduled"] == [
        "2025-02-19T21:20:00Z"
    ]


def test_messages_sent_together_by_many_are_all_handled_once(cloud: Cloud, folder: Path) -> None:
    def send_five(n: int) -> None:
        for i in range(5):
            sample.send(cloud, name=f"many-{n}-{i}")

    threads = [threading.Thread(target=send_five, args=[n]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cloud.settle(60) == {}
    many = [name for name in sample.done(folder) if str(name).startswith("many-")]
    assert sorted(many) == sorted(f"many-{n}-{i}" for n in range(4) for i in range(5))


def test_no_worker_is_left_when_the_cloud_stops(tmp_path: Path, cloud: Cloud) -> None:
    pids = [pid for runner in cloud.functions.values() for pid in runner.pids()]
    assert pids
    for runner in cloud.functions.values():
        runner.kill()
    sample.wait_for(lambda: not any(alive(pid) for pid in pids), 10)  # processes are reaped by the thread that waited


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def record(order: dict[str, object]) -> dict[str, object]:
    return {"messageId": "1", "body": json.dumps(order), "attributes": {"ApproximateReceiveCount": "1"}}


def receive(cloud: Cloud, queue: str) -> list[dict[str, str]]:
    sqs = sample.client(cloud, "sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    messages: list[dict[str, str]] = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    return messages


def depth(cloud: Cloud, queue: str) -> int:
    sqs = sample.client(cloud, "sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    return sum(map(int, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))


def test_a_statement_is_needed_if_it_alone_allowed_a_call(cloud: Cloud) -> None:
    role = next(runner.function.role for runner in cloud.functions.values() if runner.function.name == "sample-work")
    cloud.permissions.needed.clear()
    queue = "arn:aws:sqs:us-east-2:111111111111:sample-work"
    assert cloud.permissions.role_may(role, "sqs:ReceiveMessage", queue)
    assert not cloud.permissions.role_may(role, "sqs:PurgeQueue", queue)
    assert {arn for arn, _ in cloud.permissions.needed} == {role}
    assert cloud.permissions.needed <= cloud.permissions.statements()


@pytest.mark.parametrize("action", ["sqs:ReceiveMessage", "logs:PutLogEvents"])
def test_lambda_itself_needs_the_functions_role(cloud: Cloud, tmp_path: Path, action: str) -> None:
    """A queue that the role may not read fails the mapping; a log that it may not write does not exist."""

    def role_may(role: str, asked: str, resource: str) -> bool:
        return asked != action

    options: dict[str, Any] = {"url": cloud.url, "policy": cloud.policy, "logs": tmp_path}
    if action.startswith("sqs:"):
        with pytest.raises(BadTemplate, match=r"may not call sqs:ReceiveMessage on arn:aws:sqs:.*:sample-work"):
            Functions(cloud.stacks[0], Pollers(), role_may, **options)
        return
    functions = Functions(cloud.stacks[0], Pollers(), role_may, **options)
    assert {str(runner.logs) for runner in functions.runners.values()} == {os.devnull}
