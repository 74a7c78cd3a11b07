"""`--all-tags` and referrers that arrive later, for images that are already there; and the cost."""

import json
from typing import Any

import pytest

from support.images.builders import Built, image, index, sbom, signature
from support.servers.ecr import DEV, PROD, Served
from support.servers.oci import OciServer
from tallyman_cli.copy.copy import run

CHILD = image("child")
BUILTS = {"v0": index(CHILD, image("other", architecture="arm64")), "v1": image("1"), "v2": image("2")}

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def registries(source: OciServer, target: OciServer) -> tuple[OciServer, OciServer]:
    for server in (source, target):
        server.referrers_api = False
        for tag, built in BUILTS.items():
            server.push("team/app", built, tag)
    return source, target


def copied(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> dict[str, Any]:
    capsys.readouterr()
    found = run(["--all-tags", *arguments, "--json"])
    said = capsys.readouterr()
    assert found == status, said.err or said.out
    document: dict[str, Any] = json.loads(said.out)
    return document


def enter(server: OciServer, made: Built, subject: str, *before: Built) -> None:
    """Add a referrer as a client of a registry without the referrers API does."""
    server.push("team/app", made)
    kind = "application/vnd.oci.image.index.v1+json"
    entries = [{"mediaType": m.root.media_type, "digest": str(m.digest), "size": len(m.raw)} for m in (*before, made)]
    raw = json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": entries}).encode()
    server.repo("team/app").manifests[f"index-{subject}"] = raw, kind
    server.repo("team/app").tags[subject.replace(":", "-")] = f"index-{subject}"


@pytest.mark.parametrize("subject", [BUILTS["v1"], CHILD])
def test_between_ecrs_a_later_signature_is_copied_with_list_requests_only(
    ecr: Served, capsys: pytest.CaptureFixture[str], subject: Built
) -> None:
    for registry in (DEV, PROD):
        ecr.create(registry, "team/app")
        for tag, built in BUILTS.items():
            ecr.push(built, tag, registry, "team/app")
    everything = (f"{DEV.host}/team/app", f"{PROD.host}/team/app")
    ecr.push(signature(subject), None, DEV, "team/app")
    done = copied(capsys, *everything)
    assert done["images"] == [{"digest": subject.digest, "tag": None}]
    assert done["targets"][0]["pushed"] == [signature(subject).digest]
    ecr.trail.clear()
    assert copied(capsys, *everything)["images"] == []
    assert ecr.trail == []  # CloudTrail does not record list calls


@pytest.mark.parametrize("subject", [BUILTS["v1"], CHILD])
def test_a_later_signature_is_copied_by_its_fallback_tag(
    registries: tuple[OciServer, OciServer], capsys: pytest.CaptureFixture[str], subject: Built
) -> None:
    source, target = registries
    everything = (f"{source.host}/team/app", f"{target.host}/team/app")
    enter(source, signature(subject), subject.digest)
    done = copied(capsys, *everything)
    assert done["targets"][0]["pushed"] == [signature(subject).digest]
    enter(source, sbom(subject), subject.digest, signature(subject))
    done = copied(capsys, *everything)
    assert done["targets"][0]["pushed"] == [sbom(subject).digest]
    assert copied(capsys, *everything)["images"] == []


def test_referrers_of_an_image_without_a_tag_in_the_target_are_not_copied(
    registries: tuple[OciServer, OciServer], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = registries
    source.push("team/app", image("untagged"))
    enter(source, signature(image("untagged")), image("untagged").digest)
    assert copied(capsys, f"{source.host}/team/app", f"{target.host}/team/app")["images"] == []


def test_a_target_with_all_referrers_is_asked_once_per_subject(
    registries: tuple[OciServer, OciServer], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = registries
    target.referrers_api = True
    enter(source, signature(BUILTS["v1"]), BUILTS["v1"].digest)
    target.push("team/app", signature(BUILTS["v1"]))
    assert copied(capsys, f"{source.host}/team/app", f"{target.host}/team/app")["images"] == []
    assert target.count("GET", "/referrers/") == 1


def test_with_the_referrers_api_only_later_referrers_are_read_on_request(
    registries: tuple[OciServer, OciServer], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = registries
    source.referrers_api = target.referrers_api = True
    everything = (f"{source.host}/team/app", f"{target.host}/team/app")
    source.push("team/app", signature(CHILD))
    assert copied(capsys, *everything)["images"] == []
    for server in registries:
        assert server.count("GET", "/referrers/") == 0
        assert len(server.requests) == 1 + len(BUILTS)  # the list, and each tag
    done = copied(capsys, "--referrers", *everything)
    assert done["targets"][0]["pushed"] == [signature(CHILD).digest]
    assert set(done["targets"][0]["uploaded"]) == set(signature(CHILD).blobs) - set(CHILD.blobs)


def test_the_option_for_later_referrers_needs_all_tags(
    registries: tuple[OciServer, OciServer], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = registries
    assert run(["--referrers", f"{source.host}/team/app:v1", f"{target.host}/team/app"]) == 2
    assert "--all-tags" in capsys.readouterr().err
