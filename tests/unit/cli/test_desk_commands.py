"""`tallyman list`, `find`, `tree`, `diff`, `watch`, `cost`."""

import json

import pytest

from support.fakes.cli_stack import FakeStack
from support.images.builders import DEV, PROD, PROD_SA, image, multi_arch, referrer, signature
from tallyman.state import sweeps
from tallyman.state.items import StateChange

NAME = "rocketseat/widget-server"
PLACE = f"dev/{NAME}"


def released(system: FakeStack) -> None:
    """v1.0.0 in prod; v1.1.0, with findings, not."""
    first, second = multi_arch("one"), multi_arch("two")
    system.push(first, "v1.0.0")
    system.scan(first)
    system.work()
    system.clock.advance(minutes=1)
    system.push(second, "v1.1.0")
    system.scan(second, {"critical": 2})
    data = {"swept": "2026-11-16T00:00:00Z", "images": 6, "bytes": 5_000_000_000}
    system.state.put(StateChange(*sweeps.key(DEV), 0, data))


def test_list_names_environments_repositories_and_images(everywhere: FakeStack) -> None:
    released(everywhere)
    environments = everywhere.json("list")
    assert [(e["environment"], e["released"], e["waiting"]) for e in environments] == [("dev", 0, 0), ("prod", 1, 1)]
    (repository,) = everywhere.json("list", "prod")
    assert (repository["repository"], repository["release"]["tags"]) == (NAME, ["v1.0.0"])
    assert [row["tags"] for row in everywhere.json("list", PLACE)] == [["v1.1.0"], ["v1.0.0"]]
    assert len(everywhere.json("list", PLACE, "--untagged")) == 6
    assert "5.0 GB" in everywhere.run("list", "dev").stdout
    assert "v1.1.0" in everywhere.run("list", PLACE).stdout
    assert everywhere.run("list", "dev/rocketseat/other").exit_code == 1
    assert everywhere.run("list", "nowhere").exit_code == 2
    one = everywhere.run("list", f"{PLACE}:v1.1.0")
    assert (one.exit_code, one.stdout) == (2, "")
    assert "names an image" in one.stderr


def test_list_accepts_an_address_of_the_local_cloud(everywhere: FakeStack) -> None:
    released(everywhere)
    listed = everywhere.run("list", f"localhost:5101/{NAME}", TALLYMAN_REGISTRY_DEV_1="localhost:5101")
    assert listed.exit_code == 0, listed.output
    assert "v1.1.0" in listed.stdout


def test_find_lists_releases_first_and_exits_1_without_results(everywhere: FakeStack) -> None:
    released(everywhere)
    found = everywhere.json("find", "v1.0.0")
    assert set(found) >= {"query", "images"}
    keys = {"digest", "repository", "environment", "registries", "tags", "released", "running", "because"}
    assert all(set(row) == keys | {"ignored_by_vex"} for row in found["images"])
    assert [(row["environment"], row["released"]) for row in found["images"]] == [("prod", True), ("dev", False)]
    text = everywhere.run("find", "v1.0.0")
    assert text.exit_code == 0
    assert "its tag v1.0.0" in text.stdout
    assert everywhere.json("find", "CVE-1999-1", status=1)["images"] == []
    assert everywhere.run("find", " ").exit_code == 2
    assert "the names of repositories: tallyman list dev/rocketseat/widget" in everywhere.run("find", "widget").output
    assert "tallyman list" not in everywhere.run("find", "gadget").output


def test_tree_draws_index_platforms_and_referrers(everywhere: FakeStack) -> None:
    app = multi_arch(attested=True)
    everywhere.push(app, "v1.0.0")
    everywhere.push(signature(app), None)
    text = everywhere.run("tree", f"{PLACE}:v1.0.0")
    assert text.exit_code == 0, text.output
    lines = text.stdout.splitlines()
    assert lines[0].startswith(f"index  {app.digest}")
    words = [line.lstrip("│├└─ ").split()[0] for line in lines[1:]]
    assert words == ["image", "image", "attestation", "attestation", "signature"]
    assert lines[1].startswith("├─ image linux/amd64")
    assert lines[-1].startswith("└─ signature")
    assert everywhere.json("tree", f"{PLACE}:v1.0.0")["kind"] == "index"
    assert everywhere.run("tree", f"{PLACE}@sha256:{'0' * 64}").exit_code == 1


@pytest.mark.parametrize(
    ("predicate", "kind"),
    [
        ("https://spdx.dev/Document", "sbom"),
        ("https://cyclonedx.org/bom", "sbom"),
        ("https://slsa.dev/provenance/v1", "referrer"),
        ("https://sigstore.dev/cosign/sign/v1", "signature"),
        (None, "signature"),
    ],
)
def test_tree_names_a_signed_statement_by_what_it_states(system: FakeStack, predicate: str | None, kind: str) -> None:
    app = image("one")
    notes = {"dev.sigstore.bundle.predicateType": predicate} if predicate else {}
    system.push(app, "v1.0.0")
    system.push(referrer(app, "application/vnd.dev.sigstore.bundle.v0.3+json", annotations=notes), None)
    (found,) = system.json("tree", f"{PLACE}:v1.0.0")["referrers"]
    assert found["kind"] == kind


def test_diff_shows_changes_and_exits_1(system: FakeStack) -> None:
    system.push(image("base", "one", labels={"version": "1"}), "v1.0.0")
    system.push(image("base", "two", labels={"version": "2"}), "v1.1.0")
    text = system.run("diff", f"{PLACE}:v1.0.0", f"{PLACE}:v1.1.0")
    assert text.exit_code == 1
    assert "layers: 1 kept" in text.stdout
    assert [line.split() for line in text.stdout.splitlines() if "label version" in line] == [
        ["-", "setting", "label", "version", "1"],
        ["+", "setting", "label", "version", "2"],
    ]
    assert system.json("diff", f"{PLACE}:v1.0.0", f"{PLACE}:v1.1.0", status=1)["same"] is False
    same = system.run("diff", f"{PLACE}:v1.0.0", f"{PLACE}:v1.0.0")
    assert same.exit_code == 0
    assert "the same image" in same.stdout


def test_watch_follows_recorded_facts(everywhere: FakeStack) -> None:
    began = everywhere.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
    released(everywhere)
    text = everywhere.run("watch", "--since", began, "--for", "2")
    assert text.exit_code == 0, text.output
    lines = text.stdout.splitlines()
    assert any("pushed" in line and f"{PLACE}:v1.0.0" in line for line in lines)
    assert any("decided" in line and "failed (scan: " in line for line in lines)
    assert any("released" in line and f"prod/{NAME}:v1.0.0" in line for line in lines)
    assert len(lines) == len(set(lines))
    result = everywhere.run("watch", "--since", began, "--for", "0", "--json").stdout.splitlines()
    assert all(json.loads(line)["kind"] for line in result)
    assert len(result) == len(lines)
    every = everywhere.run("watch", "--since", began, "--for", "0", "--all").stdout.splitlines()
    assert len(every) > len(lines)
    for place in (PLACE, "dev/*", "WIDGET"):
        assert everywhere.run("watch", place, "--since", began, "--for", "0").stdout


def test_watch_names_the_registry_if_an_environment_has_several(everywhere: FakeStack) -> None:
    began = everywhere.clock().strftime("%Y-%m-%dT%H:%M:%SZ")
    app = multi_arch()
    for place in (DEV, PROD, PROD_SA):
        everywhere.push(app, "v1.0.0", place)
    pushed = {
        line.partition("pushed")[2].strip()
        for line in everywhere.run("watch", "--since", began, "--for", "0").stdout.splitlines()
        if " pushed " in line
    }
    assert pushed == {
        f"{PLACE}:v1.0.0",
        f"prod/{NAME}:v1.0.0 in {PROD.registry}",
        f"prod/{NAME}:v1.0.0 in {PROD_SA.registry}",
    }


def test_watch_of_a_missing_repository_ends_with_an_error(everywhere: FakeStack) -> None:
    wrong = everywhere.run("watch", "rocketseat/wigdet-server")
    assert wrong.exit_code == 1
    assert "no repository of dev, prod has 'rocketseat/wigdet-server' in its name" in wrong.stderr
    new = everywhere.run("watch", NAME, "--for", "0")  # it exists, and nothing was ever pushed to it
    assert (new.exit_code, new.stdout) == (0, "")


def test_watch_shows_new_facts(everywhere: FakeStack) -> None:
    app = multi_arch()
    sleep = everywhere.stack.sleep

    def push_then_sleep(seconds: float) -> None:
        if not everywhere.registries.held(DEV).tags:
            everywhere.push(app, "v1.0.0")
        sleep(seconds)

    everywhere.stack.sleep = push_then_sleep
    lines = everywhere.run("watch", "--for", "3").stdout.splitlines()
    assert [line for line in lines if "pushed" in line and "v1.0.0" in line]
    assert len(lines) == len(set(lines))


def test_cost_counts_by_environment_registry_and_repository(everywhere: FakeStack) -> None:
    released(everywhere)
    found = everywhere.json("cost", "--months", "1")
    assert found["usd_per_month"] == 0.45
    assert len(found["repositories"][0]["months"]) == 2
    text = everywhere.run("cost", "--months", "1")
    assert "0.45 USD a month in all" in text.stdout
    assert "2026-11-01" in text.stdout
    assert everywhere.json("cost", "nothing")["repositories"] == []
    nothing = everywhere.run("cost", "nothing")
    assert nothing.stdout.startswith("0.00 USD a month in all")  # no table, no blank lines
    assert nothing.stderr == "no repository's name contains or matches 'nothing'\n"
    assert everywhere.run("cost").stderr == ""


@pytest.mark.parametrize(
    ("since", "reason"),
    [
        ("9999-12-31T23:59:59Z", "is in the future"),
        ("0001-01-01", "at most 366 days ago"),  # a Query for each day since then
    ],
)
def test_watch_begins_within_the_last_year(everywhere: FakeStack, since: str, reason: str) -> None:
    result = everywhere.run("watch", "--since", since, "--for", "0")
    assert (result.exit_code, reason in result.stderr) == (2, True), result.output
