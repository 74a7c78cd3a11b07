"""Parts of a build: base images of a Dockerfile, CI variables, layers."""

import io
import tarfile
from pathlib import Path

import pytest

from support.docker import scripted_docker
from tallyman.errors import Refused
from tallyman_cli.build.dockerfile import base_alone, bases
from tallyman_cli.build.image_layers import settle_times, unpack
from tallyman_cli.build.invocation import here


@pytest.mark.parametrize(
    ("dockerfile", "alone"),
    [
        ("FROM debian:13\nRUN true\n", "FROM debian:13\n"),
        ("ARG V=13\nFROM debian:${V:-12} AS base\nARG X\n", "ARG V=13\nFROM debian:${V:-12}\n"),
        ("FROM golang AS build\nFROM debian AS Last\nFROM last\nCOPY --from=build /a /a\n", "FROM debian\n"),
        ("FROM --platform=$TARGETPLATFORM \\\n  debian:13\n", "FROM --platform=$TARGETPLATFORM debian:13\n"),
        ("# FROM nothing\nfrom scratch\nCOPY a /a\n", None),
        ("FROM golang AS build\nFROM scratch\nCOPY --from=build /a /a\n", None),
    ],
)
def test_the_base_image_of_the_last_stage(dockerfile: str, alone: str | None) -> None:
    assert base_alone(dockerfile) == alone


def test_a_stage_name_is_never_a_base_image() -> None:
    assert [base.image for base in bases("FROM debian:13 AS Build\nFROM build\n")] == ["debian:13"]


def test_the_run_details_of_each_ci() -> None:
    github = here(
        {
            "GITHUB_RUN_ID": "77",
            "GITHUB_RUN_ATTEMPT": "2",
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_REPOSITORY": "rocketseat/widgets",
            "GITHUB_ACTOR": "ana",
        }
    )
    assert (github.id, github.person) == ("77/attempts/2", "ana")
    assert github.url == "https://github.com/rocketseat/widgets/actions/runs/77/attempts/2"
    gitlab = here({"CI_JOB_ID": "9", "CI_JOB_URL": "https://gitlab.com/r/w/-/jobs/9", "GITLAB_USER_LOGIN": "ana"})
    assert (gitlab.id, gitlab.url, gitlab.person) == ("9", "https://gitlab.com/r/w/-/jobs/9", "ana")
    china = here({"CODEBUILD_BUILD_ID": "b:1", "CODEBUILD_BUILD_ARN": "arn:aws-cn:codebuild:cn-north-1:1:build/b:1"})
    assert (china.id, china.url, china.person) == ("b:1", None, None)
    nobody = here({})
    assert (nobody.id, nobody.annotations) == (None, {})


def test_an_unknown_layer_compression_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="zstd"):
        unpack(io.BytesIO(b"\x28\xb5\x2f\xfd and more"), tmp_path / "layer.tar")


def test_all_entries_of_a_layer_get_one_time_and_keep_their_other_metadata(tmp_path: Path) -> None:
    plain = tmp_path / "layer.tar"
    with tarfile.open(plain, "w", format=tarfile.PAX_FORMAT) as archive:
        entry = tarfile.TarInfo("bin/ping")
        entry.size, entry.mtime, entry.mode = 2, 1_700_000_000.25, 0o4755
        entry.pax_headers = {"SCHILY.xattr.security.capability": "cap", "atime": "1.5"}
        archive.addfile(entry, io.BytesIO(b"hi"))
        link = tarfile.TarInfo("bin/ping6")
        link.type, link.linkname = tarfile.SYMTYPE, "ping"
        archive.addfile(link)
    settle_times(plain, 99)
    with tarfile.open(plain) as archive:
        file, other = archive.getmembers()
        assert (file.mtime, file.mode, other.mtime, other.linkname) == (99, 0o4755, 99, "ping")
        assert file.pax_headers == {"SCHILY.xattr.security.capability": "cap"}


def test_the_scripted_base_is_newer_than_any_commit() -> None:
    """Otherwise its tests could not distinguish a layer that keeps its bytes from a rewritten one."""
    with tarfile.open(fileobj=io.BytesIO(scripted_docker.BASE)) as archive:
        assert archive.getmembers()[0].mtime > 3_000_000_000
