"""What a build says about its base image."""

from pathlib import Path

import pytest

from support.docker.builds import git
from tallyman_cli.build.building import Wanted
from tallyman_cli.build.checkout import read
from tallyman_cli.build.dockerfile import Base, stands_on
from tallyman_cli.build.statements import of_base
from tallyman_cli.build.tagging import Suggestion

DIGEST = "sha256:" + "1" * 64
NAME, PIN = "org.opencontainers.image.base.name", "org.opencontainers.image.base.digest"


@pytest.mark.parametrize(
    ("dockerfile", "base"),
    [
        (f"FROM python:3.13@{DIGEST}\nCOPY . .\n", Base("python:3.13", DIGEST)),
        ("FROM scratch\nCOPY app /\n", Base("scratch", None)),
        ("ARG BASE=debian:13\nFROM ${BASE} AS build\nFROM alpine\nCOPY --from=build /a /a\n", Base("alpine", None)),
        ("FROM golang:1.24 AS build\nFROM build\n", Base("golang:1.24", None)),
        ("FROM --platform=$BUILDPLATFORM node:22\n", Base("node:22", None)),
        ("ARG BASE\nFROM $BASE\n", None),
        ("FROM ${BASE:-debian}\n", Base("debian", None)),
    ],
)
def test_the_base_is_that_of_the_last_stage(dockerfile: str, base: Base | None) -> None:
    assert stands_on(dockerfile) == base


def test_a_pinned_base_is_shown_with_its_digest_and_an_unknown_one_not_at_all() -> None:
    assert of_base(Base("python:3.13", DIGEST)) == {NAME: "python:3.13", PIN: DIGEST}
    assert of_base(Base("python:3.13", None)) == {NAME: "python:3.13"}
    assert of_base(None) == {}


def test_labels_of_a_build_name_the_base_of_its_dockerfile(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM python:3.13@{DIGEST}\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    labels = Wanted(read(tmp_path), Suggestion("v1.0.0", ("v1.0.0",)), "rocketseat/widget-server").labels
    assert (labels[NAME], labels[PIN]) == ("python:3.13", DIGEST)
    git(tmp_path, "rm", "-q", "Dockerfile")
    git(tmp_path, "commit", "-qm", "two", "--allow-empty")
    assert NAME not in Wanted(read(tmp_path), Suggestion("v1.0.0", ("v1.0.0",)), "rocketseat/widget-server").labels
