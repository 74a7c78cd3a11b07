"""`tallyman copy` between registries as a user runs it: its effects, output and exit status."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.images.builders import big_layer, image, index, multi_arch, sbom, signature
from support.servers.copy_cli import copied, holding, holds
from support.servers.oci import OciServer, Trouble, oci_server
from tallyman.adapters.oci.layout import LayoutStore
from tallyman.domain.locations import layout_at
from tallyman_cli.copy.copy import run

BUILT = multi_arch(attested=True)

source = holding(BUILT)
pytestmark = pytest.mark.usefixtures("home")


def test_an_image_goes_to_several_targets(
    source: OciServer, target: OciServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layout = f"oci:{tmp_path}/layout"
    places = [f"{target.host}/a/one", f"{target.host}/b/two:other", f"{layout}:v9"]
    done = copied(capsys, f"{source.host}/team/app:v1", *places)
    assert [t["verdict"] for t in done["targets"]] == ["done"] * 3
    assert done["images"] == [{"digest": BUILT.digest, "tag": "v1"}]
    assert done["bytes_read"] == sum(map(len, BUILT.blobs.values()))
    assert holds(target, "a/one", BUILT, "v1")
    assert holds(target, "b/two", BUILT, "other")
    assert LayoutStore().tags(layout_at(f"{tmp_path}/layout")) == {"v9": BUILT.digest}


def test_a_second_copy_makes_one_request_and_uploads_nothing(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [f"{source.host}/team/app:v1", f"{target.host}/team/app"]
    copied(capsys, *arguments)
    target.requests.clear()
    done = copied(capsys, *arguments)
    assert done["targets"][0]["uploaded"] == done["targets"][0]["pushed"] == []
    assert target.requests == [("GET", "/v2/team/app/manifests/v1")]


def test_a_copy_by_digest_sets_no_tag(source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]) -> None:
    copied(capsys, f"{source.host}/team/app@{BUILT.digest}", f"{target.host}/team/app")
    assert str(BUILT.digest) in target.repo("team/app").manifests
    assert target.repo("team/app").tags == {}


def test_all_tags_are_copied_and_then_only_changes(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    base = big_layer(30_000)
    builts = {f"v{n}": image(base, f"own {n}") for n in range(2, 12)}
    for tag, built in builts.items():
        source.push("team/app", built, tag)
    everything = ["--all-tags", f"{source.host}/team/app", f"{target.host}/team/app"]
    done = copied(capsys, *everything)
    assert done["listed"] == len(done["targets"][0]["tags"]) == 11
    assert all(holds(target, "team/app", built, tag) for tag, built in builts.items())
    assert source.count("GET", f"/blobs/{base.digest}") == 1
    source.push("team/app", image("new"), "v5")
    target.requests.clear()
    done = copied(capsys, *everything)
    assert [i["tag"] for i in done["images"]] == ["v5"]
    assert holds(target, "team/app", image("new"), "v5")


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_with_all_tags_a_failing_target_is_reported_and_the_others_are_served(
    source: OciServer, target: OciServer, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with oci_server() as bad:
        bad.on("GET", "/tags/list", Trouble(status=403), times=99)
        places = [f"{bad.host}/x/y", f"{target.host}/x/y"]
        done = copied(capsys, "--all-tags", *more, f"{source.host}/team/app", *places, status=1)
        assert {method for method, _ in bad.requests} == {"GET"}
    assert [t["verdict"] for t in done["targets"]] == ["failed", "done"]
    assert "403" in done["targets"][0]["error"]
    assert holds(target, "x/y", BUILT, "v1") is not bool(more)
    assert (done["targets"][1]["would_push"] is not None) is bool(more)


def test_a_dry_run_lists_what_would_be_pushed_and_changes_nothing(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    done = copied(capsys, "--dry-run", f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert done["targets"][0]["would_send"] == {str(d): len(raw) for d, raw in BUILT.blobs.items()}
    assert set(done["targets"][0]["would_push"]) == set(BUILT.manifests)
    assert {method for method, _ in target.requests} <= {"GET", "HEAD"}
    assert source.count("GET", "/blobs/") == 0


def test_an_existing_tag_is_kept_on_request(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    target.push("team/app", image("older"), "v1")
    arguments = [f"{source.host}/team/app:v1", f"{target.host}/team/app"]
    done = copied(capsys, "--keep-tags", *arguments, status=1)
    assert "to be kept" in done["targets"][0]["failed"]["v1"]
    assert target.repo("team/app").tags["v1"] == image("older").digest
    copied(capsys, *arguments)
    assert target.repo("team/app").tags["v1"] == BUILT.digest


def test_a_failing_target_is_reported_and_the_others_get_the_image(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    with oci_server() as bad:
        bad.on("POST", "/blobs/", Trouble(status=403), times=99)
        done = copied(capsys, f"{source.host}/team/app:v1", f"{bad.host}/x/y", f"{target.host}/x/y", status=1)
    assert [t["verdict"] for t in done["targets"]] == ["failed", "done"]
    assert "403" in done["targets"][0]["failed"]["v1"]
    assert holds(target, "x/y", BUILT, "v1")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["localhost:1/a/b", "localhost:1/c/d"], "give :TAG"),
        (["localhost:1/a/b:v1", "localhost:1/a/b:v1"], "source itself"),
        (["localhost:1/a/b:v1", "localhost:1/c/d@sha256:" + "0" * 64], "a target takes a tag"),
        (["--all-tags", "localhost:1/a/b:v1", "localhost:1/c/d"], "leave out :TAG"),
        (["localhost:1/A/b:v1", "localhost:1/c/d"], "not a repository"),
        (["nothing", "localhost:1/c/d"], "not an image"),
        (["oci:", "localhost:1/c/d"], "not a folder"),
    ],
)
def test_invalid_arguments_are_bad_input(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in copied(capsys, *arguments, status=2)["error"]


def test_a_missing_image_is_reported(source: OciServer, capsys: pytest.CaptureFixture[str]) -> None:
    done = copied(capsys, f"{source.host}/team/app:v404", "localhost:1/c/d", status=1)
    assert "is not there" in done["error"]


def test_without_json_the_copied_images_are_printed(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([f"{source.host}/team/app:v1", f"{target.host}/team/app"]) == 0
    said = capsys.readouterr()
    assert f"v1 {BUILT.digest}" in said.out
    assert f"{len(BUILT.manifests)} manifests" in said.out
    assert said.err == ""


def test_credentials_of_docker_login_are_used(
    source: OciServer,
    target: OciServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    helper.write_text('#!/bin/sh\ncat > /dev/null\necho \'{"Username": "helped", "Secret": "s3cret"}\'\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    auth = base64.b64encode(b"me:word").decode()
    config = {"auths": {source.host: {"auth": auth}}, "credHelpers": {target.host: "test"}}
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text(json.dumps(config))
    basic = (("Www-Authenticate", "Basic realm=x"),)
    source.on("GET", "/manifests/", Trouble(status=401, headers=basic))
    target.on("GET", "/manifests/", Trouble(status=401, headers=basic))
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app")
    assert f"Basic {auth}" in source.authorizations
    assert "Basic " + base64.b64encode(b"helped:s3cret").decode() in target.authorizations
    assert f"Basic {auth}" not in target.authorizations


def test_a_damaged_credentials_file_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker/config.json").write_text("{")
    with oci_server() as registry:
        registry.on("GET", "/manifests/", Trouble(status=401, headers=(("Www-Authenticate", "Basic realm=x"),)))
        done = copied(capsys, f"{registry.host}/a/b:v1", "localhost:1/c/d", status=2)
    assert "config.json" in done["error"]


@pytest.mark.skopeo
@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_skopeo_can_pull_the_copy(
    source: OciServer, target: OciServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(capsys, f"{source.host}/team/app:v1", f"{target.host}/team/app", f"oci:{tmp_path}/layout:v1")
    by_digest = f"docker://{target.host}/team/app@{BUILT.digest}"
    for address in (by_digest, f"oci:{tmp_path}/layout:v1"):
        raw = subprocess.run(
            ["skopeo", "inspect", "--raw", "--tls-verify=false", address], capture_output=True, check=True, timeout=60
        ).stdout
        assert "sha256:" + hashlib.sha256(raw).hexdigest() == BUILT.digest
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false"]
    subprocess.run([*copy, by_digest, f"dir:{tmp_path}/pulled"], check=True, timeout=60, capture_output=True)
    assert (tmp_path / "pulled/manifest.json").read_bytes() == BUILT.raw


def test_referrers_of_an_index_and_of_its_children_are_copied(
    source: OciServer, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    child = image("child", architecture="s390x")
    built = index(child, image("other"))
    for made in (signature(built), sbom(child)):
        source.push("team/app", made)
    source.push("team/app", built, "v2")
    copied(capsys, f"{source.host}/team/app:v2", f"{target.host}/team/app")
    for made in (built, signature(built), sbom(child)):
        assert all(str(d) in target.repo("team/app").manifests for d in made.manifests)
