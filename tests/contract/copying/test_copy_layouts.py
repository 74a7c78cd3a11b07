"""`tallyman copy` from and to OCI layouts: folders written by us and by skopeo."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support.images.builders import multi_arch, signature
from support.servers.copy_cli import copied, holding, holds
from support.servers.oci import OciServer, oci_server

BUILT = multi_arch(attested=True)

source = holding(BUILT)
pytestmark = pytest.mark.usefixtures("home")


def test_a_copy_to_a_layout_and_back_is_identical(
    source: OciServer, target: OciServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = signature(BUILT)
    source.push("team/app", signed)
    layout = f"oci:{tmp_path}/images:v1"
    copied(capsys, f"{source.host}/team/app:v1", layout)
    copied(capsys, layout, f"{target.host}/back")
    assert holds(target, "back", BUILT, "v1")
    assert str(signed.digest) in target.repo("back").manifests
    entries = json.loads((tmp_path / "images/index.json").read_text())["manifests"]
    assert {e["digest"] for e in entries} == {BUILT.digest, signed.digest}


@pytest.mark.skopeo
@pytest.mark.skipif(not shutil.which("skopeo"), reason="skopeo is not installed")
def test_a_layout_of_skopeo_is_copied(tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]) -> None:
    with oci_server() as first:
        first.push("team/app", BUILT, "v1")
        copy = ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false"]
        where = f"oci:{tmp_path}/from-skopeo:v1"
        subprocess.run(
            [*copy, f"docker://{first.host}/team/app:v1", where], check=True, timeout=60, capture_output=True
        )
    copied(capsys, where, f"{target.host}/team/app")
    assert holds(target, "team/app", BUILT, "v1")


def test_an_entry_missing_from_the_layouts_index_is_added_by_the_next_copy(
    source: OciServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signed = signature(BUILT)
    source.push("team/app", signed)
    arguments = [f"{source.host}/team/app@{BUILT.digest}", f"oci:{tmp_path}/images"]
    copied(capsys, *arguments)
    listed = tmp_path / "images/index.json"
    whole = listed.read_bytes()
    assert {e["digest"] for e in json.loads(whole)["manifests"]} == {BUILT.digest, signed.digest}
    listed.unlink()  # a copy died after it wrote the manifests and before it listed them in the index
    done = copied(capsys, *arguments)
    assert listed.read_bytes() == whole
    assert done["targets"][0]["uploaded"] == []
    assert copied(capsys, *arguments)["targets"][0]["pushed"] == []
