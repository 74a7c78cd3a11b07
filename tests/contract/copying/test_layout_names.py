"""OCI layouts as other tools write them, and the cost of reading a large one."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.images.builders import Built, image, index, sbom, signature
from support.images.layouts import REF_NAME, layout
from support.servers.copy_cli import copied, holds
from support.servers.oci import OciServer
from tallyman.adapters.files import reading
from tallyman.adapters.oci.layout import LayoutStore
from tallyman.domain.locations import layout_at
from tallyman.domain.names import Digest

pytestmark = pytest.mark.usefixtures("home")
ONE, TWO = image("one"), image("two")


@pytest.mark.parametrize(
    "name", ["v1", "docker.io/library/app:v1", "localhost:5000/team/app:v1", "app:v1", f"quay.io/a/b:v1@{ONE.digest}"]
)
def test_full_names_give_their_tag(
    name: str, tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    place = layout(tmp_path / "images", (ONE, name))
    copied(capsys, f"{place}:v1", f"{target.host}/one")
    copied(capsys, "--all-tags", place, f"{target.host}/all")
    assert holds(target, "one", ONE, "v1")
    assert holds(target, "all", ONE, "v1")


@pytest.mark.parametrize(
    "name",
    [
        "v1?x=y",
        "v1#x",
        "docker.io/app:v1?x",
        "a b:v1",
        "../../x/y",
        "docker.io/library/app",
        "",
        5,
        "\x1b[31mred",
        "x" * 200,
    ],
)
def test_names_without_a_tag_are_reported_and_the_others_copied(
    name: object, tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    place = layout(tmp_path / "images", (ONE, "v1"), (TWO, name))
    done = copied(capsys, "--all-tags", place, f"{target.host}/all", status=1)
    assert done["targets"][0]["tags"] == {"v1": ONE.digest}
    [(shown, why)] = done["targets"][0]["failed"].items()
    assert (shown + why).isprintable()
    assert not [path for _, path in target.requests if "?x" in path or ".." in path]


def test_a_tag_of_several_full_names_is_ambiguous(
    tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    place = layout(tmp_path / "images", (ONE, "a/x:v1"), (TWO, "b/y:v1"))
    done = copied(capsys, f"{place}:v1", f"{target.host}/one", status=2)
    assert "a/x:v1, b/y:v1" in done["error"]
    done = copied(capsys, "--all-tags", place, f"{target.host}/all", status=1)
    assert list(done["targets"][0]["failed"]) == ["v1"]
    copied(capsys, f"{place}@{TWO.digest}", f"{target.host}/one")


@pytest.mark.parametrize("every", [True, False])
def test_a_tag_of_several_full_names_may_be_set_in_a_target(
    every: bool, tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    target.push("one", ONE, "v1")
    place = layout(tmp_path / "images", (TWO, "a/x:v1"), (ONE, "b/y:v1"))
    source = f"{target.host}/one"
    for _ in range(2):
        copied(capsys, *(["--all-tags", source] if every else [f"{source}:v1"]), place)
    found = json.loads((tmp_path / "images/index.json").read_text())["manifests"]
    assert {entry["annotations"][REF_NAME]: entry["digest"] for entry in found} == {
        "a/x:v1": TWO.digest,
        "b/y:v1": ONE.digest,
        "v1": ONE.digest,
    }


def test_other_keys_of_index_json_are_kept(
    tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    target.push("one", ONE, "v1")
    place, path = layout(tmp_path / "images", (TWO, "v2")), tmp_path / "images/index.json"
    others = {"mediaType": "application/vnd.oci.image.index.v1+json", "annotations": {"built": "by another tool"}}
    path.write_text(json.dumps({**json.loads(path.read_text()), **others}))
    for tag in ("v1", "v3"):
        copied(capsys, f"{target.host}/one:v1", f"{place}:{tag}")
    found = json.loads(path.read_text())
    assert len(found.pop("manifests")) == 3
    assert found == {"schemaVersion": 2, **others}


def test_a_plain_tag_wins_over_full_names(
    tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    place = layout(tmp_path / "images", (ONE, "a/x:v1"), (TWO, "v1"))
    copied(capsys, f"{place}:v1", f"{target.host}/one")
    assert holds(target, "one", TWO, "v1")


@pytest.mark.parametrize("everything", [True, False])
def test_referrers_that_only_a_fallback_tag_lists_are_copied(
    everything: bool, tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """As regctl writes layouts."""
    signed, listed = signature(ONE), sbom(ONE)
    names = index(signed, sbom(ONE, "gone"))
    names = replace(names, manifests={signed.digest: signed.root, names.digest: names.root}, blobs=signed.blobs)
    place = layout(tmp_path / "images", (ONE, "v1"), (names, f"sha256-{ONE.digest.hex}"), (listed, None))
    copied(capsys, *(["--all-tags", place] if everything else [f"{place}:v1"]), f"{target.host}/one")
    assert holds(target, "one", ONE, "v1")
    assert {signed.digest, listed.digest} <= target.repo("one").manifests.keys()
    assert names.digest not in target.repo("one").manifests


@pytest.mark.parametrize("folder", ["job@2", "job@2/images", "a@b/c@d"])
@pytest.mark.parametrize("end", [":v1", f"@{ONE.digest}", f":v1@{ONE.digest}"])
def test_the_name_of_a_folder_may_hold_an_at_sign(
    folder: str, end: str, tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    place = layout(tmp_path / folder, (ONE, "v1"))
    copied(capsys, f"{place}{end}", f"{target.host}/one:v1")
    assert holds(target, "one", ONE, "v1")
    copied(capsys, f"{target.host}/one:v1", f"{place}-too:v2")
    assert copied(capsys, f"{place}@sha512:00", f"{target.host}/one:v1", status=2)["error"].endswith("digits")


def test_a_digest_of_another_algorithm_does_not_stop_the_others(
    tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    place = layout(tmp_path / "images", (ONE, "v1"), (TWO, "v2"))
    path = tmp_path / "images/index.json"
    path.write_text(path.read_text().replace(str(TWO.digest), "sha512:" + "0" * 128))
    done = copied(capsys, "--all-tags", place, f"{target.host}/all", status=1)
    assert done["targets"][0]["tags"] == {"v1": ONE.digest}
    assert list(done["targets"][0]["failed"]) == ["v2"]


@pytest.mark.parametrize("document", ['{"schemaVersion":2,"manifests":null}', '{"schemaVersion":2}'])
def test_a_new_layout_of_umoci_is_a_target(
    document: str, tmp_path: Path, target: OciServer, capsys: pytest.CaptureFixture[str]
) -> None:
    target.push("one", ONE, "v1")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/index.json").write_text(document)
    copied(capsys, "--all-tags", f"oci:{tmp_path}/images", f"{target.host}/none")
    copied(capsys, f"{target.host}/one:v1", f"oci:{tmp_path}/images")
    assert LayoutStore().tags(layout_at(f"{tmp_path}/images")) == {"v1": ONE.digest}


def test_a_too_deeply_nested_index_json_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "index.json").write_text("[" * 100_000)
    done = copied(capsys, f"oci:{tmp_path}:v1", "localhost:1/a/b", status=1)
    assert "too deep" in done["error"]


@pytest.mark.parametrize("tags", [100, 1000])
def test_the_cost_of_copying_a_layout_is_linear(
    tags: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [image(f"image {n}") for n in range(20)]
    named: list[tuple[Built, object]] = [(base[n % 20], None) for n in range(20)]
    named += [(signature(base[n % 20], f"signer {n}"), f"v{n}") for n in range(tags)]
    place = layout(tmp_path / "images", *named)
    reads: Counter[str] = Counter()
    plain, whole = LayoutStore._read, reading.read

    def read(self: LayoutStore, repository: Any, digest: Digest) -> bytes | None:
        reads["manifests"] += 1
        return plain(self, repository, digest)

    def read_file(path: Path, most: int) -> bytes:
        reads[path.name] += 1
        return whole(path, most)

    monkeypatch.setattr(LayoutStore, "_read", read)
    monkeypatch.setattr("tallyman.adapters.oci.layout.read", read_file)
    done = copied(capsys, "--all-tags", "--dry-run", place, f"oci:{tmp_path}/mirror")
    assert len(done["targets"][0]["would_push"]) == tags
    assert reads["manifests"] <= 3 * tags + 20  # once for its children, once to copy it, once at the target
    assert reads["index.json"] == 1
    if tags == 100:
        copied(capsys, "--all-tags", place, f"oci:{tmp_path}/mirror")
        assert LayoutStore().tags(layout_at(f"{tmp_path}/mirror")) == LayoutStore().tags(
            layout_at(f"{tmp_path}/images")
        )
