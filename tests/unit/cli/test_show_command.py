"""`tallyman show`."""

from support.fakes.cli_stack import FakeStack
from support.images.builders import DEV, PROD, PROD_SA, attestation, image, index, multi_arch, referrer, sbom
from tallyman.errors import NotAllowed, Unreachable

NAME = "dev/rocketseat/widget-server"
KEYS = {"digest", "media_type", "size", "platforms", "tags", "registries", "verified", "scan", "promotions"}


def test_an_index_shows_its_platforms_without_attestations_and_the_sum_of_their_sizes(system: FakeStack) -> None:
    app = multi_arch(attested=True)
    system.push(app, "v1.0.0")
    found = system.json("show", f"{NAME}:v1.0.0")
    assert set(found) >= KEYS
    assert found["digest"] == app.digest
    assert found["media_type"] == "application/vnd.oci.image.index.v1+json"
    children = app.root.platform_children
    assert [(p["os"], p["architecture"], p["variant"], p["digest"]) for p in found["platforms"]] == [
        ("linux", "amd64", None, children[0].digest),
        ("linux", "arm64", None, children[1].digest),
    ]
    sizes = [app.manifests[c.digest].size for c in children]
    assert [p["size"] for p in found["platforms"]] == sizes
    assert found["size"] == sum(s or 0 for s in sizes)
    assert (found["tags"], found["registries"]) == (["v1.0.0"], [str(DEV.registry)])


def test_a_single_image_is_its_own_platform_as_its_configuration_says(system: FakeStack) -> None:
    app = image("one", architecture="arm64", variant="v8")
    system.push(app, "v1.0.0")
    found = system.json("show", f"{NAME}@{app.digest}")
    expected = {"os": "linux", "architecture": "arm64", "variant": "v8", "digest": app.digest, "size": app.root.size}
    assert found["platforms"] == [expected]
    assert found["size"] == app.root.size


def test_an_artifact_has_no_platforms(system: FakeStack) -> None:
    app = image("one")
    system.push(app, "v1.0.0")
    found = sbom(app)
    system.push(found, None)
    assert system.json("show", f"{NAME}@{found.digest}")["platforms"] == []
    alone = attestation(app)
    system.push(alone, None)
    assert system.json("show", f"{NAME}@{alone.digest}")["platforms"] == []


def test_all_keys_exist_even_without_data(system: FakeStack) -> None:
    app = image("one")
    system.push(app, "v1.0.0", with_events=False)
    found = system.json("show", f"{NAME}:v1.0.0")
    assert found["verified"] == {"verdict": None, "level": None, "at": None, "checks": []}
    assert found["scan"] == {"status": None, "counts": {}, "at": None, "platforms": []}
    assert found["promotions"] == []
    assert (found["tags"], found["registries"]) == (["v1.0.0"], [str(DEV.registry)])


def test_verification_and_scan_are_shown_with_their_checks_and_counts(system: FakeStack) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    system.scan(app, {"critical": 1, "low": 3})
    found = system.json("show", f"{NAME}:v1.0.0")
    assert found["verified"]["verdict"] == "passed"
    assert all(set(c) == {"name", "verdict", "reason"} for c in found["verified"]["checks"])
    assert found["scan"]["status"] == "complete"
    assert found["scan"]["counts"] == {"critical": 1, "low": 3}
    assert found["scan"]["at"] == "2026-11-16T01:54:34Z"
    assert [p["platform"] for p in found["scan"]["platforms"]] == ["linux/amd64", "linux/arm64"]
    (promotion,) = found["promotions"]
    assert (promotion["to"], promotion["verdict"], promotion["gate"]) == ("prod", "failed", "scan")


def test_an_index_with_one_platform_unscanned_is_not_scanned(system: FakeStack) -> None:
    amd, arm = image("a", architecture="amd64"), image("b", architecture="arm64")
    both = index(amd, arm)
    system.push(both, "v1.0.0")
    system.scan(amd)
    found = system.json("show", f"{NAME}:v1.0.0")["scan"]
    assert found["status"] is None
    assert [p["status"] for p in found["platforms"]] == ["complete", None]


def test_a_promoted_image_shows_every_registry_that_has_it(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    everywhere.scan(app)
    everywhere.work()
    for place in (PROD, PROD_SA):
        everywhere.push(app, "v1.0.0", place)
    found = everywhere.json("show", "prod[2]/rocketseat/widget-server:v1.0.0")
    assert set(found["registries"]) == {str(DEV.registry), str(PROD.registry), str(PROD_SA.registry)}
    (promotion,) = found["promotions"]
    assert (promotion["verdict"], promotion["tags"]) == ("promoted", ["v1.0.0"])


def test_an_unreadable_registry_is_shown_as_recorded(system: FakeStack) -> None:
    app = image("one", architecture="arm64")
    system.push(app, "v1.0.0")
    before = system.json("show", f"{NAME}:v1.0.0")
    for error in (NotAllowed("no role for you"), Unreachable("no answer")):
        system.registries.fail(DEV.registry, error)
        result = system.run("show", f"{NAME}:v1.0.0")
        assert result.exit_code == 0
        assert "as it was recorded" in result.stderr
        assert system.json("show", f"{NAME}:v1.0.0") == before
        system.registries.heal()


def test_a_removed_image_is_shown_without_registries(system: FakeStack) -> None:
    app = image("one")
    system.push(app, "v1.0.0")
    system.registries.delete(DEV, app.digest)
    from support.images.builders import delete_event

    system.clock.advance(minutes=1)
    system.service("record_push").handle(__import__("json").dumps(delete_event(DEV, app.digest, at=system.clock())))
    found = system.json("show", f"{NAME}@{app.digest}")
    assert (found["registries"], found["tags"]) == ([], [])
    assert found["media_type"] == app.media_type


def test_an_unknown_tag_exits_1_and_names_image_and_registry(system: FakeStack) -> None:
    result = system.run("show", f"{NAME}:v9")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "v9" in result.stderr
    assert str(DEV) in result.stderr
    assert "error" in system.json("show", f"{NAME}:v9", status=1)


def test_a_damaged_manifest_is_an_error_and_not_shown(system: FakeStack) -> None:
    app, other = image("one"), image("two")
    system.push(app, "v1.0.0")
    system.registries.held(DEV).manifests[app.digest] = other.root
    result = system.run("show", f"{NAME}:v1.0.0")
    assert result.exit_code == 1
    assert "damaged" in result.stderr


def test_the_text_names_platforms_sizes_registries_and_the_verdict(system: FakeStack) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    text = system.run("show", f"{NAME}:v1.0.0").stdout
    for word in (app.digest, "linux/amd64", "linux/arm64", "compressed", str(DEV.registry), "waiting", "v1.0.0"):
        assert word in text


def test_commit_build_and_person_are_shown_as_claimed_by_the_image(system: FakeStack) -> None:
    prefix = "org.opencontainers.image."
    app = image("told", annotations={f"{prefix}revision": "3f2a91c", f"{prefix}authors": "Ana\x1b[2J"})
    statement = referrer(
        app,
        "application/vnd.in-toto+json",
        annotations={
            "tallyman.build.id": "b:1",
            "tallyman.build.url": "https://ci/b:1",
            "tallyman.build.person": "ana",
        },
    )
    system.push(app, "v1.0.0")
    system.push(statement, None)
    built = system.json("show", f"{NAME}:v1.0.0")["built"]
    assert (built["commit"], built["source"], built["author"]) == ("3f2a91c", None, "Ana\x1b[2J")
    assert built["builds"] == [{"id": "b:1", "url": "https://ci/b:1", "person": "ana"}]
    shown = system.run("show", f"{NAME}:v1.0.0").stdout
    assert "build, it says" in shown
    assert "https://ci/b:1 for ana" in shown
    assert "\x1b" not in shown
    (row,) = system.json("history", f"{NAME}:v1.0.0")
    assert row["commit"] == "3f2a91c"


def test_show_reads_the_manifests_of_a_level_at_once_and_no_configuration_of_a_listed_platform(
    system: FakeStack,
) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    system.registries.requests.clear()
    system.json("show", f"{NAME}@{app.digest}")
    read = [call for call, _, _ in system.registries.requests if call in ("manifest", "manifests", "open_blob")]
    assert read == ["manifests", "manifests"]


def test_a_damaged_platform_or_configuration_is_an_error_and_not_shown(system: FakeStack) -> None:
    app, single = multi_arch(), image("one")
    system.push(app, "v1.0.0")
    system.push(single, "v1.1.0")
    held = system.registries.held(DEV)
    held.manifests[app.root.platform_children[0].digest] = single.root
    assert single.root.config is not None
    held.blobs[single.root.config.digest] = b"{}"
    for tag in ("v1.0.0", "v1.1.0"):
        result = system.run("show", f"{NAME}:{tag}")
        assert result.exit_code == 1
        assert "damaged" in result.stderr
