"""Ways to install and use it: container, packaged template, Terraform, GitHub and GitLab, the application
repository."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml

import tallyman
from support.servers import aws_mock
from support.stacks.templates import ROOT, hub
from tallyman.errors import BadInput
from tallyman_cli.setup.publish import launch_link, publish

POLICY = "environments: {dev: {registries: [111111111111/us-east-2]}}\n"
TWO = "environments: {dev: {registries: [111111111111/us-east-2]}, prod: {registries: [222222222222/us-east-2]}}\n"


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a policy in its first commit."""
    git(tmp_path, "init", "-q", "-b", "main")
    (tmp_path / "tallyman.yaml").write_text(POLICY)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    return tmp_path


def script(folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if k not in ("TALLYMAN_POLICY", "POLICY", "BASE", "IMAGE", "TO")}
    environment["PATH"] = f"{ROOT / '.venv/bin'}:{environment['PATH']}"
    return subprocess.run(
        [str(ROOT / "ci/pull-request.sh")],
        cwd=folder,
        env=environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def comment(folder: Path, **variables: str) -> tuple[int, str]:
    done = script(folder, **variables)
    assert done.stdout.startswith("<!-- tallyman -->"), done.stderr
    return done.returncode, done.stdout


def test_a_comment_shows_the_effect_of_a_policy_change(checkout: Path) -> None:
    assert "It means the same" in comment(checkout, POLICY="tallyman.yaml", BASE="HEAD")[1]
    (checkout / "tallyman.yaml").write_text(TWO)
    status, text = comment(checkout, POLICY="tallyman.yaml", BASE="HEAD")
    assert status == 0
    assert "```diff" in text
    assert re.search(r"(?m)^\+.*prod", text)
    assert str(checkout) not in text


def test_a_shallow_clone_fetches_the_commit_to_compare_with(checkout: Path, tmp_path: Path) -> None:
    """GitLab clones 20 commits. A missing commit is not a commit without a policy."""
    base = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=checkout, text=True).strip()
    author = ("-c", "user.name=Ana", "-c", "user.email=ana@example.com")
    subprocess.run(["git", *author, "commit", "-q", "--allow-empty", "-m", "later"], cwd=checkout, check=True)
    shallow = tmp_path / "shallow"
    subprocess.run(["git", "clone", "-q", "--depth", "1", f"file://{checkout}", str(shallow)], check=True)
    assert "It means the same" in comment(shallow, POLICY="tallyman.yaml", BASE=base)[1]
    status, text = comment(shallow, POLICY="tallyman.yaml", BASE="1" * 40)
    assert status == 2
    assert "Not compared" in text
    assert "```" not in text


def test_a_comment_shows_errors_and_the_step_fails(checkout: Path) -> None:
    (checkout / "tallyman.yaml").write_text(POLICY + "peeple: '```'\n")
    status, text = comment(checkout, POLICY="tallyman.yaml", BASE="HEAD")
    assert status == 1
    assert "It is not valid" in text
    assert "did you mean 'people'" in text


def test_a_new_policy_is_shown_completely(checkout: Path) -> None:
    (checkout / "other.yaml").write_text(TWO)
    status, text = comment(checkout, POLICY="other.yaml", BASE="HEAD")
    assert (status, "prod" in text) == (0, True)


@pytest.mark.parametrize(("given", "lacks"), [({"POLICY": "tallyman.yaml"}, "BASE"), ({"IMAGE": "dev/a:v1"}, "TO")])
def test_a_variable_that_is_missing_is_bad_input(checkout: Path, given: dict[str, str], lacks: str) -> None:
    done = script(checkout, **given)
    assert (done.returncode, f"{lacks} is empty" in done.stderr) == (2, True), done.stderr


def test_text_cannot_close_its_code_block(checkout: Path, tmp_path: Path) -> None:
    """Text of a policy or an image is shown inside a fence that is longer than any of its own."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "tallyman").write_text("#!/bin/sh\nprintf '%s\\n' '````' '<img src=x>' '```'\nexit 1\n")
    (fake / "tallyman").chmod(0o755)
    done = subprocess.run(
        [str(ROOT / "ci/pull-request.sh")],
        cwd=checkout,
        env={"PATH": f"{fake}:{os.environ['PATH']}", "IMAGE": "dev/a:`v1`", "TO": "prod"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout.count("`````") == 2
    assert "Why `dev/a:v1` → `prod`" in done.stdout


def test_no_input_of_the_action_is_pasted_into_a_script() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        assert "${{" not in step["run"]
    used = set(re.findall(r"inputs\.(\w+)", str(action["runs"])))
    assert used == set(action["inputs"])
    assert "ci/pull-request.sh" in str(action["runs"])


def test_the_step_for_gitlab_is_one_job_that_comments() -> None:
    jobs = yaml.safe_load((ROOT / "ci/gitlab.yml").read_text())
    assert list(jobs) == ["tallyman"]
    script = "\n".join(jobs["tallyman"]["script"])
    assert "ci/pull-request.sh" in script
    assert "merge_requests/$CI_MERGE_REQUEST_IID/notes" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_template_has_the_application_repositorys_metadata() -> None:
    metadata: dict[str, Any] = hub()["Metadata"]["AWS::ServerlessRepo::Application"]
    assert metadata["SemanticVersion"] == tallyman.__version__
    assert re.fullmatch(r"[A-Za-z0-9-]{1,140}", metadata["Name"])
    assert len(metadata["Description"]) <= 256
    assert len(metadata["Labels"]) <= 10
    assert all(re.fullmatch(r"[A-Za-z0-9+\-_:/@]{1,127}", label) for label in metadata["Labels"])
    for key in ("LicenseUrl", "ReadmeUrl"):
        assert (ROOT / metadata[key]).is_file()


def test_a_packaged_template_is_stored_under_its_version_with_a_launch_link(tmp_path: Path) -> None:
    packaged = tmp_path / "packaged.yaml"
    packaged.write_text("Resources: {}\n")
    with aws_mock.aws():
        s3 = aws_mock.client("s3")
        s3.create_bucket(Bucket="ours", CreateBucketConfiguration={"LocationConstraint": aws_mock.REGION})
        lines = publish("ours", packaged, botocore.session.get_session())
        key = f"tallyman/{tallyman.__version__}/template.yaml"
        assert s3.get_object(Bucket="ours", Key=key)["Body"].read() == packaged.read_bytes()
    template = f"https://ours.s3.{aws_mock.REGION}.amazonaws.com/{key}"
    assert lines[0] == f"template: {template}"
    assert lines[1] == f"launch: {launch_link(template, aws_mock.REGION)}"
    with pytest.raises(BadInput, match="is not there"):
        publish("ours", tmp_path / "nothing.yaml", None)


def test_a_launch_link_names_region_template_and_stack() -> None:
    assert launch_link("https://b.s3.us-east-2.amazonaws.com/t.yaml", "us-east-2") == (
        "https://console.aws.amazon.com/cloudformation/home?region=us-east-2#/stacks/quickcreate"
        "?templateURL=https%3A%2F%2Fb.s3.us-east-2.amazonaws.com%2Ft.yaml&stackName=tallyman"
    )


def test_the_commands_image_installs_locked_packages_and_runs_as_nobody() -> None:
    lines = (ROOT / "Dockerfile").read_text()
    assert "--require-hashes -r /src/requirements/cli.txt" in lines
    assert re.search(r"(?m)^USER 10001:10001$", lines)
    assert 'ENTRYPOINT ["tallyman"]' in lines
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in kept:
        assert (ROOT / name).exists(), name
    assert {"cli", "layers", "local", "pyproject.toml", "setup.py", "requirements/cli.txt"} <= set(kept)


@pytest.mark.docker
def test_the_commands_image_can_be_built_and_prints_its_version() -> None:
    """`TEST_BASE` names an existing base with Python 3.11 or later; otherwise Docker's own is pulled."""
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Docker engine that answers")
    base = os.environ.get("TEST_BASE", "python:3.13-slim")
    there = subprocess.run(["docker", "image", "inspect", base], capture_output=True, check=False).returncode == 0
    if not there and subprocess.run(["docker", "pull", "-q", base], capture_output=True, check=False).returncode:
        pytest.skip(f"no base: {base} can't be pulled here")
    build = ["docker", "build", "-q", "--network", "host", "--build-arg", f"BASE={base}", str(ROOT)]
    image = subprocess.run(build, capture_output=True, text=True, check=True).stdout.strip()
    said = subprocess.run(
        ["docker", "run", "--rm", image, "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert tallyman.__version__ in said
