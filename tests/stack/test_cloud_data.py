"""A cloud's folder, its data, lock, ports and quotas; replication through the cloud."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config

from support.stacks import sample_stack as sample
from support.stacks.clients import client_of
from tallyman_local.cloud import folders

ROOT = Path(__file__).resolve().parents[2]
NAME = "rocketseat/widget-server"


def test_registries_in_a_folder_persist_and_quotas_throttle(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with sample.cloud(tmp_path, data_dir=data) as cloud:
        sample.client(cloud, "ecr").create_repository(repositoryName=NAME)
        with pytest.raises(folders.InUse, match="another local cloud uses this folder"):
            folders.lock(data)
    with sample.cloud(tmp_path, data_dir=data, quotas={"DescribeRepositories": 0.01}) as cloud:
        ecr = sample.client(cloud, "ecr")
        assert [r["repositoryName"] for r in ecr.describe_repositories()["repositories"]] == [NAME]
        with pytest.raises(ecr.exceptions.ClientError) as caught:
            once(cloud).describe_repositories()
        assert caught.value.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}


def once(cloud: Any) -> Any:
    """A client without retries."""
    keys = cloud.environment()
    return client_of(cloud.url, keys, "ecr", config=Config(retries={"total_max_attempts": 1}))


def free_ports(count: int) -> int:
    """The first of some consecutive free ports."""
    for first in range(20000 + os.getpid() % 10000, 65000 - count, count):
        held = []
        try:
            for port in range(first, first + count):
                held.append(socket.create_server(("127.0.0.1", port)))
        except OSError:
            continue
        finally:
            for server in held:
                server.close()
        return first
    raise AssertionError("no free ports")


def test_the_requested_ports_are_used_and_a_signal_ends_the_cloud(tmp_path: Path) -> None:
    first = free_ports(4)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen(
        [sys.executable, "-m", "tallyman_cli.main", "local", "start", "--port", str(first), "--data", tmp_path / "d"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    with child:
        assert child.stdout is not None
        printed = []
        for line in child.stdout:
            printed.append(line.strip())
            if line.startswith("unset"):
                break
        child.send_signal(signal.SIGTERM)
        try:
            assert child.wait(60) == 0
        finally:
            child.kill()
    assert f"export AWS_ENDPOINT_URL=http://127.0.0.1:{first}" in printed
    assert [line.rpartition(":")[2] for line in printed[:3]] == [str(first + n) for n in (1, 2, 3)]
