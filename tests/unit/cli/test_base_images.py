"""What a build says of the image that its image stands on."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tallyman.domain.images.versions import parse_version
from tallyman_cli.build.building import Wanted
from tallyman_cli.build.checkout import Checkout
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
        ("FROM ${BASE:-debian}\n", None),
    ],
)
def test_the_base_is_what_the_last_stage_stands_on(dockerfile: str, base: Base | None) -> None:
    assert stands_on(dockerfile) == base


def test_it_is_said_with_its_digest_where_it_is_pinned_and_not_at_all_where_nobody_can_tell() -> None:
    assert of_base(Base("python:3.13", DIGEST)) == {NAME: "python:3.13", PIN: DIGEST}
    assert of_base(Base("python:3.13", None)) == {NAME: "python:3.13"}
    assert of_base(None) == {}


def test_labels_of_a_build_name_the_base_of_its_dockerfile(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM python:3.13@{DIGEST}\n")
    at = datetime(2026, 11, 16, tzinfo=UTC)
    commit = "3f2a91c" + "0" * 33
    version = parse_version("v1.0.0")
    assert version is not None
    checkout = Checkout(tmp_path, commit, "3f2a91c", at, version, None, "main", None, "Ana <a@b>")
    labels = Wanted(checkout, Suggestion("v1.0.0", ("v1.0.0",)), "rocketseat/widget-server").labels
    assert (labels[NAME], labels[PIN]) == ("python:3.13", DIGEST)
    (tmp_path / "Dockerfile").unlink()
    assert NAME not in Wanted(checkout, Suggestion("v1.0.0", ("v1.0.0",)), "rocketseat/widget-server").labels
