"""Manifests by `/v2/`: required content, tags that move, tag and referrer lists, deletion."""

import json
from typing import Any

import pytest

from support.images.builders import foreign_layer, image, multi_arch, sbom, signature
from support.servers.ecr import NAME, Served, sha256
from support.servers.ecr_answers import NOWHERE, error

pytestmark = pytest.mark.usefixtures("repository")

V2 = f"/v2/{NAME}"


# -- manifests


def test_a_manifest_is_served_byte_by_byte_as_it_was_pushed(served: Served) -> None:
    app = image("app")
    served.push(app)
    spaced = json.dumps(json.loads(app.raw), indent=7).encode() + b"\n\n"
    answer = served.put(spaced, "v1", app.media_type)
    assert (answer.status, answer.headers["Docker-Content-Digest"]) == (201, sha256(spaced))
    got = served.send("GET", f"{V2}/manifests/v1")
    assert (got.data, got.headers["Content-Type"]) == (spaced, app.media_type)
    head = served.send("HEAD", f"{V2}/manifests/{sha256(spaced)}")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(spaced)))


def test_a_manifest_needs_its_layers(served: Served) -> None:
    app = image("app")
    assert app.root.config is not None
    missing = ", ".join(d for d in dict.fromkeys([app.root.config.digest, *(x.digest for x in app.root.layers)]))
    assert error(served.put(app.raw, "v1", app.media_type)) == (
        400,
        "MANIFEST_BLOB_UNKNOWN",
        f"Layers with digests '[{missing}]' required for pushing image into repository with name '{NAME}' in the "
        "registry with id '111111111111' do not exist",
    )


def test_layers_of_another_repository_do_not_count(served: Served) -> None:
    app = image("app")
    served.create(name="team/other")
    served.push(app, "v1", name="team/other")
    assert error(served.put(app.raw, "v1", app.media_type))[1] == "MANIFEST_BLOB_UNKNOWN"


def test_foreign_layers_may_be_missing(served: Served) -> None:
    windows = image(foreign_layer(), "app")
    foreign = {
        layer.digest for layer in windows.root.layers if "foreign" in layer.media_type or "nondist" in layer.media_type
    }
    assert foreign
    for digest, raw in windows.blobs.items():
        if digest not in foreign:
            served.upload(raw)
    assert served.put(windows.raw, "v1", windows.media_type).status == 201


def test_an_index_needs_its_children(served: Served) -> None:
    both = multi_arch()
    missing = ", ".join(d for d in both.manifests if d != both.digest)
    assert error(served.put(both.raw, "v1", both.media_type)) == (
        400,
        "MANIFEST_BLOB_UNKNOWN",
        f"Images with digests '[{missing}]' required for pushing image into repository with name '{NAME}' in the "
        "registry with id '111111111111' do not exist",
    )


def test_another_digest_in_the_url_is_refused(served: Served) -> None:
    app = image("app")
    served.push(app)
    assert error(served.put(app.raw, NOWHERE, app.media_type)) == (
        400,
        "MANIFEST_INVALID",
        f"The image with digest '{NOWHERE}' in repository '{NAME}' and registry ID '111111111111' does not match the "
        "image digest that Amazon ECR has calculated.",
    )


@pytest.mark.parametrize(
    ("mutability", "filters", "moves"),
    [
        ("MUTABLE", [], {"v1": True, "latest": True}),
        ("IMMUTABLE", [], {"v1": False, "latest": False}),
        ("IMMUTABLE_WITH_EXCLUSION", ["latest", "dev-*"], {"v1": False, "latest": True, "dev-7": True}),
        ("MUTABLE_WITH_EXCLUSION", ["v*"], {"v1": False, "latest": True}),
    ],
)
def test_a_tag_moves_only_where_it_is_mutable(
    served: Served, mutability: str, filters: list[str], moves: dict[str, bool]
) -> None:
    excluded = [{"filterType": "WILDCARD", "filter": text} for text in filters]
    exclusion: dict[str, Any] = {"imageTagMutabilityExclusionFilters": excluded} if excluded else {}
    served.create(
        name="team/app",
        imageTagMutability=mutability,
        **exclusion,
    )
    first, second = image("one"), image("two")
    for tag, moved in moves.items():
        served.push(first, tag, name="team/app")
        again = served.push(first, tag, name="team/app")
        answer = served.push(second, tag, name="team/app")
        if moved:
            assert (again.status, answer.status) == (201, 201)
            continue
        text = (
            f"The image tag '{tag}' already exists in the 'team/app' repository and cannot be overwritten because the "
        )
        assert error(again) == error(answer) == (400, "TAG_INVALID", text + "tag is immutable.")
        assert served.send("GET", f"/v2/team/app/manifests/{tag}").data == first.raw


def test_children_pushed_again_by_digest_do_not_conflict_with_immutable_tags(served: Served) -> None:
    served.create(name="team/app", imageTagMutability="IMMUTABLE")
    both = multi_arch()
    assert served.push(both, "v1", name="team/app").status == 201
    assert served.push(both, "v2", name="team/app").status == 201


# -- tags, referrers, deletion


def test_tags_are_paged_with_an_opaque_link(served: Served) -> None:
    app = image("app")
    served.push(app, "v0")
    for number in range(1, 105):
        served.put(app.raw, f"v{number}", app.media_type)
    path = f"{V2}/tags/list"
    seen: list[str] = []
    sizes: list[int] = []
    while path:
        answer = served.send("GET", path)
        page = json.loads(answer.data)["tags"]
        seen, sizes = seen + page, [*sizes, len(page)]
        path = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
    assert (sizes, set(seen)) == ([100, 5], {f"v{number}" for number in range(105)})


def test_referrers_are_found_by_subject_and_artifact_type(served: Served) -> None:
    app = image("app")
    signed, listed = signature(app), sbom(app)
    served.push(app, "v1")
    answer = served.push(signed)
    assert answer.headers["OCI-Subject"] == app.digest
    served.push(listed)
    found = served.send("GET", f"{V2}/referrers/{app.digest}")
    assert found.headers["Content-Type"] == "application/vnd.oci.image.index.v1+json"
    assert {d["digest"] for d in json.loads(found.data)["manifests"]} == {signed.digest, listed.digest}
    filtered = served.send("GET", f"{V2}/referrers/{app.digest}?artifactType=application/spdx%2Bjson")
    assert filtered.headers["OCI-Filters-Applied"] == "artifactType"
    (only,) = json.loads(filtered.data)["manifests"]
    assert (only["digest"], only["artifactType"], only["size"]) == (
        listed.digest,
        "application/spdx+json",
        len(listed.raw),
    )
    assert json.loads(served.send("GET", f"{V2}/referrers/{NOWHERE}").data)["manifests"] == []


def test_deleting_the_last_tag_deletes_the_image(served: Served) -> None:
    app = image("app")
    served.push(app, "v1")
    served.put(app.raw, "v2", app.media_type)
    assert served.send("DELETE", f"{V2}/manifests/v1").status == 202
    assert served.send("GET", f"{V2}/manifests/{app.digest}").status == 200
    assert served.send("DELETE", f"{V2}/manifests/v2").status == 202
    assert served.send("GET", f"{V2}/manifests/{app.digest}").status == 404


def test_a_child_cannot_be_deleted_before_its_index(served: Served) -> None:
    both = multi_arch()
    served.push(both, "v1")
    child = next(iter(both.manifests))
    status, code, text = error(served.send("DELETE", f"{V2}/manifests/{child}"))
    assert (status, code) == (405, "UNSUPPORTED")
    assert text == f"Requested image referenced by manifest list: [{both.digest}]"
    assert served.send("DELETE", f"{V2}/manifests/{both.digest}").status == 202
    assert served.send("DELETE", f"{V2}/manifests/{child}").status == 202
