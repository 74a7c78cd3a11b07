"""The content of the pages and of `--json`, on fakes: correct data, and the number of reads."""

import json
from collections import Counter

import pytest

from support.fakes.cli_stack import FakeStack
from support.images import signing
from support.images.builders import (
    DEV,
    Built,
    delete_event,
    image,
    index,
    layer,
    multi_arch,
    referrer,
    sbom,
    signature,
)
from tallyman.adapters.files.prices import load as load_prices
from tallyman.domain.history.facts import Via
from tallyman.domain.images.details import Finding, ScanReport
from tallyman.domain.retention import Reading
from tallyman.domain.usage import Use
from tallyman.state import sweeps
from tallyman.state.items import StateChange
from tallyman_cli.build.signing import BUNDLE
from tallyman_cli.shared import addresses
from tallyman_cli.views import board, cost, diff, find, health, listing, repository, why
from tallyman_cli.views import image as image_view

NAME = "rocketseat/widget-server"
PLACE = f"dev/{NAME}"


def named(system: FakeStack, text: str) -> addresses.Named:
    return addresses.anywhere(system.policy, text)


def test_the_board_shows_releases_pending_images_and_their_deciding_gates(everywhere: FakeStack) -> None:
    first, second = multi_arch("one"), multi_arch("two")
    everywhere.push(first, "v1.0.0")
    everywhere.scan(first)
    everywhere.work()
    everywhere.clock.advance(minutes=5)
    everywhere.push(second, "v1.1.0")
    everywhere.push(second, "latest")
    everywhere.scan(second, {"critical": 2})
    found = board.board(everywhere.stack)
    assert [e["name"] for e in found["environments"]] == ["dev", "prod"]
    (row,) = found["rows"]
    assert row["repository"] == NAME
    dev, prod = row["cells"]
    assert (dev["card"]["kind"], dev["card"]["digest"], dev["card"]["tags"]) == (
        "pushed",
        second.digest,
        ["v1.1.0", "latest"],
    )
    assert (prod["card"]["kind"], prod["card"]["digest"]) == ("release", first.digest)
    assert prod["card"]["registries"] == {"have": 2, "of": 2}
    assert not prod["card"]["differs"]
    (waits,) = prod["waiting"]
    assert (waits["digest"], waits["verdict"], waits["gate"]) == (second.digest, "failed", "scan")
    assert found["urgent"] == 1
    assert board.board(everywhere.stack, "no-such")["rows"] == []
    assert board.board(everywhere.stack, "rocket*", attention=True)["total"] == 1


def test_a_freeze_and_a_recall_show_on_the_board(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    everywhere.scan(app)
    everywhere.work()
    assert everywhere.run("freeze", "prod", "--because", "Friday").exit_code == 0
    assert everywhere.run("recall", f"{PLACE}@{app.digest}", "--because", "bad").exit_code == 0
    found = board.board(everywhere.stack)
    assert found["environments"][1]["frozen"]["because"] == "Friday"
    card = found["rows"][0]["cells"][1]["card"]
    assert card["recalled"]
    assert card["noncompliant"]


def test_a_repository_shows_its_images_newest_first_with_their_data(everywhere: FakeStack) -> None:
    first, second = multi_arch("one"), multi_arch("two")
    everywhere.push(first, "v1.0.0")
    everywhere.push(first, "latest")
    everywhere.scan(first)
    everywhere.work()
    then = everywhere.clock()
    everywhere.clock.advance(hours=1)
    everywhere.push(second, "v1.1.0")
    everywhere.push(second, "latest")
    everywhere.scan(second, {"high": 1, "critical": 2})
    found = repository.repository(everywhere.stack, named(everywhere, PLACE))
    new, old = found["images"]
    assert (new["digest"], new["tags"], new["former_tags"]) == (second.digest, ["v1.1.0", "latest"], [])
    assert (old["digest"], old["tags"], old["former_tags"]) == (first.digest, ["v1.0.0"], ["latest"])
    assert new["platforms"] == ["linux/amd64", "linux/arm64"]
    assert new["size"] == sum(second.manifests[c.digest].size or 0 for c in second.root.platform_children)
    assert new["verified"]["verdict"] == "passed"
    assert new["scan"] == {"status": "complete", "counts": {"critical": 2, "high": 1}}
    assert new["decisions"][0]["gate"] == "scan"
    assert old["released"] == ["prod"]
    assert old["decisions"][0]["verdict"] == "promoted"
    lanes = {lane["tag"]: lane["bars"] for lane in found["timeline"]["lanes"]}
    assert [bar["digest"] for bar in lanes["latest"]] == [first.digest, second.digest]
    assert lanes["latest"][0]["to"] == lanes["latest"][1]["from"]
    assert lanes["latest"][1]["moved"]
    past = repository.repository(everywhere.stack, named(everywhere, PLACE), at=then)
    (only,) = past["images"]
    assert (only["digest"], only["tags"]) == (first.digest, ["v1.0.0", "latest"])
    assert {e["environment"]: bool(e["release"]) for e in past["environments"]} == {"dev": False, "prod": True}


def test_an_image_shows_its_graph_layers_findings_places_and_costs(everywhere: FakeStack) -> None:
    base = layer("base")
    app = index(*(image(base, f"app {a}", architecture=a, labels={"<b>": "<script>"}) for a in ("amd64", "arm64")))
    other = index(*(image(base, f"new {a}", architecture=a) for a in ("amd64", "arm64")))
    everywhere.push(app, "v1.0.0")
    everywhere.push(signature(app), None)
    everywhere.push(other, "v1.1.0")
    for child in app.root.platform_children:
        finding = Finding("CVE-2026-1", "high", "openssl", fix=True)
        report = ScanReport("complete", {"high": 1}, (finding,), everywhere.clock())
        everywhere.service("record_scan").record(DEV, child.digest, report, Via.EVENT)
    everywhere.services.evaluator.digest(app.digest)
    found = image_view.image(everywhere.stack, named(everywhere, f"{PLACE}:v1.0.0"), app.digest, load_prices())
    assert found["graph"]["kind"] == "index"
    assert [c["platform"] for c in found["graph"]["children"]] == ["linux/amd64", "linux/arm64"]
    assert [r["kind"] for r in found["graph"]["referrers"]] == ["signature"]
    first = found["layers"][0]["layers"]
    assert first[0]["digest"] == base.digest
    assert first[0]["shared_with"] == ["v1.1.0"]
    assert first[1]["shared_with"] == []
    assert found["findings"] == [
        {
            "id": "CVE-2026-1",
            "severity": "high",
            "packages": ["openssl"],
            "fixable": True,
            "exploit": None,
            "platforms": ["linux/amd64", "linux/arm64"],
        }
    ]
    assert found["config"]["linux/amd64"]["labels"] == {"<b>": "<script>"}
    assert found["locations"][0]["environment"] == "dev"
    assert found["costs"][0]["registry"] == str(DEV.registry)


@pytest.mark.parametrize("app", [multi_arch(), image("one")], ids=["index", "image"])
def test_an_image_page_reads_each_manifest_once(system: FakeStack, app: Built) -> None:
    system.push(app, "v1.0.0")
    system.registries.requests.clear()
    image_view.image(system.stack, named(system, f"{PLACE}:v1.0.0"), app.digest, load_prices())
    asked = [call for call in system.registries.requests if call[0] in ("manifest", "manifests")]
    read = Counter(digest for _, _, which in asked for digest in ([which] if isinstance(which, str) else which))
    assert read == dict.fromkeys(app.manifests, 1)


def test_an_image_of_an_unreadable_registry_is_shown_from_the_archive(system: FakeStack) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    system.work()
    before = image_view.image(system.stack, named(system, f"{PLACE}:v1.0.0"), app.digest, load_prices())
    system.registries.fail(DEV.registry)
    found = image_view.image(system.stack, named(system, f"{PLACE}:v1.0.0"), app.digest, load_prices())
    assert (found["size"], found["platforms"], found["locations"]) == (
        before["size"],
        before["platforms"],
        before["locations"],
    )


def test_a_removed_image_is_shown_as_recorded(system: FakeStack) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    held = system.registries.held(DEV)
    held.manifests.clear()
    held.tags.clear()
    system.archive.objects.clear()
    found = image_view.image(system.stack, named(system, f"{PLACE}@{app.digest}"), app.digest, load_prices())
    assert "there is no image" in found["gone"]
    assert found["verified"]["verdict"] == "passed"
    assert found["history"][0]["tag"] == "v1.0.0"


def test_two_images_are_compared_by_layers_packages_configuration_and_size(system: FakeStack) -> None:
    base = layer("base")
    one = image(base, "app 1", labels={"version": "1", "old": "x"})
    two = image(base, "app 2, larger", labels={"version": "2"})
    for built, tag, packages in ((one, "v1.0.0", {"a": "1", "b": "1"}), (two, "v1.1.0", {"a": "2", "c": "1"})):
        system.push(built, tag)
        document = json.dumps({"packages": [{"name": n, "versionInfo": v} for n, v in packages.items()]})
        system.push(sbom(built, document), None)
    sides = [diff.Side.of(system.stack, t, DEV, b.digest) for t, b in (("one", one), ("two", two))]
    found = diff.diff(system.stack, *sides)
    (pair,) = found["each"]
    assert [each["digest"] for each in pair["layers"]["kept"]] == [base.digest]
    assert len(pair["layers"]["added"]) == len(pair["layers"]["removed"]) == 1
    assert pair["config"]["changed"] == {"label version": ["1", "2"]}
    assert pair["config"]["removed"] == {"label old": "x"}
    assert pair["packages"] == {"added": {"c": "1"}, "removed": {"b": "1"}, "changed": {"a": ["1", "2"]}}
    assert found["size"] == (two.root.size or 0) - (one.root.size or 0)
    assert found["findings"]["scanned"] == [False, False]


@pytest.mark.parametrize("noted", ["dev.sigstore.bundle.predicateType", "in-toto.io/predicate-type"])
@pytest.mark.parametrize("list_of", ["packages", "components", "artifacts"])
def test_the_packages_of_a_signed_sbom_are_compared(system: FakeStack, noted: str, list_of: str) -> None:
    key, kind = signing.new_key(), "https://spdx.dev/Document"
    sides = []
    for version in ("1", "2"):
        built = image(f"app {version}")
        system.push(built, f"v{version}.0.0")
        said = {list_of: [{"name": "openssl", "version": version}]}
        made = signing.bundle(signing.envelope(key, signing.statement(built.digest, kind, said)))
        system.push(referrer(built, BUNDLE, json.dumps(made), {noted: kind}), None)
        sides.append(diff.Side.of(system.stack, version, DEV, built.digest))
    (pair,) = diff.diff(system.stack, *sides)["each"]
    assert pair["packages"] == {"added": {}, "removed": {}, "changed": {"openssl": ["1", "2"]}}


def test_an_index_that_is_listed_many_times_is_shown_once(system: FakeStack) -> None:
    child = image("app")
    app = index(child)
    for _ in range(2):
        app = index(*[app] * 50)
    system.push(app, "v1.0.0")
    found = image_view.image(system.stack, named(system, f"{PLACE}:v1.0.0"), app.digest, load_prices())
    assert [platform["digest"] for platform in found["platforms"]] == [child.digest]
    first, second, *_ = found["graph"]["children"]
    assert first["children"][0]["children"][0]["digest"] == child.digest
    assert second["children"] == []
    assert len(json.dumps(found["graph"])) < 100_000


def test_an_sbom_nested_too_deep_counts_as_unreadable(system: FakeStack) -> None:
    built = image("one")
    system.push(built, "v1.0.0")
    system.push(sbom(built, "[" * 100_000), None)
    assert diff.Side.of(system.stack, "one", DEV, built.digest).packages(system.stack, built.digest) is None


@pytest.mark.parametrize(
    ("query", "because"),
    [
        ("CVE-2026-1", "CVE-2026-1 (high) in openssl"),
        ("openssl", "CVE-2026-1 (high) in openssl"),
        ("v1.0.0-abc1234", "its tag v1.0.0-abc1234"),
        ("abc1234", "its tag names the commit abc1234"),
        ("abc1234def567890abc1234def567890abc12345", "its tag names the commit abc1234"),
        ("v1.0*", "its tag v1.0.0-abc1234"),
    ],
)
def test_find_searches_findings_packages_commits_and_tags(everywhere: FakeStack, query: str, because: str) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0-abc1234")
    everywhere.push(multi_arch("other"), "v2.0.0")
    for child in app.root.platform_children:
        report = ScanReport("complete", {"high": 1}, (Finding("CVE-2026-1", "high", "openssl"),), everywhere.clock())
        everywhere.service("record_scan").record(DEV, child.digest, report, Via.EVENT)
    everywhere.services.evaluator.digest(app.digest)
    everywhere.work()
    found = find.find(everywhere.stack, query)
    assert {row["digest"] for row in found["images"]} == {app.digest}
    released, pushed = found["images"]
    assert (released["environment"], released["released"], len(released["registries"])) == ("prod", True, 2)
    assert (pushed["environment"], pushed["released"]) == ("dev", False)
    assert because in released["because"]


def test_find_accepts_digests_and_people(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    everywhere.scan(app)
    everywhere.work()
    assert everywhere.run("recall", f"{PLACE}@{app.digest}", "--because", "bad").exit_code == 0
    for query in (app.digest, app.digest[:19], app.digest[7:20], app.root.platform_children[0].digest):
        assert {row["digest"] for row in find.find(everywhere.stack, query)["images"]} == {app.digest}, query
    (prod, _) = find.find(everywhere.stack, "ana")["images"]
    assert prod["because"] == ["recalled by ana"]
    assert find.find(everywhere.stack, "nobody")["images"] == []


def test_a_finding_that_a_newer_scan_no_longer_has_is_not_found(system: FakeStack) -> None:
    app = image("app")
    system.push(app, "v1.0.0")
    report = ScanReport("complete", {"high": 1}, (Finding("CVE-2026-1", "high", "openssl"),), system.clock())
    system.service("record_scan").record(DEV, app.digest, report, Via.EVENT)
    assert find.find(system.stack, "CVE-2026-1")["images"]
    system.clock.advance(hours=1)
    system.scan(app)
    assert find.find(system.stack, "CVE-2026-1")["images"] == []


def test_why_shows_the_decision_of_another_policy(system: FakeStack) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    system.scan(app, {"critical": 1})
    assert why.why(system.stack, f"{PLACE}:v1.0.0", "prod")["verdict"] == "failed"
    lenient = system.policy.raw.decode().replace("critical: 0", "critical: 5")
    result = why.why(why.with_policy(system.stack, lenient), f"{PLACE}:v1.0.0", "prod")
    assert result["verdict"] == "waiting"
    assert next(g for g in result["gates"] if g["name"] == "scan")["verdict"] == "passed"


def test_before_the_first_sweep_counts_are_unknown_not_zero(everywhere: FakeStack) -> None:
    everywhere.push(multi_arch(), "v1.0.0")  # known by its event, before any sweep
    dev, prod = listing.environments(everywhere.stack)
    assert dev["repositories"] == 1
    assert (dev["images"], dev["bytes"]) == (None, None)
    everywhere.state.put(StateChange(*sweeps.key(DEV), 0, {"swept": "2026-11-16T00:00:00Z", "images": 3, "bytes": 5}))
    assert [e["images"] for e in listing.environments(everywhere.stack)] == [3, None if prod["repositories"] else 0]


def test_cost_and_lists_use_the_last_sweep(everywhere: FakeStack) -> None:
    everywhere.push(multi_arch(), "v1.0.0")
    data = {"swept": "2026-11-16T00:00:00Z", "images": 3, "bytes": 5_000_000_000}
    everywhere.state.put(StateChange(*sweeps.key(DEV), 0, data))
    found = cost.cost(everywhere.stack, load_prices())
    (row,) = found["repositories"]
    assert (row["repository"], row["environment"], row["bytes"]) == (NAME, "dev", 5_000_000_000)
    assert row["usd_per_month"] == pytest.approx(0.45)
    months = cost.cost(everywhere.stack, load_prices(), months=2)["repositories"][0]["months"]
    assert [m["at"] for m in months] == ["2026-10-01", "2026-11-01", "2026-11-16"]
    assert months[0]["bytes"] == 0
    assert months[2]["bytes"] > 0
    assert [e["environment"] for e in listing.environments(everywhere.stack)] == ["dev", "prod"]
    assert [r["repository"] for r in listing.repositories(everywhere.stack, "dev")] == [NAME]
    assert listing.images(everywhere.stack, DEV)[0]["tags"] == ["v1.0.0"]
    assert health.health(everywhere.stack, "tallyman", load_prices())["sweeps"]["repositories"] == 1


def test_a_removed_image_is_found_with_what_runs_it(system: FakeStack) -> None:
    built = image("one")
    system.push(built, "v1.0.0")
    system.registries.delete(DEV, built.digest)
    system.clock.advance(minutes=1)
    system.service("record_push").handle(json.dumps(delete_event(DEV, built.digest, at=system.clock())))
    address = f"{DEV.registry.host}/{DEV.name}@{built.digest}"
    use = Use("ecs task", "web", address, DEV.registry, DEV, digest=built.digest)
    readings = [Reading("ecs", DEV.registry, system.clock(), (use,))]
    (row,) = find.find(system.stack, built.digest, readings)["images"]
    assert (row["repository"], row["environment"], row["registries"]) == (NAME, None, [])
    assert row["running"] == [{"kind": "ecs task", "name": "web", "where": str(DEV.registry)}]
