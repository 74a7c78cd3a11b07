"""buildspec.yml as CodeBuild runs it, with programs that only record their calls."""

from pathlib import Path

import pytest
from tools import codebuild

from support.stacks.templates import ROOT

PROGRAM = """#!/bin/sh
echo "$(basename "$0") ${BUILDX_BUILDER:+[$BUILDX_BUILDER] }$*" >>@CALLS@
case "$*" in
  "buildx create"*) @MAKE@ ;;
  build*) echo '{"digest": "sha256:1"}' ;;
esac
"""


def run(folder: Path, builder: str = "echo its-own", **variables: str) -> list[str]:
    """The calls of docker and tallyman, in order."""
    tools, source, work = folder / "tools", folder / "source", folder / "work"
    for each in (tools, source, work):
        each.mkdir()
    calls = folder / "calls"
    for name in ("docker", "tallyman", "aws"):
        (tools / name).write_text(PROGRAM.replace("@CALLS@", str(calls)).replace("@MAKE@", builder))
        (tools / name).chmod(0o755)
    settings = {
        "PATH": f"{tools}:/usr/bin:/bin",
        "AWS_REGION": "us-east-2",
        "IMAGE_REGISTRY": "registry.example",
        "IMAGE_REPOSITORY": "app",
    }
    outcome = codebuild.run(ROOT / "buildspec.yml", source, {**settings, **variables}, work)
    assert outcome.succeeded, outcome.log
    assert outcome.exported == {"IMAGE_DIGEST": "sha256:1"}
    return [line for line in calls.read_text().splitlines() if not line.startswith("aws")]


@pytest.mark.parametrize(
    ("step", "options"),
    [
        ("whole", "--cache app-parts"),
        ("part", "--cache app-parts --parts app-parts"),
        ("join", "--parts app-parts --join amd64,arm64"),
    ],
)
def test_builds_keep_their_cache_in_the_repository_of_the_platforms(tmp_path: Path, step: str, options: str) -> None:
    *_, build = run(tmp_path, BUILD_STEP=step)
    assert build == f"tallyman [its-own] build . --push --json --repository app --in dev {options}"


def test_without_a_cache_the_engines_own_builder_is_used(tmp_path: Path) -> None:
    calls = run(tmp_path, BUILD_CACHE="none")
    assert calls[-1] == "tallyman build . --push --json --repository app --in dev"
    assert not [call for call in calls if "buildx" in call]


def test_if_no_builder_can_be_created_the_build_continues(tmp_path: Path) -> None:
    calls = run(tmp_path, builder="exit 1")
    assert calls[-1].startswith("tallyman build . --push")
