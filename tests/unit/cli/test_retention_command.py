"""`tallyman retention plan` and `apply`: output, effects, exit status."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.fakes.cli_stack import FakeStack
from support.fakes.retention_commands import REPOSITORY, RetentionCliStack
from support.images.builders import DEV, PROD, image, multi_arch
from tallyman.adapters.files.prices import load
from tallyman.errors import BadInput

IMAGE_KEYS = {"digest", "tags", "kind", "family", "pushed_at", "size", "action", "reason", "protections"}
RUN_KEYS = {
    "repository",
    "acted",
    "at",
    "request",
    "outcome",
    "marked",
    "unmarked",
    "waiting",
    "removed",
    "failed",
    "refused",
}


@pytest.fixture
def retention_stack(everywhere: FakeStack) -> RetentionCliStack:
    return RetentionCliStack(everywhere)


def test_a_plan_is_a_table_of_removals_reasons_and_savings(retention_stack: RetentionCliStack) -> None:
    old, *kept = retention_stack.versions(3)
    result = retention_stack.system.run("retention", "plan", REPOSITORY)
    assert result.exit_code == 0, result.output
    head, *rows, total = result.stdout.splitlines()
    assert head.split() == ["tags", "digest", "kind", "age", "size", "action", "reason"]
    assert [row.split()[:2] for row in rows] == [["v1.2.0", kept[1]], ["v1.1.0", kept[0]], ["v1.0.0", old]]
    assert rows[-1].split()[3] == "3d"
    assert rows[-1].split(maxsplit=6)[-1] == "remove  no keep rule names any of its tags"
    assert total.startswith(f"{DEV}: 1 of 3 images would go")
    assert "USD a month less" in total
    assert "a plan only" not in total


def test_a_plan_of_a_policy_that_does_not_enforce_says_so(retention_stack: RetentionCliStack) -> None:
    retention_stack.policy("{keep: [{newest: 2, of: semver}]}")
    retention_stack.versions(3)
    assert (
        "a plan only: the policy does not enforce it"
        in retention_stack.system.run("retention", "plan", REPOSITORY).stdout
    )
    assert retention_stack.system.json("retention", "plan", REPOSITORY)["enforced"] is False


def test_a_plan_as_json_has_the_keys_that_others_rely_on(retention_stack: RetentionCliStack) -> None:
    old, *_ = retention_stack.versions(3)
    found = retention_stack.system.json("retention", "plan", REPOSITORY)
    assert set(found) == {
        "repository", "policy", "images", "freed_bytes", "refused", "saves", "enforced"
    }  # fmt: skip
    assert (found["repository"], found["policy"], found["refused"]) == (
        str(DEV),
        retention_stack.system.policy.digest,
        None,
    )
    assert all(set(image) == IMAGE_KEYS for image in found["images"])
    assert [(i["tags"], i["action"]) for i in found["images"]] == [
        (["v1.2.0"], "keep"),
        (["v1.1.0"], "keep"),
        (["v1.0.0"], "remove"),
    ]
    gone = found["images"][-1]
    assert (gone["digest"], gone["family"], gone["kind"], gone["protections"]) == (old, old, "image", [])
    assert gone["pushed_at"].endswith("Z")
    assert found["freed_bytes"] > 0
    assert set(found["saves"]) == {"registry", "usd_per_month", "usd_per_gb_month", "date", "source"}


def test_children_name_their_index_and_protections_have_a_name_and_a_reason(retention_stack: RetentionCliStack) -> None:
    built = multi_arch("old")
    index = retention_stack.push("v1.0.0", built)
    retention_stack.versions(0)
    retention_stack.runs(index)
    found = {i["digest"]: i for i in retention_stack.system.json("retention", "plan", REPOSITORY)["images"]}
    assert {i["family"] for i in found.values()} == {index}
    assert found[index]["kind"] == "index"
    (protection,) = [p for p in found[index]["protections"] if p["name"] == "in_use"]
    assert set(protection) == {"name", "reason"}
    assert "web/1" in protection["reason"]


def test_a_plan_writes_nothing(retention_stack: RetentionCliStack) -> None:
    retention_stack.versions(3)
    retention_stack.system.json("retention", "plan", REPOSITORY)
    system = retention_stack.system
    assert (system.ledger.items, system.state.items, system.archive.objects, system.hints.take()) == ({}, {}, {}, [])


def test_an_unreadable_source_is_reported_and_exits_1(retention_stack: RetentionCliStack) -> None:
    retention_stack.versions(3)
    retention_stack.usage.error = "too many requests"
    found = retention_stack.system.json("retention", "plan", REPOSITORY, status=1)
    assert found["refused"] == "ECS of 111111111111/us-east-2 can't be read: too many requests"
    assert {image["action"] for image in found["images"]} == {"keep"}
    assert found["freed_bytes"] == 0
    result = retention_stack.system.run("retention", "plan", REPOSITORY)
    assert result.exit_code == 1
    assert "nothing may be removed now: ECS of" in result.stderr


def test_more_than_at_most_exits_with_1(retention_stack: RetentionCliStack) -> None:
    retention_stack.policy("{keep: [{newest: 1, of: semver}], grace: 0s, at_most: 20%, enforce: true}")
    retention_stack.versions(3)
    assert "2 of 3 images would go" in retention_stack.system.json("retention", "plan", REPOSITORY, status=1)["refused"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 100_000, "nested too deep"),
        ('{"regions": {"*": {"usd": NaN}}}', "expected 'usd'"),
        ('{"regions": {"*": {"usd": Infinity}}}', "expected 'usd'"),
        ('{"regions": {"*": {"usd": -1}}}', "expected 'usd'"),
    ],
)
def test_invalid_prices_are_refused(text: str, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(BadInput, match=reason):
        load(file)


def test_own_prices_are_used(retention_stack: RetentionCliStack, tmp_path: Path) -> None:
    retention_stack.versions(3)
    file = tmp_path / "prices.json"
    file.write_text('{"regions": {"*": {"usd": 5, "date": "2026-11-01", "source": "ours"}}}')
    saves = retention_stack.system.json("retention", "plan", REPOSITORY, "--prices", str(file))["saves"]
    assert (saves["source"], saves["usd_per_gb_month"]) == ("ours", 5)


def test_the_second_registry_of_an_environment_is_chosen_by_its_number(retention_stack: RetentionCliStack) -> None:
    assert retention_stack.system.json("retention", "plan", "prod[2]/rocketseat/widget-server")[
        "repository"
    ].startswith("222222222222/sa-east-1/")


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("staging/rocketseat/widget-server",), 2),
        (("dev/rocketseat/widget-server:v1.0.0",), 2),
        (("Rocketseat!",), 2),
        ((), 2),
        ((REPOSITORY, "--policy", "no/such/file.yaml"), 2),
        ((REPOSITORY, "--prices", "no/such/file.json"), 2),
        (("dev/rocketseat/nothing-here",), 1),
    ],
)
def test_bad_input_of_a_plan(retention_stack: RetentionCliStack, arguments: tuple[str, ...], status: int) -> None:
    result = retention_stack.system.run("retention", "plan", *arguments)
    assert (result.exit_code, result.stdout) == (status, "")
    assert result.stderr


def test_apply_of_one_image_is_refused_before_anything_is_requested(retention_stack: RetentionCliStack) -> None:
    """It would act on the image's whole repository."""
    retention_stack.versions(3)
    refused = retention_stack.run("retention", "apply", f"{REPOSITORY}:v1.0.0", "--yes", typed="")
    assert (refused.exit_code, len(retention_stack.present())) == (2, 3)
    assert "names an image: expected a REPOSITORY" in refused.stderr


def test_apply_requests_a_run_waits_and_reports_its_result(retention_stack: RetentionCliStack) -> None:
    old, *kept = retention_stack.versions(3)
    found = retention_stack.system.json("retention", "apply", REPOSITORY, "--yes")
    assert set(found) == RUN_KEYS
    assert (found["repository"], found["acted"], found["outcome"]) == (
        str(DEV),
        True,
        "1 removed, 1 marked, 0 failed",
    )
    assert (found["removed"], found["failed"], found["refused"]) == ([old], {}, None)
    assert retention_stack.present() == set(kept)


def test_apply_shows_the_plan_and_asks_for_confirmation(retention_stack: RetentionCliStack) -> None:
    old, *_ = retention_stack.versions(3)
    refused = retention_stack.run("retention", "apply", REPOSITORY, typed="n\n")
    assert refused.exit_code == 1
    assert "1 of 3 images would go" in refused.stdout
    assert retention_stack.system.hints.take() == []
    assert old in retention_stack.present()
    done = retention_stack.run("retention", "apply", REPOSITORY, typed="y\n")
    assert done.exit_code == 0, done.output
    assert f"{DEV}: 1 removed, 1 marked, 0 failed" in done.stdout
    assert old not in retention_stack.present()


def test_apply_prompts_on_stderr_and_keeps_stdout_pure_json(retention_stack: RetentionCliStack) -> None:
    retention_stack.versions(3)
    result = retention_stack.run("retention", "apply", REPOSITORY, "--json", typed="y\n")
    assert json.loads(result.stdout)["acted"] is True
    assert "1 of 3 images would go" in result.stderr
    retention_stack.push("v2.0.0")
    declined = retention_stack.run("retention", "apply", REPOSITORY, "--json", typed="n\n")
    assert (declined.exit_code, json.loads(declined.stdout)) == (1, {"error": "declined: nothing was requested"})


def test_a_declined_apply_is_reported_on_stderr(retention_stack: RetentionCliStack) -> None:
    retention_stack.versions(3)
    assert "nothing was requested" in retention_stack.run("retention", "apply", REPOSITORY, typed="n\n").stderr


def test_apply_without_an_answer_does_nothing(retention_stack: RetentionCliStack) -> None:
    retention_stack.versions(3)
    assert retention_stack.run("retention", "apply", REPOSITORY, typed="").exit_code == 1
    assert len(retention_stack.present()) == 3


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("{keep: [{newest: 2, of: semver}]}", "a plan only"),
        ("{keep: [{newest: 1, of: semver}], grace: 0s, at_most: 20%, enforce: true}", "refused: 2 of 3"),
    ],
)
def test_apply_without_enforcement_exits_with_1(retention_stack: RetentionCliStack, text: str, outcome: str) -> None:
    retention_stack.policy(text)
    retention_stack.versions(3)
    found = retention_stack.system.json("retention", "apply", REPOSITORY, "--yes", status=1)
    assert (found["acted"], found["removed"]) == (False, [])
    assert found["outcome"].startswith(outcome)
    assert len(retention_stack.present()) == 3


def test_failed_removals_are_reported_with_reasons_and_exit_1(retention_stack: RetentionCliStack) -> None:
    old, *_ = retention_stack.versions(3)
    retention_stack.remover.fails[old] = "an index that was pushed since the plan lists it: it stays"
    result = retention_stack.system.run("retention", "apply", REPOSITORY, "--yes")
    assert result.exit_code == 1
    assert f"{old}  an index that was pushed since the plan lists it" in result.stdout


def test_apply_of_an_environment_runs_in_each_of_its_registries(retention_stack: RetentionCliStack) -> None:
    found = retention_stack.system.json("retention", "apply", "prod/rocketseat/widget-server", "--yes")
    assert [run["repository"].partition("/rocketseat")[0] for run in found] == [
        str(PROD.registry),
        "222222222222/sa-east-1",
    ]


def test_apply_without_an_outcome_in_time_exits_with_1(retention_stack: RetentionCliStack) -> None:
    retention_stack.works = False
    found: dict[str, Any] = retention_stack.system.json(
        "retention", "apply", REPOSITORY, "--yes", "--timeout", "3", status=1
    )
    assert found["error"].startswith(f"no outcome for {DEV} within 3 s")


def test_a_policy_that_is_not_active_is_not_applied(retention_stack: RetentionCliStack, tmp_path: Path) -> None:
    retention_stack.versions(3)
    file = tmp_path / "tallyman.yaml"
    file.write_text("environments: {dev: {registries: [111111111111/us-east-2]}}\nrepositories: [{match: '**'}]\n")
    found = retention_stack.system.json("retention", "apply", REPOSITORY, "--yes", "--policy", str(file), status=1)
    assert "by another policy" in found["outcome"]
    assert (len(retention_stack.present()), retention_stack.system.ledger.facts) == (3, [])


@pytest.mark.parametrize(
    "arguments", [("staging/app", "--yes"), (REPOSITORY, "--yes", "--timeout", "-1"), (REPOSITORY, "--never")]
)
def test_bad_input_requests_no_run(retention_stack: RetentionCliStack, arguments: tuple[str, ...]) -> None:
    assert retention_stack.system.run("retention", "apply", *arguments).exit_code == 2
    assert retention_stack.system.hints.take() == []


@pytest.mark.parametrize("number", [0, 2])
def test_apply_requests_no_run_for_an_empty_plan(retention_stack: RetentionCliStack, number: int) -> None:
    retention_stack.versions(number)
    result = retention_stack.run("retention", "apply", REPOSITORY, typed="")
    assert (result.exit_code, "Carry this out" in result.output) == (0, False)
    assert "there is nothing to remove" in result.stderr
    assert retention_stack.system.hints.take() == []


def test_apply_requests_no_run_for_a_refused_plan(retention_stack: RetentionCliStack) -> None:
    retention_stack.policy("{keep: [{newest: 1, of: semver}], grace: 0s, at_most: 20%, enforce: true}")
    retention_stack.versions(3)
    result = retention_stack.run("retention", "apply", REPOSITORY, typed="")
    assert (result.exit_code, "Carry this out" in result.output) == (1, False)
    assert "2 of 3 images would go" in result.stderr


def test_apply_requests_no_run_without_enforcement(retention_stack: RetentionCliStack) -> None:
    retention_stack.policy("{keep: [{newest: 2, of: semver}], grace: 0s}")
    retention_stack.versions(3)
    result = retention_stack.run("retention", "apply", REPOSITORY, typed="")
    assert (result.exit_code, "Carry this out" in result.output) == (1, False)
    assert "does not enforce retention of 111111111111/us-east-2/rocketseat/widget-server" in result.stderr
    assert retention_stack.system.hints.take() == []


def test_rows_pushed_at_one_moment_are_ordered_by_image_graph_and_version(retention_stack: RetentionCliStack) -> None:
    pushed = [retention_stack.system.registries.push(DEV, image(f"v1.{n}.0"), f"v1.{n}.0") for n in (9, 10, 2)]
    built = multi_arch("indexed")
    retention_stack.system.registries.push(DEV, built, "v0.1.0")
    assert len(pushed) == 3
    found = retention_stack.system.json("retention", "plan", REPOSITORY)["images"]
    assert [row["tags"][0] for row in found if row["tags"]] == ["v1.10.0", "v1.9.0", "v1.2.0", "v0.1.0"]
    assert [row["family"] for row in found[-3:]] == [built.digest] * 3
    assert found[-3]["digest"] == built.digest


def test_an_image_with_dockers_media_type_is_an_image(retention_stack: RetentionCliStack) -> None:
    retention_stack.push("v1.0.0", image("docker", docker=True))
    (row,) = retention_stack.system.json("retention", "plan", REPOSITORY)["images"]
    assert row["kind"] == "image"
