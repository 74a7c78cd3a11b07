"""approve, deny, freeze, thaw, recall, promote --override and pending: sent here, recorded by record_command."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from support.fakes.cli_stack import POLICY, FakeStack
from support.images.builders import (
    DEV,
    NOON,
    PROD,
    PROD_SA,
    Built,
    digest_of,
    fact,
    image,
    multi_arch,
    push_event,
    referrer,
)
from tallyman.adapters.files import policy_file
from tallyman.domain.history.details.releases import Released
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.images.details import SigningStatus
from tallyman_cli.promotion import recall
from tallyman_cli.promotion.roll_back import RollBack

V1 = "dev/rocketseat/widget-server:v1.0.0"
TO = ("--to", "prod")
WHY = ("--because", "the release is due")
APPROVALS = '{verified: true, approvals: {count: 1, from: ["role/release-managers"]}}'
PEOPLE = """
people:
  promote: [role/release-managers, role/developer]
  freeze: [role/release-managers]
  recall: [role/security]
"""
IDS = {"role/release-managers": "AROARELEASE", "role/security": "AROASECURITY", "role/developer": "AROADEVELOPER"}


def live(system: FakeStack, gates: str = "{verified: true}", overridable: str = "[]", people: str = PEOPLE) -> Built:
    """The stack with these gates, and an image in dev that record_push and verify_digest have recorded."""
    text = POLICY.replace("{verified: true, scan: {max: {critical: 0}}}", f"{gates}, overridable: {overridable}")
    system.policy = policy_file.loads((text + people).encode()).for_hub(DEV.registry)
    system.stack.given = system.policy
    system.people.ids.update(IDS)
    system.sender = "AROARELEASE:ana"
    app = image("app")
    system.push(app, "v1.0.0")
    system.work()
    return app


def facts(system: FakeStack, *kinds: Kind) -> list[Fact]:
    return [f for f in system.ledger.facts if f.kind in kinds]


def in_prod(system: FakeStack) -> list[Any]:
    return [system.registries.tag_of(place, "v1.0.0") for place in (PROD, PROD_SA)]


def why(system: FakeStack) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(system.run("why", V1, *TO, "--json").stdout)
    return found


def gate(system: FakeStack, name: str) -> dict[str, Any]:
    gates: list[dict[str, Any]] = why(system)["gates"]
    (found,) = [g for g in gates if g["name"] == name]
    return found


def test_an_image_waiting_for_approval_is_promoted_once_approved(everywhere: FakeStack) -> None:
    app = live(everywhere, APPROVALS)
    assert in_prod(everywhere) == [None, None]
    found = everywhere.json("approve", V1, *TO, *WHY)
    assert (found["command"], found["recorded"], found["refused"]) == ("approve", True, None)
    everywhere.work()
    assert in_prod(everywhere) == [app.digest, app.digest]
    (approved,) = facts(everywhere, Kind.APPROVED)
    assert (approved.actor, approved.detail["principal"]) == ("AROARELEASE:ana", "role/release-managers")
    assert approved.detail["because"] == "the release is due"


def test_a_person_without_the_role_is_refused_and_the_refusal_is_no_approval(everywhere: FakeStack) -> None:
    live(everywhere, APPROVALS)
    everywhere.sender = "AROADEVELOPER:dan"
    found = everywhere.json("approve", V1, *TO, *WHY, status=1)
    assert found["recorded"] is False
    assert "AROADEVELOPER:dan may not approve" in found["refused"]
    assert "role/release-managers" in found["refused"]
    assert facts(everywhere, Kind.APPROVED) == []
    (refused,) = facts(everywhere, Kind.REQUESTED)
    assert (refused.detail["command"], refused.detail["refused"]) == ("approve", found["refused"])
    assert gate(everywhere, "approvals")["verdict"] == "waiting"
    assert len(everywhere.dead_letters) == 1


def test_a_forged_sender_in_a_message_is_ignored(everywhere: FakeStack) -> None:
    app = live(everywhere, APPROVALS)
    everywhere.sender = "AROADEVELOPER:dan"
    door = {"digest": app.digest, "repository": "rocketseat/widget-server", "from": "dev", "to": "prod"}
    lies = {"principal": "role/release-managers", "actor": "AROARELEASE:ana", "sender_id": "AROARELEASE:ana"}
    everywhere.hints.send("commands", {"command": "approve", "request": "r", "because": "x", **door, **lies})
    everywhere.work()
    assert facts(everywhere, Kind.APPROVED) == []
    assert gate(everywhere, "approvals")["verdict"] == "waiting"


def test_a_denial_closes_the_gate_until_it_is_approved_again(everywhere: FakeStack) -> None:
    app = live(everywhere, APPROVALS)
    everywhere.json("deny", V1, *TO, "--because", "it leaks")
    assert (gate(everywhere, "approvals")["verdict"], why(everywhere)["verdict"]) == ("failed", "failed")
    assert gate(everywhere, "approvals")["reason"] == "denied by ana (role/release-managers): it leaks"
    everywhere.json("approve", V1, *TO, *WHY)
    everywhere.work()
    assert in_prod(everywhere) == [app.digest, app.digest]


def test_an_approval_that_no_gate_requires_is_refused(everywhere: FakeStack) -> None:
    live(everywhere, "{verified: true, soak: 1h}")
    found = everywhere.json("approve", V1, *TO, *WHY, status=1)
    assert "asks for approvals" in found["refused"]


def test_one_approval_delivered_twice_is_one(everywhere: FakeStack) -> None:
    app = live(everywhere, APPROVALS.replace("count: 1", "count: 2"))
    door = {"digest": app.digest, "repository": "rocketseat/widget-server", "from": "dev", "to": "prod"}
    body = json.dumps({"command": "approve", "request": "one", "because": "x", **door})
    for _ in range(2):
        everywhere.service("record_command").handle(body, "AROARELEASE:ana", NOON)
    assert len(facts(everywhere, Kind.APPROVED)) == 1
    assert gate(everywhere, "approvals")["verdict"] == "waiting"


@pytest.mark.parametrize("place", ["prod", "prod/rocketseat/widget-server"])
def test_a_freeze_holds_promotions_and_a_thaw_resumes_them(everywhere: FakeStack, place: str) -> None:
    live(everywhere)
    everywhere.clock.advance(minutes=1)
    found = everywhere.json("freeze", place, "--because", "the shop is full")
    assert (found["environment"], found["frozen"]) == ("prod", True)
    later = image("later")
    everywhere.push(later, "v1.1.0")
    everywhere.work()
    assert everywhere.registries.tag_of(PROD, "v1.1.0") is None
    (waits,) = everywhere.json("pending", "prod")
    assert (waits["gate"], waits["verdict"], waits["tags"]) == ("freeze", "waiting", ["v1.1.0"])
    assert f"{place} is frozen since" in waits["reason"]
    assert "by ana (role/release-managers): the shop is full" in waits["reason"]
    assert any("is held for prod" in subject for subject, _, _ in everywhere.notices.published)
    everywhere.clock.advance(minutes=1)
    assert everywhere.json("thaw", place)["frozen"] is False
    everywhere.work()
    assert everywhere.registries.tag_of(PROD, "v1.1.0") == later.digest
    assert everywhere.json("pending") == []


def test_a_freeze_of_another_repository_holds_nothing(everywhere: FakeStack) -> None:
    live(everywhere, APPROVALS)
    everywhere.json("freeze", "prod/rocketseat/other", "--because", "x")
    assert gate(everywhere, "freeze")["verdict"] == "passed"


def test_why_at_a_time_knows_the_freeze_of_then(everywhere: FakeStack) -> None:
    live(everywhere, APPROVALS)
    before = everywhere.clock.advance(minutes=1)
    everywhere.clock.advance(minutes=1)
    everywhere.json("freeze", "prod", "--because", "the shop is full")
    during = everywhere.clock.advance(minutes=1)
    everywhere.clock.advance(minutes=1)
    everywhere.json("thaw", "prod")
    verdicts = {}
    for name, moment in (("before", before), ("during", during)):
        text = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        found = json.loads(everywhere.run("why", V1, *TO, "--at", text, "--json").stdout)
        verdicts[name] = next(g["verdict"] for g in found["gates"] if g["name"] == "freeze")
    assert verdicts == {"before": "passed", "during": "waiting"}
    assert gate(everywhere, "freeze")["verdict"] == "passed"


def test_a_late_older_freeze_does_not_undo_a_thaw(everywhere: FakeStack) -> None:
    live(everywhere, APPROVALS)
    service = everywhere.service("record_command")
    sent = everywhere.clock()
    answer = {"environment": "prod", "because": "x"}
    service.handle(json.dumps({"command": "thaw", "request": "b", **answer}), everywhere.sender, sent)
    early = sent - timedelta(seconds=1)
    service.handle(json.dumps({"command": "freeze", "request": "a", **answer}), everywhere.sender, early)
    assert gate(everywhere, "freeze")["verdict"] == "passed"
    assert len(facts(everywhere, Kind.FROZEN, Kind.THAWED)) == 2


def test_a_freeze_without_permission_is_refused(everywhere: FakeStack) -> None:
    live(everywhere)
    everywhere.sender = "AROADEVELOPER:dan"
    found = everywhere.json("freeze", "prod", "--because", "x", status=1)
    assert found["frozen"] is None
    assert "may not freeze: the policy (people.freeze) allows role/release-managers" in found["refused"]
    assert gate(everywhere, "freeze")["verdict"] == "passed"


@pytest.mark.parametrize("place", ["nowhere", "prod/", "prod/UPPER", "prod/app:v1", "prod/app@sha256:1"])
def test_an_invalid_environment_or_repository_is_bad_input(everywhere: FakeStack, place: str) -> None:
    assert everywhere.run("freeze", place, "--because", "x").exit_code == 2


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (" ", "--because is empty: expected a reason"),
        ("x" * 1001, "a reason has at most 1000 characters"),
        ("\udcff", "not JSON"),
    ],
)
def test_a_reason_that_nobody_could_record_is_refused_before_it_is_sent(
    everywhere: FakeStack, reason: str, said: str
) -> None:
    """The command would be a dead letter, and no fact would say so to the one who waits."""
    refused = everywhere.run("freeze", "prod", "--because", reason)
    assert (refused.exit_code, said in refused.stderr) == (2, True), refused.stderr
    assert everywhere.hints.to("commands") == []


def test_an_override_opens_an_overridable_gate_with_a_notice(
    everywhere: FakeStack,
) -> None:
    app = live(everywhere, "{verified: true, soak: 24h}", "[soak]")
    found = everywhere.json("promote", V1, *TO, "--override", "soak", "--because", "the site is down")
    assert found["verdict"] == "promoted"
    assert in_prod(everywhere) == [app.digest, app.digest]
    (fact,) = facts(everywhere, Kind.OVERRIDDEN)
    assert (fact.detail["gate"], fact.detail["principal"]) == ("soak", "role/release-managers")
    answer = [text for subject, text, _ in everywhere.notices.published if "soak is overridden" in subject]
    assert len(answer) == 1
    assert "by ana (role/release-managers): the site is down" in answer[0]
    soak = next(g for g in found["gates"] if g["name"] == "soak")
    assert soak["verdict"] == "passed"
    assert soak["facts"]["overridden"]["verdict"] == "waiting"


@pytest.mark.parametrize("name", ["soak", "verified", "recalled", "target", "nonsense"])
def test_a_gate_that_is_not_overridable_stays_closed(everywhere: FakeStack, name: str) -> None:
    live(everywhere, "{verified: true, soak: 24h, order: true}", "[order]")
    result = everywhere.run("promote", V1, *TO, "--override", name, "--because", "please")
    assert result.exit_code == 1
    assert f"the gate '{name}' may not be overridden" in result.stderr
    assert facts(everywhere, Kind.OVERRIDDEN) == []
    assert in_prod(everywhere) == [None, None]


def test_the_policy_decides_who_may_override(everywhere: FakeStack) -> None:
    people = PEOPLE + "  override: [role/security]\n"
    live(everywhere, "{verified: true, soak: 24h}", "[soak]", people)
    arguments = ("promote", V1, *TO, "--override", "soak", "--because", "please")
    refused = everywhere.run(*arguments)
    assert refused.exit_code == 1
    assert "the policy (people.override) allows role/security" in refused.stderr


@pytest.mark.parametrize("more", [("--override", "soak"), ("--because", "x"), ("--override", "soak", "--dry-run")])
def test_an_override_needs_a_reason_and_a_reason_an_override(everywhere: FakeStack, more: tuple[str, ...]) -> None:
    live(everywhere, "{verified: true, soak: 24h}", "[soak]")
    extra = ("--because", "x") if "--dry-run" in more else ()
    assert everywhere.run("promote", V1, *TO, *more, *extra).exit_code == 2


def test_a_recalled_image_is_refused_permanently_with_a_notice(everywhere: FakeStack) -> None:
    app = live(everywhere, APPROVALS)
    everywhere.sender = "AROASECURITY:sam"
    name = f"dev/rocketseat/widget-server@{app.digest}"
    assert everywhere.json("recall", name, "--because", "it mines coins")["recorded"]
    assert any("is recalled" in subject for subject, _, _ in everywhere.notices.published)
    everywhere.sender = "AROARELEASE:ana"
    everywhere.json("approve", V1, *TO, *WHY)
    everywhere.work()
    assert in_prod(everywhere) == [None, None]
    assert why(everywhere)["verdict"] == "failed"
    assert "recalled by sam (role/security)" in gate(everywhere, "recalled")["reason"]


def test_an_index_is_blocked_by_the_recall_of_an_image_beneath_it(everywhere: FakeStack) -> None:
    live(everywhere, APPROVALS)
    both = multi_arch()
    everywhere.push(both, "v1.1.0")
    everywhere.sender = "AROASECURITY:sam"
    child = both.root.platform_children[0].digest
    everywhere.json("recall", f"dev/rocketseat/widget-server@{child}", "--because", "x")
    (row,) = [row for row in everywhere.json("pending") if row["tags"] == ["v1.1.0"]]
    assert (row["verdict"], row["gate"]) == ("failed", "recalled")
    assert "linux/amd64 beneath it" in row["reason"]
    above = "dev/rocketseat/widget-server:v1.1.0"
    shown = everywhere.json("show", above)["recalls"]
    assert [(each["digest"], each["by"], each["because"]) for each in shown] == [(child, "sam (role/security)", "x")]
    assert f"{child} beneath it, by sam (role/security), 20" in everywhere.run("show", above).stdout
    assert "recalled    by sam" in everywhere.run("show", f"dev/rocketseat/widget-server@{child}").stdout


def test_a_recall_needs_a_digest(everywhere: FakeStack) -> None:
    app = live(everywhere)
    result = everywhere.run("recall", V1, "--because", "x")
    assert result.exit_code == 2
    assert f"dev/rocketseat/widget-server@{app.digest}" in result.stderr


def test_pending_shows_each_image_its_gate_since_and_until(everywhere: FakeStack) -> None:
    live(everywhere, "{verified: true, soak: 24h}")
    (row,) = everywhere.json("pending", "prod")
    assert (row["image"], row["to"], row["gate"], row["parked"]) == (V1, "prod", "soak", False)
    assert row["until"] is not None
    assert row["since"] < row["until"]
    text = everywhere.run("pending").stdout
    assert "waiting" in text
    assert V1 in text
    assert everywhere.json("pending", "dev") == []
    assert everywhere.run("pending", "nowhere").exit_code == 2


def test_a_signature_causes_a_new_decision_about_its_image(everywhere: FakeStack) -> None:
    app = live(everywhere, "{verified: true, signed: true}")
    assert gate(everywhere, "signed")["reason"] == "no signature yet"
    everywhere.push(referrer(app, "application/vnd.cncf.notary.signature"), None)
    everywhere.work()
    assert in_prod(everywhere) == [app.digest, app.digest]


def test_ecrs_managed_signing_is_read_when_its_signature_arrives(everywhere: FakeStack) -> None:
    app = live(everywhere, "{verified: true, signed: {by: [release]}}")
    profile = "arn:aws:signer:us-east-2:111111111111:/signing-profiles/release"
    everywhere.signing.statuses[DEV, app.digest] = [SigningStatus(profile, "complete")]
    everywhere.push(referrer(app, "application/vnd.cncf.notary.signature"), None)
    everywhere.work()
    assert gate(everywhere, "signed")["reason"] == "ECR has signed it with release"
    assert in_prod(everywhere) == [app.digest, app.digest]
    assert len(facts(everywhere, Kind.SIGNING)) == 1


def test_attestations_that_buildx_adds_to_an_index_count_for_its_images(everywhere: FakeStack) -> None:
    live(everywhere, "{verified: true, attested: provenance}")
    plain, attested = multi_arch("plain"), multi_arch("attested", attested=True)
    everywhere.push(plain, "v1.1.0")
    everywhere.push(attested, "v1.2.0")
    everywhere.work()
    assert everywhere.registries.tag_of(PROD, "v1.1.0") is None
    assert everywhere.registries.tag_of(PROD, "v1.2.0") == attested.digest


def test_a_roll_back_names_the_tags_of_what_runs_again_beside_its_digest(everywhere: FakeStack) -> None:
    old, new = digest_of("old"), digest_of("new")
    for number, (digest, tag) in enumerate([(old, "v1.0.0"), (new, "v1.1.0")]):
        at = NOON + timedelta(hours=number)
        answer = Released(tag, "prod", DEV.name, digest, [tag], {}, None, "sha256:0", at.isoformat())
        detail = answer.dump()
        everywhere.ledger.append(replace(fact(Kind.RELEASED, digest, at=at, environment="prod"), detail=detail))
    tags = RollBack(cast("Any", everywhere.stack), "prod", DEV.name).tags(old)
    assert tags == ["v1.0.0"]
    assert recall.named({"tags": tags, "digest": old}) == f"v1.0.0 ({old})"
    assert recall.named({"tags": [], "digest": old}) == old


def test_pending_shows_what_follows_for_a_time_that_has_passed(everywhere: FakeStack) -> None:
    live(everywhere, "{verified: true, soak: 24h}")
    (row,) = everywhere.json("pending", "prod")
    assert row["next"] == row["until"]
    everywhere.clock.advance(hours=25)
    (row,) = everywhere.json("pending", "prod")
    assert row["until"] in row["next"]
    assert "looked at within seconds" in row["next"]
    everywhere.services.evaluator.digest(row["digest"], again=True)
    everywhere.work()
    assert everywhere.json("pending", "prod") == []


def test_an_older_version_is_shown_as_not_to_be_released_before_and_after_its_promotion(everywhere: FakeStack) -> None:
    live(everywhere, "{verified: true}")
    everywhere.push(image("newer"), "v1.1.0")
    everywhere.work()
    live(everywhere, "{verified: true, soak: 24h}")
    older = everywhere.push(image("older"), "v0.9.0")
    everywhere.work()
    why_older = ("why", "dev/rocketseat/widget-server:v0.9.0", *TO)
    stays = "v0.9.0 is older than v1.1.0, which prod runs"
    assert everywhere.json(*why_older, status=1)["stays"] == stays
    (row,) = [row for row in everywhere.json("pending") if row["tags"] == ["v0.9.0"]]
    assert row["stays"] == stays
    assert f"will not be released: {stays}" in " ".join(everywhere.run("pending").stdout.split())
    everywhere.clock.advance(hours=25)
    everywhere.services.evaluator.digest(older, again=True)
    everywhere.work()
    found = everywhere.json(*why_older)
    assert (found["verdict"], found["stays"]) == ("promoted", stays)
    text = everywhere.run(*why_older).stdout
    assert "It was not released" in text
    assert "tallyman release roll-back prod/rocketseat/widget-server --to v0.9.0" in " ".join(text.split())
    for place in (PROD, PROD_SA):  # the events of our own pushes
        event = push_event(place, older, "v0.9.0", at=everywhere.clock())
        everywhere.service("record_push").handle(json.dumps(event))
    back = ("release", "roll-back", "prod/rocketseat/widget-server", "--to", "v0.9.0", "--no-wait")
    assert everywhere.json(*back)["digest"] == older


def test_after_a_roll_back_why_and_promote_show_the_current_release(everywhere: FakeStack) -> None:
    live(everywhere, "{verified: true}")
    newer = everywhere.push(image("newer"), "v1.1.0")
    everywhere.work()
    why_newer = ("why", "dev/rocketseat/widget-server:v1.1.0", *TO)
    assert everywhere.json(*why_newer)["released_instead"] is None
    everywhere.run("release", "roll-back", "prod/rocketseat/widget-server", "--because", "it is slow", "--no-wait")
    everywhere.work()
    found = everywhere.json(*why_newer)
    other = found["released_instead"]
    assert (found["verdict"], found["digest"], found["stays"]) == ("promoted", newer, None)
    assert (other["tags"], other["change"], other["because"]) == (["v1.0.0"], "roll_back", "it is slow")
    for command in ("why", "promote"):
        text = " ".join(everywhere.run(command, *why_newer[1:]).stdout.split())
        assert "prod runs v1.0.0 instead, since" in text
        assert "it is slow" in text
        assert "tallyman release roll-back prod/rocketseat/widget-server --to v1.1.0" in text


CHECK = '{check: [{name: e2e, from: ["role/release-managers"]}]}'


def test_a_passed_check_opens_the_gate_and_a_failed_one_closes_it(everywhere: FakeStack) -> None:
    app = live(everywhere, CHECK)
    found = everywhere.json("check", "post", V1, "e2e", "--failed", "--because", "it hangs")
    assert (found["check"], found["result"], found["recorded"]) == ("e2e", "failed", True)
    assert (found["digest"], found["environment"], found["repository"]) == (
        app.digest,
        "dev",
        "rocketseat/widget-server",
    )
    assert gate(everywhere, "check")["verdict"] == "failed"
    everywhere.json("check", "post", V1, "e2e", "--passed", "--because", "run 43")
    everywhere.work()
    assert in_prod(everywhere) == [app.digest, app.digest]


def test_a_check_of_another_role_is_refused(everywhere: FakeStack) -> None:
    live(everywhere, CHECK)
    everywhere.sender = "AROADEVELOPER:dan"
    found = everywhere.json("check", "post", V1, "e2e", "--passed", "--because", "x", status=1)
    assert "AROADEVELOPER:dan may not post the check e2e" in found["refused"]
    assert facts(everywhere, Kind.CHECKED) == []


@pytest.mark.parametrize(
    "words",
    [
        (V1, "e2e", "--because", "x"),
        (V1, "load", "--passed", "--because", "x"),
        (V1, "e2e", "--passed"),
        ("rocketseat/widget-server:v1.0.0", "e2e", "--passed", "--because", "x"),
    ],
)
def test_bad_input_of_check_post(everywhere: FakeStack, words: tuple[str, ...]) -> None:
    live(everywhere, CHECK)
    assert everywhere.run("check", "post", *words).exit_code == 2
