"""One repository per application, and base images: the check's verdict, from tags and images."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.fakes.cli_stack import FakeStack
from support.images import builders as b
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.names import Digest, Repository
from tallyman.domain.times import format_time
from tallyman.state import sweeps
from tallyman.state import tags as tag_items
from tallyman.state.items import StateChange
from tallyman_cli.doctor.content_checks import Contents
from tallyman_cli.doctor.contents import Held, applications, bases, host
from tallyman_cli.doctor.finding import Finding, Site

START = datetime(2026, 11, 1, tzinfo=UTC)
APP = "https://github.com/rocketseat/widget-server"
OWN = "111111111111.dkr.ecr.us-east-2.amazonaws.com"


def held(*tags: str, day: int = 0, **said: str) -> Held:
    return Held(Digest.of(f"{tags} {day}".encode()), tags, START + timedelta(days=day), said)


@pytest.mark.parametrize(
    "tags",
    [
        ["v1.0.0", "v1.1.0", "1.2.0", "latest"],
        ["v1.0.0-abc1234", "main-abc1234", "main", "feature-login-1.2.0", "release-1.2.0", "rc-1.3.0"],
        ["alpine-1.2.0", "slim-1.2.0", "1.2.0"],
        ["linux-amd64-1.2.0", "linux-arm64-1.2.0"],
        ["widget-server-1.2.0", "widget-server-1.3.0", "dev-1.3.0", "prod-1.2.0"],
        ["api-stable", "web-stable"],  # not versions: words, but not applications
        ["2026.11.16", "sha-3f2a91c", "1.2.0-api", "1.2.0-web"],
        ["blue-1.2.0", "canary-1.2.0"],
    ],
)
def test_a_plain_repository_has_no_warning(tags: list[str]) -> None:
    assert applications([held(tag, day=n) for n, tag in enumerate(tags)], {"dev", "blue"}) == []


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        (["api-1.2.0", "web-1.2.0"], ["api", "web"]),
        (["API_v1.2.0", "web.2.0.0-rc1", "v1.0.0"], ["api", "web"]),
        (["widget-server-1.0.0", "widget-worker-1.0.0"], ["widget-server", "widget-worker"]),
        (["api-release-1.0.0", "web-amd64-1.0.0"], ["api", "web"]),
    ],
)
def test_versions_of_different_names_are_several_applications(tags: list[str], names: list[str]) -> None:
    assert applications([held(tag) for tag in tags]) == names


def test_images_of_one_title_are_variants_of_one_application() -> None:
    assert applications([held("full-1.0.0", title="Widget"), held("lite-1.0.0", title="Widget")]) == []
    assert applications([held("api-1.0.0", title="Api"), held("web-1.0.0", title="Web")]) == ["api", "web"]


def test_alternating_sources_are_several_applications_and_consecutive_ones_are_a_move() -> None:
    other = "git@github.com:rocketseat/gateway.git"
    moved = [held(f"v1.{n}.0", day=n, source=APP if n < 3 else other) for n in range(6)]
    assert applications(moved) == []
    mixed = [held(f"v1.{n}.0", day=n, source=APP if n % 2 else other) for n in range(4)]
    assert applications(mixed) == ["gateway", "widget-server"]


def test_forks_and_spellings_of_one_source_are_one() -> None:
    spellings = [APP, f"{APP}.git", "git@github.com:ana/widget-server.git", f"{APP}/#readme", APP.upper()]
    images = [held(f"v1.{n}.0", day=n, source=spellings[n % len(spellings)]) for n in range(10)]
    assert applications(images) == []


def test_base_images_are_counted_and_external_unknown_or_unpinned_ones_reported() -> None:
    python: dict[str, Any] = {"base.name": f"{OWN}/base/python:3.13", "base.digest": "sha256:" + "1" * 64}
    slim: dict[str, Any] = {"base.name": "python:3.13-slim"}
    scratch: dict[str, Any] = {"base.name": "scratch"}
    images = [held("1", **python), held("2", **python), held("3", **slim), held("4")]
    images.append(held("5", **scratch))
    found = bases(images, {OWN})
    assert found.counts == {f"{OWN}/base/python:3.13": 2, "python:3.13-slim": 1, "scratch": 1}
    assert (found.outside, found.unreported, found.unpinned) == (("python:3.13-slim",), 1, ("python:3.13-slim",))


@pytest.mark.parametrize(
    ("name", "registry"),
    [
        ("python:3.13", "docker.io"),
        ("library/python", "docker.io"),
        ("localhost:5101/base/python", "localhost:5101"),
        ("localhost/base", "localhost"),
        ("quay.io/a/b:1", "quay.io"),
        (f"{OWN}/base", OWN),
    ],
)
def test_the_registry_of_a_name_is_the_one_that_docker_would_ask(name: str, registry: str) -> None:
    assert host(name) == registry


# --- from the ledger


def recorded(
    system: FakeStack, place: Repository, tag: str, day: int, platforms: int = 1, **said: dict[str, str]
) -> Digest:
    """An image with a tag, and facts about it."""
    at, digest = START + timedelta(days=day), b.digest_of(f"{tag} {day}")
    if system.state.get(sweeps.PARTITION, str(place)) is None:
        system.state.put(StateChange(sweeps.PARTITION, str(place), 0, {"images": 1}))
    system.state.put(StateChange(tag_items.partition(place), tag, 0, {"digest": digest, "at": format_time(at)}))
    for kind, key in ((Kind.PUSHED, "built"), (Kind.VERIFIED, "labels")):
        detail = {key: said.get(key, {}), "verdict": "passed", "platforms": [{"os": "linux"}] * platforms}
        fact = Fact(kind, fact_id(kind, place, tag), at, at, Via.EVENT, digest, place, tag, detail=detail)
        system.ledger.append(fact)
    return digest


def contents(system: FakeStack) -> tuple[list[Finding], list[Finding]]:
    found = Contents(Site(system.stack, "tallyman", lambda service, region: None))
    return list(found.applications()), list(found.base_images())


def test_annotations_win_over_labels_which_may_be_the_bases(system: FakeStack) -> None:
    labels = {"base.name": "debian:13"}
    recorded(
        system, b.DEV, "v1.0.0", 1, labels=labels, built={"base.name": f"{OWN}/base/python:3", "base.digest": "sha256"}
    )
    _, (finding,) = contents(system)
    assert (finding.verdict, finding.todo) == ("ok", None)
    assert finding.found == f"rocketseat/widget-server: builds on {OWN}/base/python:3 (1)"


def test_images_with_an_unknown_or_external_base_get_a_warning(system: FakeStack) -> None:
    recorded(system, b.DEV, "v1.0.0", 1)
    recorded(system, b.DEV, "v1.1.0", 2, labels={"base.name": "python:3.13", "base.digest": "sha256:1"})
    (one,), (finding,) = contents(system)
    assert (one.verdict, one.found) == ("ok", "1 repository holds one application")
    assert finding.verdict == "warning"
    assert "from other registries: python:3.13" in finding.found
    assert "1 of the 2 newest images names no base image" in finding.found
    assert "tallyman copy" in str(finding.todo)
    assert "tallyman build" in str(finding.todo)


def test_a_central_base_image_may_come_from_outside_itself(system: FakeStack) -> None:
    base = Repository(b.DEV.registry, "base/python")
    recorded(system, base, "3.13", 1, labels={"base.name": "debian:13"})
    recorded(
        system, b.DEV, "v1.0.0", 2, built={"base.name": f"{base.registry.host}/base/python:3.13", "base.digest": "x"}
    )
    _, found = contents(system)
    assert [(f.verdict, f.found.partition(":")[0]) for f in found] == [
        ("ok", "base/python"),
        ("ok", "rocketseat/widget-server"),
    ]


def test_one_name_in_several_registries_counts_once_and_artifacts_do_not_count(system: FakeStack) -> None:
    for place in (b.DEV, b.PROD, b.PROD_SA):
        recorded(system, place, "v1.0.0", 1)
    recorded(system, b.DEV, "api-1.0.0", 1, platforms=0)  # a chart
    recorded(system, b.DEV, "web-1.0.0", 1, platforms=0)
    (one,), (finding,) = contents(system)
    assert one.verdict == "ok"
    assert "1 of the 1 newest images" in finding.found


def test_a_builds_cache_repository_is_no_application(system: FakeStack) -> None:
    recorded(system, b.DEV, "v1.0.0", 1)
    recorded(system, Repository(b.DEV.registry, f"{b.DEV.name}-parts"), "3f2a91c-amd64", 1)
    recorded(system, Repository(b.DEV.registry, "spare-parts"), "v1.0.0", 1)
    _, found = contents(system)
    assert [f.found.partition(":")[0] for f in found] == [b.DEV.name, "spare-parts"]


def test_several_applications_are_named(system: FakeStack) -> None:
    recorded(system, b.DEV, "api-1.0.0", 1)
    recorded(system, b.DEV, "web-1.0.0", 2)
    (finding,), _ = contents(system)
    assert finding.verdict == "warning"
    assert finding.found == "rocketseat/widget-server: evidently holds several applications: api, web"


def test_without_images_no_check_is_ok(system: FakeStack) -> None:
    (finding,), found = contents(system)
    assert (finding.verdict, found) == ("unknown", [])
