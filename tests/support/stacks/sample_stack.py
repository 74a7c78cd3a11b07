"""The sample stack in a local cloud, for tests of the cloud itself."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.stacks.clients import client_of
from tallyman_local.cloud.cloud import Cloud, Options

ROOT = Path(__file__).parents[2] / "stack" / "fixtures" / "sample_stack"
HUB = "111111111111"

POLICY = """
environments:
  dev: {registries: [111111111111/us-east-2]}
  prod-eu: {registries: [222222222222/us-east-2, 222222222222/sa-east-1]}
"""


def cloud(folder: Path, **options: Any) -> Cloud:
    """A cloud of the sample stack, not started; its functions record what they do in `folder`/notes.jsonl."""
    policy = folder / "tallyman.yaml"
    policy.write_text(POLICY)
    return Cloud(policy, root=ROOT, options=Options(stack="sample", parameters={"Folder": str(folder)}, **options))


def client(cloud: Cloud, service: str, *, role: str = "", region: str = "us-east-2") -> Any:
    """A boto3 client of the developer, or of a role by ARN."""
    keys = cloud.credentials(role) if role else cloud.environment()
    return client_of(cloud.url, keys, service, region)


def send(cloud: Cloud, queue: str = "sample-work", **order: Any) -> None:
    """Send an order to a queue of the stack."""
    sqs = client(cloud, "sqs")
    delay = order.pop("delay", 0)
    sqs.send_message(
        QueueUrl=sqs.get_queue_url(QueueName=queue)["QueueUrl"], MessageBody=json.dumps(order), DelaySeconds=delay
    )


def notes(folder: Path) -> list[dict[str, Any]]:
    """The records of the functions."""
    path = folder / "notes.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def done(folder: Path) -> list[str]:
    """The names of the completed orders, with repetitions."""
    return [note["name"] for note in notes(folder) if "received" in note]


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """The condition's value once it is true; fails after `seconds`."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if value := condition():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def push_event(account: str, region: str, **changes: Any) -> dict[str, Any]:
    """An ECR push event in ECR's format."""
    return {
        "version": "0",
        "id": changes.pop("id", "13cde686-0000-0000-0000-000000000000"),
        "detail-type": "ECR Image Action",
        "source": "aws.ecr",
        "account": account,
        "time": "2026-11-16T01:54:34Z",
        "region": region,
        "resources": [],
        "detail": {"action-type": "PUSH", "result": "SUCCESS", "repository-name": "rocketseat/widget-server"},
        **changes,
    }
