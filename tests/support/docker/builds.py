"""Builds of a checkout on this machine as CodeBuild runs them: buildspec.yml, a Docker engine, a local cloud."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from tools import codebuild

from support.stacks.deployed import Deployed
from support.stacks.templates import ROOT

NAME = "rocketseat/widget-server"


def git(folder: Path, *words: str, **environment: str) -> str:
    settings = ["-c", "user.name=Ana", "-c", "user.email=ana@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", folder, *settings, *words],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    return done.stdout.strip()


def variables(system: Deployed, work: Path, **more: str) -> dict[str, str]:
    """The environment variables of a build, and the commands that its image has."""
    programs = work / "bin"
    programs.mkdir(exist_ok=True)
    for name, target in {"tallyman": "-m tallyman_cli.start", "aws": str(ROOT / "tests/tools/aws_ecr.py")}.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {target} "$@"\n')
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(work),
        "PYTHONPATH": ":".join(str(ROOT / folder) for folder in ("layers/core/src", "cli", "local")),
        **system.cloud.environment(),
        "DOCKER_CONFIG": str(docker_config(work)),
        "IMAGE_REGISTRY": system.cloud.environment()["TALLYMAN_REGISTRY_DEV_1"],
        "IMAGE_REPOSITORY": NAME,
        "IMAGE_ENVIRONMENT": "dev",
        "BUILD_CACHE": "none",  # the base image is this machine's
        **more,
    }


def build(system: Deployed, folder: Path, work: Path, **more: str) -> codebuild.Outcome:
    work.mkdir(exist_ok=True)
    return codebuild.run(ROOT / "buildspec.yml", folder, variables(system, work, **more), work)


def log_in(env: dict[str, str]) -> None:
    """Log in as buildspec.yml does first."""
    script = (
        'aws ecr get-login-password --region "$AWS_REGION" '
        '| docker login --username AWS --password-stdin "$IMAGE_REGISTRY"'
    )
    subprocess.run(["bash", "-eo", "pipefail", "-c", script], env=env, check=True, capture_output=True)


def docker_config(work: Path) -> Path:
    """A Docker configuration without log-in and builder; with the buildx plugin if the person has it."""
    folder = work / "docker"
    (folder / "cli-plugins").mkdir(parents=True, exist_ok=True)
    link = folder / "cli-plugins/docker-buildx"
    if (plugin := buildx_plugin()) and not link.exists():
        link.symlink_to(plugin)
    return folder


@cache
def buildx_plugin() -> str | None:
    """The path of buildx; None if there is none."""
    plugins = _output("docker", "info", "--format", "{{json .ClientInfo.Plugins}}")
    return next((p["Path"] for p in json.loads(plugins or "null") or () if p["Name"] == "buildx"), None)


@cache
def separate_builder() -> str | None:
    """A running buildx builder with a separate BuildKit; None if there is none."""
    for line in (_output("docker", "buildx", "ls", "--format", "json") or "").splitlines():
        found = json.loads(line)
        if found["Driver"] != "docker" and any(node.get("Status") == "running" for node in found["Nodes"]):
            return str(found["Name"])
    return None


def _output(*command: str) -> str | None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else None
