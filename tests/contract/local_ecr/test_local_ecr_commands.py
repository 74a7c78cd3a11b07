"""The `aws` command, boto3's waiters and paginators, buildah, ECR's credential helper, and the session of the notes,
word for word except the host. Clients that are not installed are skipped: tests/tools/clients.sh."""

import base64
import gzip
import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from support.images.builders import image, layer, multi_arch, signature
from support.servers.ecr import DEV, NAME, Served, serve
from support.servers.ecr_shell import Run, environment, password, program, says, shell_of
from support.servers.secured import certify


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with serve(tmp_path / "ecr") as running:
        yield running


@pytest.fixture
def shell(served: Served, tmp_path: Path) -> Run:
    return shell_of(served, tmp_path)


# -- the notes


@pytest.mark.docker
@pytest.mark.clients
def test_the_session_of_the_notes(served: Served, shell: Run, tmp_path: Path) -> None:
    program("aws")
    if not shutil.which("docker") or subprocess.run(["docker", "version"], capture_output=True, timeout=60).returncode:
        pytest.skip("no Docker engine answers")
    registry = f"localhost:{served.ports[DEV]}"
    region = "us-east-2"
    repository = f"{registry}/rocketseat/widget-server"
    try:
        says(shell, f"aws ecr create-repository --repository-name widget-server --region {region}")
        created = json.loads(
            says(
                shell,
                "aws ecr create-repository --repository-name rocketseat/widget-server"
                f" --image-tag-mutability IMMUTABLE --region {region}",
            )
        )["repository"]
        assert (created["repositoryUri"], created["imageTagMutability"]) == (repository, "IMMUTABLE")
        login = f"docker login --username AWS --password-stdin {registry}"
        assert "Login Succeeded" in says(shell, f"aws ecr get-login-password --region {region} | {login}")
        for version in ("v1", "v2"):
            content = tmp_path / f"{version}.tar"
            content.write_bytes(gzip.decompress(layer(f"widget-server {version}").raw))
            says(shell, f"docker import {content} widget-server:{version}")
        says(shell, f"docker tag widget-server:v1 {repository}:v1")
        says(shell, f"docker push {repository}:v1")
        says(shell, f"docker tag widget-server:v2 {repository}:v1")
        status, said = shell(f"docker push {repository}:v1")
        assert status == 1
        text = "The image tag 'v1' already exists in the 'rocketseat/widget-server' repository and cannot be"
        assert f"{text} overwritten because the tag is immutable." in said
        says(shell, f"docker tag widget-server:v2 {repository}:v2")
        says(shell, f"docker push {repository}:v2")
        describe = f"aws ecr describe-images --repository-name rocketseat/widget-server --region {region}"
        details = json.loads(says(shell, describe))["imageDetails"]
        assert sorted(tag for detail in details for tag in detail["imageTags"]) == ["v1", "v2"]
        assert all(detail["imageSizeInBytes"] > 0 for detail in details)
        says(shell, f"docker rmi widget-server:v1 widget-server:v2 {repository}:v1 {repository}:v2")
        first = next(detail["imageDigest"] for detail in details if detail["imageTags"] == ["v1"])
        assert first in says(shell, f"docker pull {repository}:v1")
        assert first in says(shell, f"docker pull {repository}@{first}")
    finally:
        shell(f"docker rmi -f $(docker images -q {repository}) widget-server:v1 widget-server:v2")


# -- the aws command and boto3


@pytest.mark.clients
def test_the_aws_command_lists_describes_scans_and_deletes(served: Served, shell: Run) -> None:
    program("aws")
    served.create()
    app = multi_arch("app")
    served.push(app, "v1")
    served.push(signature(app))

    def ecr(line: str) -> Any:
        return json.loads(says(shell, f"aws ecr {line} --repository-name {NAME} --region us-east-2"))

    listed = ecr("list-images --query 'imageIds[?imageTag]'")
    assert listed == [{"imageDigest": str(app.digest), "imageTag": "v1"}]
    referrers = ecr(f"list-image-referrers --subject-id imageDigest={app.digest}")["referrers"]
    assert len(referrers) == 1
    child = next(iter(app.manifests))
    ecr(f"start-image-scan --image-id imageDigest={child}")
    served.ecr.scanner.complete(DEV, NAME, child, [{"name": "CVE-2026-1", "severity": "HIGH"}])
    status, said = shell(
        f"aws ecr wait image-scan-complete --repository-name {NAME} --region us-east-2 --image-id imageDigest={child}"
    )
    assert status == 0, said
    status, said = shell("aws ecr describe-images --repository-name team/none --region us-east-2")
    assert status == 254 or "RepositoryNotFoundException" in said
    gone = ecr("batch-delete-image --image-ids imageTag=v1")
    assert (gone["imageIds"], gone["failures"]) == ([{"imageDigest": str(app.digest), "imageTag": "v1"}], [])


def test_every_boto3_paginator_returns_all_results(served: Served) -> None:
    client, names = served.client(), [f"team/r{n}" for n in range(5)]
    for name in names:
        served.create(name=name)
    for n in range(5):
        served.push(image(f"app {n}"), f"v{n}", name=names[0])
        client.create_repository_creation_template(prefix=f"p{n}", appliedFor=["REPLICATION"])
    digest = image("app 0").digest
    found = [{"name": f"CVE-{n}", "severity": "LOW"} for n in range(5)]
    served.ecr.scanner.complete(DEV, names[0], digest, found)

    def everything(operation: str, key: str, **asked: object) -> int:
        pages = client.get_paginator(operation).paginate(PaginationConfig={"PageSize": 2}, **asked)
        counted = list(pages.search(key))
        assert len(counted) == len({json.dumps(item, default=str) for item in counted})
        return len(counted)

    assert everything("describe_repositories", "repositories[]") == 5
    assert everything("list_images", "imageIds[]", repositoryName=names[0]) == 5
    assert everything("describe_images", "imageDetails[]", repositoryName=names[0]) == 5
    asked = {"repositoryName": names[0], "imageId": {"imageDigest": digest}}
    assert everything("describe_image_scan_findings", "imageScanFindings.findings[]", **asked) == 5
    assert everything("describe_repository_creation_templates", "repositoryCreationTemplates[]") == 5


def test_the_scan_waiter_ends_on_completion_and_on_failure(served: Served) -> None:
    served.create(imageScanningConfiguration={"scanOnPush": True})
    app = image("app")
    served.push(app, "v1")
    waiter = served.client().get_waiter("image_scan_complete")
    asked = {"repositoryName": NAME, "imageId": {"imageTag": "v1"}}
    with pytest.raises(WaiterError, match="Max attempts exceeded"):
        waiter.wait(**asked, WaiterConfig={"Delay": 0, "MaxAttempts": 2})
    served.ecr.scanner.complete(DEV, NAME, app.digest)
    waiter.wait(**asked, WaiterConfig={"Delay": 0, "MaxAttempts": 1})
    served.ecr.scanner.complete(DEV, NAME, app.digest, status="FAILED")
    with pytest.raises(WaiterError, match="terminal failure state"):
        waiter.wait(**asked, WaiterConfig={"Delay": 0, "MaxAttempts": 1})


# -- buildah


@pytest.mark.clients
def test_buildah_builds_pushes_pulls_and_keeps_the_digest(served: Served, shell: Run, tmp_path: Path) -> None:
    program("buildah")
    served.create()
    address = f"localhost:{served.ports[DEV]}/{NAME}"
    storage = f"--root {tmp_path}/graph --runroot {tmp_path}/run --storage-driver vfs"
    (tmp_path / "app.txt").write_text("hello")
    (tmp_path / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    login = f"--tls-verify=false --creds AWS:{password(served)} --signature-policy {tmp_path}/policy.json"
    status, said = shell(
        f"set -e; c=$(buildah {storage} from scratch); buildah {storage} copy $c {tmp_path}/app.txt /; "
        f"buildah {storage} commit $c built; buildah {storage} push {login} --digestfile {tmp_path}/d built"
        f" docker://{address}:v1"
    )
    if status and ("unshare" in said or "namespace" in said or "operation not permitted" in said.lower()):
        pytest.skip(f"buildah can't work here: {said.splitlines()[-1]}")
    assert status == 0, said
    digest = (tmp_path / "d").read_text().strip()
    answer = served.send("GET", f"/v2/{NAME}/manifests/v1")
    assert answer.headers["Docker-Content-Digest"] == digest
    says(
        shell,
        f"buildah {storage} rm --all; buildah {storage} rmi -f built; buildah {storage} pull {login} docker://{address}@{digest}",
    )


# -- ECR's credential helper


@contextmanager
def proxy_of_aws(port: int, own: int, host: str, folder: Path) -> Iterator[dict[str, str]]:
    """The helper knows only AWS's own address: a proxy accepts its CONNECT, and speaks TLS as that host."""
    context = certify(folder, host)
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        """Serve one connection: CONNECT, then one request, forwarded to the local API."""
        with suppress(OSError):
            plain, _ = listening.accept()
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                asked += plain.recv(1)
            plain.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with context.wrap_socket(plain, server_side=True) as secured, secured.makefile("rb") as stream:
                lines = [line.decode().strip() for line in iter(stream.readline, b"\r\n")]
                headers = dict(line.split(": ", 1) for line in lines[1:])
                headers.pop("Host", None)  # the local API answers only to its own host name
                body = stream.read(int(headers.get("Content-Length", 0)))
                connection = http.client.HTTPConnection("127.0.0.1", port)
                connection.request("POST", "/", body, headers)
                said = connection.getresponse()
                local, real = f"http://localhost:{own}", f"https://{DEV.account}.dkr.ecr.{DEV.region}.amazonaws.com"
                content = said.read().replace(local.encode(), real.encode())  # it accepts no other proxyEndpoint
                head = f"HTTP/1.1 {said.status} OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n"
                head += f"Content-Type: {said.headers['Content-Type']}\r\n\r\n"
                secured.sendall(head.encode() + content)
                connection.close()

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield {
            "HTTPS_PROXY": f"http://127.0.0.1:{listening.getsockname()[1]}",
            "AWS_CA_BUNDLE": str(folder / "ca.pem"),
        }
    finally:
        listening.close()
        thread.join(timeout=10)


@pytest.mark.clients
def test_ecrs_credential_helper_gets_a_valid_token(served: Served, tmp_path: Path) -> None:
    helper = program("docker-credential-ecr-login")
    served.create()
    host = f"{DEV.account}.dkr.ecr.{DEV.region}.amazonaws.com"
    named = {k: v for k, v in environment(served, tmp_path).items() if k not in ("AWS_ENDPOINT_URL", "NO_PROXY")}
    with proxy_of_aws(served.api_port, served.ports[DEV], f"api.ecr.{DEV.region}.amazonaws.com", tmp_path) as proxied:
        done = subprocess.run(
            [helper, "get"], input=host.encode(), capture_output=True, env={**named, **proxied}, timeout=60
        )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["Username"] == "AWS"
    token = base64.b64encode(f"AWS:{found['Secret']}".encode()).decode()
    assert served.send("GET", "/v2/", Authorization=f"Basic {token}").status == 200
