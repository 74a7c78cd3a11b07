"""Releases: moved by promotions and people, announced at least once, and watched."""

import json
from collections import Counter
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest

from support.fakes.policies import parsed
from support.fakes.ports import Crash, CrashAfter
from support.fakes.promotion import PLACES, PromotionStack, command
from support.fakes.recording import policy
from support.images.builders import DEV, PROD, image, multi_arch, scanned
from tallyman.domain.history.facts import Kind
from tallyman.domain.names import Digest, EcrRegistry
from tallyman.domain.policy import UsageRules
from tallyman.domain.usage import Reading, Use
from tallyman.errors import NotAllowed, Refused
from tallyman.services.deciding.noncompliant import noncompliant_images
from tallyman.services.deciding.recall_impact import RecallImpact
from tallyman.services.releases.pointer import releases

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/schemas/image-released.json").read_text())


def two() -> tuple[PromotionStack, Digest, Digest]:
    """v1.0.0 and then v1.1.0 were promoted."""
    stack = PromotionStack()
    first = stack.push(image("a"), "v1.0.0")
    stack.work()
    second = stack.push(image("b"), "v1.1.0")
    stack.work()
    assert stack.released() == second
    return stack, first, second


def roll_back(stack: PromotionStack, digest: Digest, request: str = "r1") -> None:
    command(stack, "roll-back", digest, request, repository=DEV.name, environment="prod")
    stack.work()


def test_a_roll_back_moves_the_release_and_not_the_tags() -> None:
    stack, first, second = two()
    tags = [dict(stack.registries.held(p).tags) for p in PLACES]
    roll_back(stack, first)
    assert stack.released() == first
    assert [dict(stack.registries.held(p).tags) for p in PLACES] == tags
    (fact,) = stack.facts(Kind.ROLLED_BACK)
    assert fact.actor == "AROAEXAMPLE:ana"
    result = stack.announcements.emitted[-1][1]
    assert (result["digest"], result["previous"], result["change"]) == (first, second, "roll_back")
    assert (result["tags"], result["by"], result["because"]) == (["v1.0.0"], "AROAEXAMPLE:ana", "it is broken")


def test_the_history_shows_each_release_with_its_time() -> None:
    stack, first, second = two()
    between = stack.clock()
    stack.clock.advance(hours=1)
    roll_back(stack, first)
    assert [f.digest for f in releases(stack.ledger, "prod", DEV.name)] == [first, second, first]
    assert next(releases(stack.ledger, "prod", DEV.name, between)).digest == second


def test_a_promotion_after_a_roll_back_moves_the_release_again() -> None:
    stack, first, _ = two()
    roll_back(stack, first)
    third = stack.push(image("c"), "v1.2.0")
    stack.work()
    assert stack.released() == third


def test_evaluating_the_newer_one_again_does_not_undo_a_roll_back() -> None:
    stack, first, second = two()
    roll_back(stack, first)
    stack.evaluator.digest(second)
    stack.hints.send("promote", {"digest": second, "repository": DEV.name, "from": "dev", "to": "prod"})
    stack.work()
    assert stack.released() == first


@pytest.mark.parametrize(("why", "said"), [("gone", "no longer in 222222222222/us-east-2"), ("recalled", "recalled")])
def test_a_removed_or_recalled_image_is_not_released_again(why: str, said: str) -> None:
    stack, first, second = two()
    if why == "gone":
        stack.registries.delete(PROD, first)
    else:
        command(stack, "recall", first, "r0")
    roll_back(stack, first)
    assert stack.released() == second
    assert [type(e) for e in stack.refused] == [Refused]
    refused = [f.detail["refused"] for f in stack.facts(Kind.REQUESTED) if f.detail["refused"]]
    assert len(refused) == 1
    assert said in refused[0]


def test_a_roll_back_to_an_image_never_in_the_environment_is_refused() -> None:
    stack, _, second = two()
    other = stack.registries.push(DEV, image("z"))
    roll_back(stack, other)
    assert stack.released() == second
    assert "never promoted" in str(stack.refused[0])


def test_a_hint_without_a_request_rolls_nothing_back() -> None:
    stack, first, second = two()
    stack.hints.send("promote", {"roll_back": {"digest": first, "request": "forged"}})
    stack.work()
    assert stack.released() == second
    assert "no request forged" in str(stack.refused[0])


def test_a_roll_back_needs_the_permission_to_promote() -> None:
    stack, first, second = two()
    raw = {
        "environments": {"dev": {"registries": [str(DEV.registry)]}, "prod": {"registries": [str(PROD.registry)]}},
        "people": {"promote": ["role/release-managers"]},
    }
    stack.policy = parsed(raw)
    with pytest.raises(NotAllowed, match=r"people\.promote"):
        roll_back(stack, first)
    assert stack.released() == second
    assert stack.hints.sent == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_roll_back_that_dies_at_any_call_is_completed_by_the_next(when: str) -> None:
    n, died = 0, True
    while died:
        n += 1
        stack, first, _ = two()
        command(stack, "roll-back", first, repository=DEV.name, environment="prod")
        ((_, body, _),) = stack.hints.take("promote")
        try:
            stack.handle(body, stack.worker(CrashAfter(n, when)))
            died = False
        except Crash:
            stack.hints.send("promote", body)
        stack.work()
        assert stack.released() == first
        assert len(stack.facts(Kind.ROLLED_BACK)) == 1
        ids = [d["id"] for _, d in stack.announcements.emitted]
        assert len(set(ids)) == 3
    assert n > 10


def test_the_event_matches_its_schema() -> None:
    stack, first, _ = two()
    roll_back(stack, first)
    assert [name for name, _ in stack.announcements.emitted] == ["Image Released"] * 3
    for _, detail in stack.announcements.emitted:
        jsonschema.validate(json.loads(json.dumps(detail)), SCHEMA, jsonschema.Draft202012Validator)
    promoted = stack.announcements.emitted[0][1]
    assert promoted["images"] == {str(p.registry): p.at(Digest(promoted["digest"])) for p in PLACES}
    decided = {f.id for f in stack.facts(Kind.DECIDED)}
    assert promoted["decision"]["id"] in decided


def test_the_event_in_the_docs_matches_the_schema() -> None:
    page = (Path(__file__).parents[3] / "docs/events.md").read_text()
    example = json.loads(page.split("```json\n")[1].split("```")[0])
    jsonschema.validate(example["detail"], SCHEMA, jsonschema.Draft202012Validator)
    assert (example["source"], example["detail-type"]) == ("tallyman", "Image Released")
    keys = {line.split("`")[1] for line in page.splitlines() if line.startswith("| `")}
    assert keys >= set(SCHEMA["properties"])


# --- watching


def watched(stack: PromotionStack) -> list[tuple[str, list[str], bool]]:
    return [
        (image.digest, [g["name"] for g in image.gates], released)
        for image, released in noncompliant_images(stack.state, "prod")
    ]


def scan(stack: PromotionStack, digest: Digest, **counts: int) -> None:
    stack.clock.advance(minutes=1)
    now = stack.clock()
    stack.ledger.append(scanned(digest, at=now, seen=now, counts=counts))
    stack.evaluator.digest(digest)


def with_scan() -> tuple[PromotionStack, Digest]:
    stack = PromotionStack(policy=policy(verified=True, scan={"max": {"critical": 0}}))
    digest = stack.push(image("a"), "v1.0.0")
    scan(stack, digest)
    stack.work()
    assert stack.released() == digest
    assert watched(stack) == []
    return stack, digest


def noncompliant_notices(stack: PromotionStack) -> list[str]:
    return [s for s, _, a in stack.notices.published if a["kind"] == "would_not_pass"]


def test_a_released_image_with_a_new_finding_is_listed_and_notified_once() -> None:
    stack, digest = with_scan()
    for _ in range(3):
        scan(stack, digest, critical=1)
    assert watched(stack) == [(digest, ["scan"], True)]
    assert len(noncompliant_notices(stack)) == 1
    scan(stack, digest, critical=2)
    assert len(noncompliant_notices(stack)) == 2  # a change
    scan(stack, digest)
    assert watched(stack) == []
    assert stack.tags("v1.0.0") == [digest, digest]


def test_a_stricter_policy_lists_released_images_and_a_sweep_notifies_once() -> None:
    stack, digest = with_scan()
    stack.policy = policy(verified=True, scan={"max": {"critical": 0}}, attested="sbom")
    for _ in range(3):
        stack.evaluator.image(digest)
    assert watched(stack) == [(digest, ["attested"], True)]
    assert len(noncompliant_notices(stack)) == 1


def test_a_closed_window_does_not_make_a_release_noncompliant() -> None:
    stack, digest = with_scan()
    closed = {"days": "mon", "between": "09:00-09:01", "timezone": "UTC"}
    stack.policy = policy(verified=True, window=closed, soak="4w", approvals={"count": 1, "from": ["role/a"]})
    stack.evaluator.image(digest)
    assert watched(stack) == []


# --- recall


class Running:
    """`UsageReadings` that a test fills; a source of the registry `silent` can't be read."""

    def __init__(self, *uses: Use, silent: EcrRegistry | None = None) -> None:
        self.uses, self.silent = uses, silent

    def readings(self, registry: EcrRegistry, at: datetime, rules: UsageRules) -> list[Reading]:
        uses = tuple(use for use in self.uses if use.where == registry)
        silent = [Reading("ECS", registry, at, error="it does not answer")] if registry == self.silent else []
        return [*silent, Reading("Lambda", registry, at, uses)]


def test_a_recall_names_releases_users_and_the_last_good_image() -> None:
    stack = PromotionStack()
    good = stack.push(image("a"), "v1.0.0")
    stack.work()
    built = multi_arch("b")
    bad = stack.push(built, "v1.1.0")
    stack.work()
    child = built.root.platform_children[0].digest
    command(stack, "recall", bad)
    usage = Running(
        Use("ecs task", "prod/widget", PROD.at("v1.1.0"), PROD.registry, PROD, "v1.1.0", child),
        Use("lambda function", "other", PROD.at("v1.0.0"), PROD.registry, PROD, "v1.0.0", good),
        Use("eks pod", "shop/web/app", PROD.at(bad), PLACES[1].registry, PLACES[1], None, bad),
        silent=PLACES[1].registry,
    )
    impact = RecallImpact(stack.policy, stack.ledger, stack.state, usage, stack.clock)
    found = impact.of(bad, impact.read())
    (release,) = found["releases"]
    assert (release["environment"], release["digest"], release["last_good"]) == ("prod", bad, good)
    assert [use["name"] for use in found["uses"]] == ["prod/widget", "shop/web/app"]
    assert found["unread"] == {str(PLACES[1].registry): "ECS: it does not answer"}
    assert watched(stack) == [(bad, ["recalled"], True)]
    assert Counter(s for s, _, _ in stack.notices.published if "would not pass its gates" in s).total() == 1
