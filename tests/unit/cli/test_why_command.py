"""`tallyman why`."""

from pathlib import Path

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import image, multi_arch

NAME = "dev/rocketseat/widget-server"


def test_each_gate_is_shown_with_its_key_verdict_reason_and_facts(system: FakeStack) -> None:
    app = multi_arch()
    system.push(app, "v1.0.0")
    system.scan(app, {"critical": 1})
    found = system.json("why", f"{NAME}:v1.0.0", "--to", "prod", status=1)
    assert set(found) >= {"image", "digest", "to", "verdict", "policy", "gates"}
    assert (found["image"], found["digest"], found["to"]) == (f"{NAME}:v1.0.0", app.digest, "prod")
    assert found["verdict"] == "failed"
    assert found["policy"] == system.policy.digest
    verdicts = {g["name"]: g["verdict"] for g in found["gates"]}
    wanted = {"tags": "passed", "verified": "passed", "scan": "failed", "target": "waiting"}
    assert verdicts.items() >= wanted.items()
    assert all(set(g) == {"name", "verdict", "reason", "facts"} for g in found["gates"])
    assert not system.hints.to("commands")


def test_a_missing_scan_waits_and_the_deciding_gate_comes_first(system: FakeStack) -> None:
    system.push(multi_arch(), "v1.0.0")
    result = system.run("why", f"{NAME}:v1.0.0", "--to", "prod")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{NAME}:v1.0.0 waits for prod: scan: ")
    gates = [line.split()[0] for line in lines[2 : lines.index("", 2)]]
    assert gates[:2] == ["gate", "scan"]
    assert {"tags", "verified", "target"} <= set(gates)
    assert "… waiting" in lines[3]
    assert "✓ passed" in result.stdout


def test_a_promoted_image_exits_0(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    everywhere.scan(app)
    everywhere.work()
    found = everywhere.json("why", f"{NAME}:v1.0.0", "--to", "prod")
    assert found["verdict"] == "promoted"
    everywhere.clock.advance(hours=1)
    everywhere.scan(app, {"critical": 1})
    text = everywhere.run("why", f"{NAME}:v1.0.0", "--to", "prod")
    assert text.exit_code == 0
    assert "today it would not pass: scan" in text.stdout


def test_at_a_moment_only_what_was_known_then_counts(everywhere: FakeStack) -> None:
    app = multi_arch()
    everywhere.push(app, "v1.0.0")
    everywhere.clock.advance(minutes=10)
    everywhere.scan(app, {"critical": 1})
    everywhere.clock.advance(minutes=10)
    everywhere.scan(app)
    everywhere.work()

    def verdict(at: str, status: int) -> str:
        found = everywhere.json("why", f"{NAME}:v1.0.0", "--to", "prod", "--at", at, status=status)
        return str(found["verdict"])

    assert verdict("2026-11-16T01:55:00Z", 1) == "waiting"
    assert verdict("2026-11-16T02:05:00Z", 1) == "failed"
    assert verdict("2026-11-16T02:15:00Z", 0) == "promoted"
    before = everywhere.run("why", f"{NAME}:v1.0.0", "--to", "prod", "--at", "2026-11-16T01:00:00Z")
    assert before.exit_code == 1
    assert "no record says" in before.stderr


def test_a_moved_tag_means_its_image_at_that_moment(system: FakeStack) -> None:
    first, second = image("one"), image("two")
    system.push(first, "latest")
    system.clock.advance(minutes=5)
    system.push(second, "latest")
    found = system.json("why", f"{NAME}:latest", "--to", "prod", "--at", "2026-11-16T01:55:00Z", status=1)
    assert found["digest"] == first.digest
    assert found["gates"][0]["facts"]["tags"] == ["latest"]


def test_a_past_moment_is_judged_by_the_policy_of_that_time(system: FakeStack) -> None:
    from tallyman.adapters.files import policy_file
    from tallyman.services.deciding.policy_in_force import publish

    old = policy_file.loads(POLICY.replace("critical: 0", "critical: 5").encode())
    publish(old, system.archive, system.ledger, system.state, system.clock)
    app = image("one")
    system.push(app, "v1.0.0")
    system.scan(app, {"critical": 1})
    system.clock.advance(minutes=10)
    publish(system.policy, system.archive, system.ledger, system.state, system.clock)
    system.stack.given = None
    then = system.json("why", f"{NAME}:v1.0.0", "--to", "prod", "--at", "2026-11-16T01:55:00Z", status=1)
    assert (then["policy"], then["verdict"]) == (old.digest, "waiting")
    now = system.json("why", f"{NAME}:v1.0.0", "--to", "prod", status=1)
    assert (now["policy"], now["verdict"]) == (system.policy.digest, "failed")


def test_an_image_without_events_is_judged_by_known_facts_with_a_note(system: FakeStack) -> None:
    app = image("one")
    system.push(app, "v1.0.0", with_events=False)
    result = system.run("why", f"{NAME}:v1.0.0", "--to", "prod")
    assert result.exit_code == 1
    assert "tallyman reconcile dev/rocketseat/widget-server" in result.stderr
    assert "no tag of dev points to it" in result.stdout


@pytest.mark.parametrize(
    ("image_text", "to", "words"),
    [
        (f"{NAME}:v1.0.0", "staging", ["unknown environment", "dev, prod"]),
        (f"{NAME}:v1.0.0", "pord", ["did you mean 'prod'"]),
        (f"{NAME}:v1.0.0", "dev", ["no promotion", "dev → prod"]),
        ("dev/other/app:v1", "prod", ["no promotion", "promotes it nowhere"]),
        ("333333333333.dkr.ecr.us-east-2.amazonaws.com/app:v1", "prod", ["no environment"]),
        (NAME, "prod", [":TAG or @DIGEST"]),
    ],
)
def test_without_such_a_promotion_bad_input_names_the_existing_ones(
    system: FakeStack, image_text: str, to: str, words: list[str]
) -> None:
    result = system.run("why", image_text, "--to", to)
    assert (result.exit_code, result.stdout) == (2, "")
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("at", "reason"),
    [("8999-12-31T23:59:59Z", "is in the future"), ("9999-12-31T23:59:59Z", "out of range"), ("1969-12-31", "range")],
)
def test_a_moment_near_an_end_of_the_calendar_is_no_fault(
    system: FakeStack, tmp_path: Path, at: str, reason: str
) -> None:
    system.push(multi_arch(), "v1.0.0")
    window = '{days: mon-fri, between: "09:00-09:01", timezone: Asia/Tokyo}'
    policy = tmp_path / "tallyman.yaml"
    policy.write_text(POLICY.replace("verified: true", f"verified: true, soak: 365000d, window: {window}"))
    result = system.run("why", f"{NAME}:v1.0.0", "--to", "prod", "--at", at, "--policy", str(policy))
    assert result.exit_code == (1 if "future" in reason else 2), result.output
    assert reason in result.stderr
    assert "fault" not in result.stderr
