"""`tallyman copy` between ECRs, addressed by environment, by port, and by AWS's host names."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.images.builders import image, multi_arch, signature
from support.servers.copy_cli import copied, holding, holds
from support.servers.ecr import DEV, PROD, Served
from support.servers.oci import OciServer
from tallyman_cli.copy.copy import run

BUILT = multi_arch(attested=True)

source = holding(BUILT)
pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def ecr(ecr: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Served:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"environments:\n  dev: {{registries: [{DEV}]}}\n  prod: {{registries: [{PROD}]}}\n")
    monkeypatch.setenv("TALLYMAN_POLICY", str(policy))
    monkeypatch.setenv("TALLYMAN_REGISTRY_DEV_1", f"localhost:{ecr.ports[DEV]}")
    monkeypatch.setenv("TALLYMAN_REGISTRY_PROD_1", f"localhost:{ecr.ports[PROD]}")
    return ecr


def test_environments_ports_and_hosts_name_the_same_registries(
    ecr: Served, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    for registry in (DEV, PROD):
        ecr.create(registry, "team/app")
    ecr.push(BUILT, "v1", name="team/app")
    copied(capsys, "dev/team/app:v1", "prod/team/app", f"{target.host}/team/app")
    found = ecr.client(PROD).describe_images(repositoryName="team/app", imageIds=[{"imageTag": "v1"}])
    assert found["imageDetails"][0]["imageDigest"] == BUILT.digest
    assert holds(target, "team/app", BUILT, "v1")
    port = f"localhost:{ecr.ports[PROD]}"
    done = copied(capsys, f"{DEV.host}/team/app:v1", f"{port}/team/app:v2")
    assert done["targets"][0]["target"] == f"{PROD}/team/app"
    assert done["targets"][0]["uploaded"] == []


def test_a_host_of_ecr_needs_no_policy_and_no_stack(
    ecr: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TALLYMAN_POLICY")
    for registry in (DEV, PROD):
        ecr.create(registry, "team/app")
    ecr.push(BUILT, "v1", name="team/app")
    copied(capsys, f"{DEV.host}/team/app:v1", f"{PROD.host}/team/app:v2")
    found = ecr.client(PROD).describe_images(repositoryName="team/app", imageIds=[{"imageTag": "v2"}])
    assert found["imageDetails"][0]["imageDigest"] == BUILT.digest


def test_ecr_repositories_are_compared_by_listing_only(ecr: Served, capsys: pytest.CaptureFixture[str]) -> None:
    for registry in (DEV, PROD):
        ecr.create(registry, "team/app")
        for n in range(5):
            ecr.push(image(f"own {n}"), f"v{n}", registry, "team/app")
    ecr.trail.clear()
    done = copied(capsys, "--all-tags", "dev/team/app", "prod/team/app")
    assert (done["listed"], done["images"]) == (5, [])
    assert ecr.trail == []
    signed = signature(image("new"))
    ecr.push(image("new"), "new", DEV, "team/app")
    ecr.push(signed, None, DEV, "team/app")
    done = copied(capsys, "--all-tags", "dev/team/app", "prod/team/app")
    assert [i["tag"] for i in done["images"]] == ["new"]
    assert signed.digest in done["targets"][0]["pushed"]


def test_a_missing_ecr_repository_is_reported(
    ecr: Served, source: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    done = copied(capsys, f"{source.host}/team/app:v1", "prod/nobody/knows", status=1)
    assert "does not exist" in json.dumps(done["targets"])
    assert run([f"{source.host}/team/app:v1", "prod/nobody/knows"]) == 1
    assert "does not exist: tallyman repository create nobody/knows --in prod" in capsys.readouterr().err


@pytest.mark.skopeo
@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_pulls_from_each_ecr_by_digest_what_was_copied(
    source: OciServer, ecr: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for registry in (DEV, PROD):
        ecr.create(registry, "team/app")
    copied(capsys, f"{source.host}/team/app:v1", "dev/team/app", "prod/team/app")
    for registry in (DEV, PROD):
        login = base64.b64decode(ecr.token(registry.account).partition(" ")[2]).decode()
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false"]
        where = f"docker://localhost:{ecr.ports[registry]}/team/app@{BUILT.digest}"
        pulled = tmp_path / registry.region
        subprocess.run(
            [*copy, f"--src-creds={login}", where, f"dir:{pulled}"], check=True, timeout=60, capture_output=True
        )
        assert (pulled / "manifest.json").read_bytes() == BUILT.raw
        assert all((pulled / digest.hex).read_bytes() == raw for digest, raw in BUILT.blobs.items())


def test_a_copy_between_environments_does_not_import_rich(ecr: Served) -> None:
    for registry in (DEV, PROD):
        ecr.create(registry, "team/app")
    ecr.push(BUILT, "v1", name="team/app")
    program = (
        "import sys; from tallyman_cli.copy.copy import run; status = run(['dev/team/app:v1', 'prod/team/app']); "
        "print(sorted({'typer', 'rich'} & set(sys.modules))); sys.exit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "[]"
