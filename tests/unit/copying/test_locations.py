"""Locations and their repositories: three kinds, none of which is accepted as another."""

import pytest

from tallyman.adapters.oci.layout import LayoutStore
from tallyman.domain.locations import OciHost, OciLayout, OciRepository, layout_at, layout_path, repository_at
from tallyman.domain.names import Digest, EcrRegistry, Location, Repository, in_ecr
from tallyman.errors import BadName
from tallyman.state import uploads
from tallyman_cli.copy.address import parse

ECR = Repository(EcrRegistry("111111111111", "us-east-2"), "team/app")
HOST = repository_at("registry.test:5000", "team/app")
LAYOUT = layout_at("/srv/images/app")
DIGEST = Digest.of(b"")


@pytest.mark.parametrize(
    ("location", "written"),
    [
        (ECR, "111111111111/us-east-2/team/app"),
        (HOST, "registry.test:5000/team/app"),
        (LAYOUT, "oci:/srv/images/app"),
        (layout_at("/app"), "oci:/app"),
    ],
)
def test_each_location_has_its_text_form(location: Location, written: str) -> None:
    assert str(location) == written
    assert uploads.key(location, DIGEST) == (f"U#{written}", DIGEST)
    assert location.at("v1") == f"{location.registry.host}/{location.name}:v1"
    assert location.at(DIGEST) == f"{location.registry.host}/{location.name}@{DIGEST}"


def test_no_location_is_an_ecr_registry_with_an_empty_account() -> None:
    assert in_ecr(ECR.registry) is ECR.registry
    for location in (HOST, LAYOUT):
        with pytest.raises(TypeError, match="is not an ECR registry"):
            in_ecr(location.registry)
    assert OciRepository(OciHost("registry.test:5000"), "team/app") == HOST
    assert OciRepository(OciLayout("/srv/images"), "app") == LAYOUT
    assert len({ECR.registry, HOST.registry, LAYOUT.registry, OciHost("oci:/srv/images")}) == 4


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("registry.test:5000/team/app", "Registry.Test:5000/team/app", True),
        ("docker.io/alpine", "index.docker.io/library/alpine", True),
        ("docker.io/alpine", "Registry-1.Docker.IO/library/alpine", True),
        ("docker.io/alpine", "DOCKER.IO/alpine", True),
        ("222222222222.dkr.ecr.us-east-2.amazonaws.com/app", "222222222222.DKR.ecr.us-east-2.amazonAWS.com/app", True),
        ("registry.test/team/app", "registry.test:5000/team/app", False),
    ],
)
def test_two_spellings_of_a_host_are_one_registry(one: str, other: str, same: bool) -> None:
    """Otherwise blobs are not mounted, and an image is copied onto itself."""
    [first], [second] = (parse(text, refused).repositories for text in (one, other))
    assert (first == second, len({first, second}), first.registry == second.registry) == (same, 2 - same, same)


@pytest.mark.parametrize("location", [ECR, HOST])
def test_only_a_layout_is_read_from_a_folder(location: Location) -> None:
    with pytest.raises(TypeError, match="is not an OCI layout"):
        LayoutStore().manifests(location, [DIGEST])


@pytest.mark.parametrize(("path", "folder"), [("a", "./a"), ("/a", "/a"), ("/a/b/", "/a/b"), ("a/b", "a/b")])
def test_a_layout_uses_the_named_folder(path: str, folder: str) -> None:
    assert layout_path(layout_at(path)) == folder


@pytest.mark.parametrize("path", ["", "/", "a\0b"])
def test_a_missing_folder_name_is_refused(path: str) -> None:
    with pytest.raises(BadName, match="is not a folder"):
        layout_at(path)


@pytest.mark.parametrize(("host", "name"), [("a b", "app"), ("-a", "app"), ("a:x", "app"), ("a", "App"), ("a", "a//b")])
def test_a_missing_registry_or_repository_is_refused(host: str, name: str) -> None:
    with pytest.raises(BadName):
        repository_at(host, name)


def refused(text: str) -> None:
    raise AssertionError("no policy is needed")


@pytest.mark.parametrize(
    "text",
    [
        "oci://registry.test/team/app:v1",  # Helm's form: it would be a folder of this machine
        "https://registry.test/team/app:v1",
        "docker://docker.io/library/alpine:3",
    ],
)
def test_a_url_is_no_address(text: str) -> None:
    with pytest.raises(BadName, match="is a URL"):
        parse(text, in_policy=refused)


@pytest.mark.parametrize(
    "place", ["registry.test/team/app", "docker.io/alpine", "oci:images", f"{ECR.registry.host}/app"]
)
def test_an_empty_tag_is_no_tag(place: str) -> None:
    """As of a variable that is not set: the source's tag would be set instead."""
    assert parse(place, in_policy=refused).tag is None
    with pytest.raises(BadName):
        parse(f"{place}:", in_policy=refused)
