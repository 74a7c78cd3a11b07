"""The doctor's checks one by one: the finding for each fault of a hub, from simulated answers of AWS."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from support.fakes.cli_stack import FakeStack
from support.fakes.policies import parsed
from support.images.builders import DEV, PROD, PROD_SA, digest_of
from tallyman.adapters.aws.clients import Clients, RoleKind
from tallyman.adapters.files import policy_file
from tallyman.adapters.usage.eks import EksClusters
from tallyman.adapters.usage.references import Source
from tallyman.domain.history.facts import Fact, Kind, Via, fact_id
from tallyman.domain.images.details import RepositorySettings
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.domain.policy import UsageRules
from tallyman.domain.usage import Reading
from tallyman.errors import NotAllowed
from tallyman.state import active, sweeps, trips
from tallyman.state.items import StateChange
from tallyman_cli.doctor import checks, repositories
from tallyman_cli.doctor.finding import Finding, Site
from tallyman_cli.doctor.quotas import IMAGES, PUT, REPOSITORIES, concurrency, rates_and_counts
from tallyman_cli.doctor.repositories import open_to_all
from tallyman_cli.doctor.rollouts import rollouts
from tallyman_cli.doctor.round_trip import round_trip
from tallyman_cli.doctor.usage import clusters, usage
from tallyman_cli.shared.stack_names import LETTERS, RULES

SPOKE = PROD.registry.account


class Hub:
    """Clients of a hub: each operation returns the answer that is set, or a healthy hub's; exceptions are raised."""

    def __init__(self, **answers: Any) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": [SPOKE]},
            "Condition": {"StringEquals": {"events:source": ["aws.ecr", "tallyman.doctor"]}},
        }
        self.answers: dict[str, Any] = {
            "describe_rule": {"State": "ENABLED"},
            "describe_event_bus": {"Policy": json.dumps({"Statement": [statement]})},
            "get_queue_url": {"QueueUrl": "https://sqs/queue"},
            "get_queue_attributes": {
                "Attributes": {"ApproximateNumberOfMessages": "0", "ApproximateNumberOfMessagesNotVisible": "0"}
            },
            "get_account_settings": {"AccountLimit": {"UnreservedConcurrentExecutions": 1000}},
            **answers,
        }

    def __call__(self, service: str, region: str) -> Any:
        return self

    def __getattr__(self, operation: str) -> Any:
        def call(**request: Any) -> Any:
            answer = self.answers[operation]
            answer = answer(request) if callable(answer) else answer
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call


def denied(operation: str) -> ClientError:
    return ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, operation)


PLACES = (DEV.registry, PROD.registry, PROD_SA.registry)


def trip(
    system: FakeStack,
    hub: Hub,
    *,
    errors: dict[EcrRegistry, str] | None = None,
    arriving: Iterable[EcrRegistry] = (),
    ways: dict[EcrRegistry, dict[str, Any]] | None = None,
) -> list[Finding]:
    """The findings if the test events of these registries arrive while the doctor waits."""
    asked = []

    def reconciled(payload: dict[str, Any]) -> dict[str, Any]:
        asked.append(payload)
        if payload.get("round_trip"):
            for registry in PLACES:
                sent = {"sent": "2026-11-16T01:54:34.000Z", "arrived": None}
                system.state.put(StateChange(*trips.key("nonce", registry), 0, sent))
            result = [{"registry": str(r), "nonce": "nonce", "error": (errors or {}).get(r)} for r in PLACES]
            return {"trips": result, "ways": None}
        fine = {"rule": "tallyman-spoke-image", "enabled": True, "undelivered": 0, "error": None}
        return {"ways": [{"registry": str(r), **fine, **(ways or {}).get(r, {})} for r in PLACES]}

    def sleep(seconds: float) -> None:
        system.slept += seconds
        for registry in arriving:
            item = system.state.get(*trips.key("nonce", registry))
            if item is not None and item.data["arrived"] is None:
                data = {**item.data, "arrived": "2026-11-16T01:54:35.250Z"}
                system.state.put(StateChange(item.pk, item.sk, item.revision, data))

    system.reconciled = reconciled
    return list(round_trip(Site(replace(system.stack, sleep=sleep), "tallyman", hub, 30.0)))


def test_an_arrived_test_event_is_ok_with_its_duration_without_further_checks(system: FakeStack) -> None:
    found = trip(system, Hub(), arriving=PLACES)
    assert [(f.verdict, f.found) for f in found] == [
        ("ok", f"{r}: a test event arrived in 1.25 s") for r in PLACES
    ]  # fmt: skip
    assert system.slept < 1  # it does not wait longer than necessary


def test_the_wait_is_bounded_and_arrived_test_events_are_ok(system: FakeStack) -> None:
    found = trip(system, Hub(), arriving=[DEV.registry])
    assert system.slept == pytest.approx(30.0)
    assert [f.verdict for f in found] == ["ok", "failed", "failed"]
    assert "every link that can be seen looks well" in found[1].found
    assert "--timeout" in str(found[1].todo)


def messages(count: int, queue: str) -> Any:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        waiting = count if request["QueueUrl"].endswith(queue) else 0
        number = str(waiting)
        return {"Attributes": {"ApproximateNumberOfMessages": number, "ApproximateNumberOfMessagesNotVisible": number}}

    return answer


URL = {"get_queue_url": lambda request: {"QueueUrl": f"https://sqs/{request['QueueName']}"}}
OLD = {"Effect": "Allow", "Principal": {"AWS": SPOKE}, "Condition": {"StringEquals": {"events:source": "aws.ecr"}}}
NO_RULE = ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": "no"}}, "DescribeRule")


@pytest.mark.parametrize(
    ("hub", "way", "why", "todo"),
    [
        ({}, {"enabled": False}, "rule tallyman-spoke-image is disabled there", "enable-rule --name tallyman-spoke-im"),
        ({}, {"enabled": None}, "there is no rule tallyman-spoke-image there", "deploy spoke.yaml again"),
        ({"describe_event_bus": {}}, {}, f"does not let account {SPOKE} in", "among SpokeAccounts"),
        ({"describe_event_bus": {"Policy": json.dumps({"Statement": [OLD]})}}, {}, "does not let account", "deploy"),
        ({"describe_rule": {"State": "DISABLED"}}, {}, "image-spoke of the bus tallyman", "--event-bus-name tallyman"),
        ({"describe_rule": NO_RULE}, {}, "image-spoke of the bus tallyman", "--event-bus-name tallyman"),
        (
            {"get_queue_attributes": messages(1, "tallyman-push"), **URL},
            {},
            "waits in the queue tallyman-push, and record_push does not process it",
            "event source mapping of tallyman-record-push",
        ),
        ({}, {"undelivered": 7}, "7 events could not be forwarded: see the queue tallyman-spoke-und", "ERROR_CO"),
        (
            {"get_queue_attributes": messages(2, "undelivered"), **URL},
            {},
            "4 events could not be delivered to",
            "ERROR_CO",
        ),
        (
            dict.fromkeys(("describe_event_bus", "describe_rule", "get_queue_url"), denied("Any")),
            {"error": "no role", "enabled": None, "rule": None, "undelivered": None},
            "every link that can be seen",
            "rule tallyman-spoke-image and its metrics",
        ),
    ],
)
def test_the_broken_link_is_named(
    system: FakeStack, hub: dict[str, Any], way: dict[str, Any], why: str, todo: str
) -> None:
    found = trip(system, Hub(**hub), arriving=[DEV.registry, PROD_SA.registry], ways={PROD.registry: way})
    (broken,) = [f for f in found if f.verdict != "ok"]
    assert broken.verdict == "failed"
    assert broken.found.startswith(f"{PROD.registry}: no test event arrived in 30 s: ")
    assert why in broken.found
    assert todo in str(broken.todo)


def test_the_hubs_own_registry_needs_no_bus_and_names_its_own_rule(system: FakeStack) -> None:
    ways = {DEV.registry: {"rule": "tallyman-image-own", "enabled": False}}
    found = trip(system, Hub(describe_event_bus={}), arriving=[PROD.registry, PROD_SA.registry], ways=ways)
    assert "the rule tallyman-image-own is disabled there" in found[0].found
    ways = {DEV.registry: {"rule": "tallyman-image-own"}}
    system.state.items.clear()
    found = trip(system, Hub(describe_event_bus={}), arriving=[PROD.registry, PROD_SA.registry], ways=ways)
    assert "every link that can be seen looks well" in found[0].found


def test_an_unsent_test_event_is_not_waited_for(system: FakeStack) -> None:
    errors = dict.fromkeys(PLACES, "assume the role: no")
    found = trip(system, Hub(), errors=errors)
    assert system.slept == 0
    assert {f.verdict for f in found} == {"failed"}
    assert "deploy the hub again" in str(found[0].todo)
    assert f"deploy spoke.yaml again in {PROD.registry}" in str(found[1].todo)


def test_functions_without_test_events_need_a_new_deployment(system: FakeStack) -> None:
    system.reconciled = lambda payload: {"trips": None}
    (finding,) = round_trip(Site(system.stack, "tallyman", Hub()))
    assert (finding.verdict, finding.todo) == ("unknown", "deploy the hub again")


# --- the other checks


def site(system: FakeStack, **answers: Any) -> Site:
    return Site(system.stack, "tallyman", Hub(**answers))


TRAILS = {"trailList": [{"Name": "all", "TrailARN": "arn:all"}, {"Name": "old", "TrailARN": "arn:old"}]}


def test_only_an_enabled_trail_counts(system: FakeStack) -> None:
    on = {"describe_trails": TRAILS, "get_trail_status": lambda request: {"IsLogging": request["Name"] == "arn:all"}}
    (finding,) = checks.trail(site(system, **on))
    assert (finding.verdict, finding.found) == ("ok", "CloudTrail writes to all")
    (finding,) = checks.trail(site(system, **on | {"get_trail_status": {"IsLogging": False}}))
    assert (finding.verdict, finding.found) == ("warning", "every trail is off: all, old")
    (finding,) = checks.trail(site(system, describe_trails={"trailList": []}))
    assert (finding.verdict, finding.found) == ("warning", "there is no CloudTrail trail")


def quotas(system: FakeStack, put: float, images: float, repositories: float) -> list[str]:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if "NextToken" not in request:
            return {"Quotas": [{"QuotaName": PUT, "Value": put}], "NextToken": "more"}
        values = ((IMAGES, images), (REPOSITORIES, repositories))
        return {"Quotas": [{"QuotaName": name, "Value": value} for name, value in values]}

    return [f.verdict for f in rates_and_counts(site(system, list_service_quotas=answer))]


def test_quotas_are_compared_with_usage(system: FakeStack) -> None:
    system.state.put(StateChange(sweeps.PARTITION, str(DEV), 0, {"images": 90}))
    system.state.put(StateChange(sweeps.PARTITION, str(PROD), 0, {"images": 99_999}))  # another account's quota
    assert quotas(system, 10, 100_000, 100_000) == ["ok", "ok", "ok"]
    assert quotas(system, 5, 100_000, 100_000) == ["warning", "ok", "ok"]
    assert quotas(system, 10, 100, 100_000) == ["ok", "warning", "ok"]
    assert quotas(system, 10, 100_000, 1) == ["ok", "ok", "warning"]


def test_an_unreadable_quota_is_not_ok(system: FakeStack) -> None:
    found = list(rates_and_counts(site(system, list_service_quotas={"Quotas": []})))
    assert {f.verdict for f in found} == {"unknown"}


@pytest.mark.parametrize(("left", "verdict"), [(1000, "ok"), (17, "ok"), (10, "warning")])
def test_a_new_accounts_concurrency_is_reported_before_it_throttles(system: FakeStack, left: int, verdict: str) -> None:
    limit = {"AccountLimit": {"UnreservedConcurrentExecutions": left}}
    (finding,) = concurrency(site(system, get_account_settings=limit))
    assert finding.verdict == verdict
    assert (finding.todo is None) == (verdict == "ok")
    assert finding.todo is None or "L-B99A9384" in finding.todo


SERVICES = """
environments:
  dev: {registries: [111111111111/us-east-2]}
  prod: {registries: [222222222222/us-east-2], rollout: {services: [{ecs: shop/app, repository: shop/app}]}}
"""


@pytest.mark.parametrize(
    ("services", "verdict", "word"),
    [
        ([{"status": "ACTIVE"}], "ok", "uses rolling updates"),
        ([{"status": "ACTIVE", "deploymentController": {"type": "CODE_DEPLOY"}}], "failed", "CODE_DEPLOY"),
        ([{"status": "INACTIVE"}], "failed", "there is no"),
        ("ClusterNotFoundException", "failed", "there is no"),
        ("AccessDeniedException", "unknown", "shop/app"),
    ],
)
def test_a_service_that_a_release_cannot_update_is_reported(
    system: FakeStack, services: Any, verdict: str, word: str
) -> None:
    refused = ClientError({"Error": {"Code": str(services), "Message": "no"}}, "describe_services")
    answer = refused if isinstance(services, str) else {"services": services}
    here = Site(system.stack, "tallyman", Hub(describe_services=answer))
    policy = policy_file.loads(SERVICES.encode(), "tallyman.yaml")
    stack = replace(system.stack, given=policy, clients=lambda: ByService(here))
    (finding,) = rollouts(replace(here, stack=stack))
    assert finding.verdict == verdict
    assert word in finding.found


def test_an_unreadable_cluster_is_reported(system: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    def readings(source: EksClusters, registry: EcrRegistry, at: datetime, rules: UsageRules) -> Iterator[Reading]:
        assert rules == system.policy.usage
        if registry == PROD_SA.registry:
            yield Reading("EKS", registry, at, error="list the EKS clusters of it: not allowed")
            return
        yield Reading("EKS", registry, at)
        if registry == PROD.registry:
            yield Reading("EKS cluster shop", registry, at)
            yield Reading("EKS cluster lab", registry, at, error="the EKS cluster lab can't be reached")

    monkeypatch.setattr(EksClusters, "readings", readings)
    here = Site(system.stack, "tallyman", Hub())
    found = list(clusters(replace(here, stack=replace(system.stack, clients=lambda: ByService(here)))))
    assert [(each.verdict, each.found) for each in found] == [
        ("ok", f"EKS cluster shop in {PROD.registry} can be read"),
        ("unknown", "the EKS cluster lab can't be reached"),
        ("unknown", "list the EKS clusters of it: not allowed"),
    ]
    assert all("usage.eks.ignore" in (each.todo or "") for each in found[1:])


def test_an_unreadable_source_of_usage_is_reported(system: FakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(source: Source, registry: EcrRegistry, at: datetime) -> Reading:
        refused = registry == PROD.registry and source.name == "Batch"
        return Reading(source.name, registry, at, error="not allowed" if refused else None)

    monkeypatch.setattr("tallyman_cli.doctor.usage.reading", read)
    here = Site(system.stack, "tallyman", Hub())
    found = list(usage(replace(here, stack=replace(system.stack, clients=lambda: ByService(here)))))
    others = [registry for registry in system.policy.registries() if registry != PROD.registry]
    assert [each.found for each in found if each.verdict == "unknown"] == [
        f"Batch of {PROD.registry} can't be read: not allowed"
    ]
    assert {each.found for each in found if each.verdict == "ok"} == {
        f"ECS, Lambda, Inspector in {PROD.registry} can be read",
        *(f"ECS, Lambda, Batch, Inspector in {registry} can be read" for registry in others),
    }


def test_a_setting_is_judged_by_its_name_whatever_the_environment_is_called() -> None:
    create = {"immutable": False, "scan_on_push": True}
    rules = {
        "environments": {"immutable": {"registries": [str(DEV.registry)]}},
        "repositories": [{"match": "*", "create": create}],
    }
    found = RepositorySettings(DEV, immutable=False, scan_on_push=False)
    wrong, movable = repositories._settings(parsed(rules), found)
    assert (wrong.partition(" ")[0], movable.partition(":")[0]) == ("scan_on_push", "tags can be moved")


class ByService(Clients):
    """`Clients` that only answer for ECS."""

    def __init__(self, site: Site) -> None:
        super().__init__(DEV.registry, "tallyman", "cli")
        self.site = site

    def get(self, service: str, registry: EcrRegistry | None = None, power: RoleKind = "read") -> Any:
        assert service == "ecs"
        assert registry is not None
        return self.site.client(service, registry.region)


def listed_rules(*but: str, **states: str) -> dict[str, Any]:
    """The answer of ListRules: all rules of the stack but some; the others are enabled unless `states` says
    otherwise."""
    return {
        "Rules": [
            {"Name": f"tallyman-{name}", "State": states.get(name.replace("-", "_"), "ENABLED")}
            for name in sorted(RULES - set(but))
        ]
    }


def test_disabled_and_missing_rules_are_reported(system: FakeStack) -> None:
    (finding,) = checks.rules(site(system, list_rules=listed_rules()))
    assert (finding.verdict, finding.found) == ("ok", "18 rules are enabled")
    (finding,) = checks.rules(site(system, list_rules=listed_rules(image_own="DISABLED")))
    assert (finding.verdict, finding.found) == ("failed", "disabled: tallyman-image-own")
    off, gone = checks.rules(site(system, list_rules=listed_rules("pushed-own", "retention", image_own="DISABLED")))
    assert (off.verdict, off.found.partition(":")[0]) == ("failed", "disabled")
    assert (gone.verdict, gone.found) == ("failed", "missing: tallyman-pushed-own, tallyman-retention")
    assert "REVERT_DRIFT" in str(gone.todo)  # a deployment alone does not create them again
    (finding,) = checks.rules(site(system, list_rules={"Rules": []}))
    assert (finding.verdict, finding.found) == ("failed", "there are none")


def test_a_disabled_rule_on_a_later_page_counts(system: FakeStack) -> None:
    def answer(request: dict[str, Any]) -> dict[str, Any]:
        if "NextToken" in request:
            return {"Rules": [{"Name": "tallyman-image-spoke", "State": "DISABLED"}]}
        return {**listed_rules("image-spoke"), "NextToken": "more"}

    (finding,) = checks.rules(site(system, list_rules=answer))
    assert (finding.verdict, "tallyman-image-spoke" in finding.found) == ("failed", True)


def test_a_disabled_rule_is_enabled_on_its_own_bus(system: FakeStack) -> None:
    """Without the bus, `enable-rule` looks for the rule on the default bus."""

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        side = "own" if request["EventBusName"] == "default" else "spoke"
        rules = listed_rules(**{f"image_{side}": "DISABLED"})["Rules"]
        return {"Rules": [rule for rule in rules if rule["Name"].endswith(f"-{side}") or side == "own"]}

    (finding,) = checks.rules(site(system, list_rules=answer))
    assert str(finding.todo).split("; ") == [
        "aws events enable-rule --event-bus-name default --name tallyman-image-own",
        "aws events enable-rule --event-bus-name tallyman --name tallyman-image-spoke",
    ]


def dead_letters(*but: str, full: str = "") -> dict[str, Any]:
    """The answers of SQS: all queues with dead letters but some, empty but for `full`."""
    urls = [f"https://sqs/tallyman-{name}" for name in sorted(LETTERS - set(but))]

    def attributes(request: dict[str, Any]) -> dict[str, Any]:
        return {"Attributes": {"ApproximateNumberOfMessages": "2" if request["QueueUrl"].endswith(f"/{full}") else "0"}}

    return {
        "list_queues": {"QueueUrls": [*urls, "https://sqs/tallyman-dev-push-dead-letters"]},
        "get_queue_attributes": attributes,
    }


def test_missing_queues_of_dead_letters_are_reported(system: FakeStack) -> None:
    (finding,) = checks.queues(site(system, **dead_letters()))
    assert (finding.verdict, finding.found) == ("ok", "9 dead-letter queues are empty")
    (finding,) = checks.queues(site(system, **dead_letters("undelivered")))
    assert (finding.verdict, finding.found) == ("failed", "missing: tallyman-undelivered")
    full, gone = checks.queues(site(system, **dead_letters("undelivered", full="tallyman-push-dead-letters")))
    assert (full.found, gone.found) == ("not empty: tallyman-push-dead-letters (2)", "missing: tallyman-undelivered")


def test_a_stack_whose_name_has_ours_as_prefix_is_ignored(system: FakeStack) -> None:
    """The environments of samconfig.toml are `tallyman` and `tallyman-dev`."""
    answer = listed_rules()
    answer["Rules"].append({"Name": "tallyman-dev-call-own", "State": "DISABLED"})
    (finding,) = checks.rules(site(system, list_rules=answer))
    assert finding.verdict == "ok"
    for name, verdict in (("tallyman-dev-push-dead-letters", "ok"), ("tallyman-push-dead-letters", "failed")):
        (finding,) = checks.queues(site(system, **dead_letters(full=name)))
        assert finding.verdict == verdict


def test_undelivered_events_in_a_spoke_are_reported(system: FakeStack) -> None:
    way = {"registry": str(PROD.registry), "rule": "r", "enabled": True, "undelivered": 3, "error": None}
    system.reconciled = lambda payload: {"ways": [way]}
    (finding,) = checks.queues(site(system, **dead_letters()))
    assert (finding.verdict, finding.found) == (
        "failed",
        f"not empty: tallyman-spoke-undelivered in {PROD.registry} (3)",
    )


def pushed(
    system: FakeStack, place: Repository, day: int, via: Via, partition: str, tag: str | None = "v1.0.0"
) -> None:
    """Record a push to a repository whose name contains this partition."""
    at = datetime(2026, 11, day, tzinfo=UTC)
    item = system.state.get(partition, str(place))
    if item is None:
        system.state.put(StateChange(partition, str(place), 0, {"at": "2026-11-16T00:00:00Z"}))
    fact = Fact(Kind.PUSHED, fact_id(place, day, via), at, at, via, digest_of(f"{day}"), place, tag)
    system.ledger.append(fact)


def test_the_last_push_of_each_registry_shows_whether_events_arrive(system: FakeStack) -> None:
    pushed(system, DEV, 2, Via.RECONCILED, sweeps.PARTITION)
    pushed(system, DEV, 3, Via.EVENT, sweeps.PARTITION)
    pushed(system, DEV, 4, Via.RECONCILED, sweeps.PARTITION, tag=None)  # a child: not every registry sends its event
    pushed(system, PROD, 2, Via.EVENT, active.PARTITION)
    pushed(system, PROD, 3, Via.RECONCILED, active.PARTITION)
    found = [(f.verdict, f.found.partition(": ")[2]) for f in checks.events(site(system))]
    assert found == [
        ("ok", "an event reported the last push"),
        ("failed", "a sweep found the last push, no event reported it"),
        ("unknown", "no push is known yet"),
    ]


def test_without_access_to_reconcile_the_hubs_own_queues_are_reported(system: FakeStack) -> None:
    def refused(payload: Any) -> dict[str, Any]:
        raise NotAllowed("invoke: no")

    system.reconciled = refused
    (finding,) = checks.queues(site(system, **dead_letters()))
    assert finding.verdict == "ok"
    hub = {name: denied(name) for name in ("list_rules", "list_queues", "describe_trails", "list_service_quotas")}
    (finding,) = [f for f in checks.findings(site(system, **hub)) if f.check == "round trip"]
    assert finding.verdict == "unknown"


def test_a_failing_check_is_unknown_and_does_not_stop_the_others(system: FakeStack) -> None:
    operations = ("list_rules", "list_queues", "describe_trails", "list_service_quotas", "get_account_settings")
    hub = Hub(**{name: denied(name) for name in operations})
    system.reconciled = lambda payload: {"trips": [], "ways": [], "registries": []}
    found = {f.check: f.verdict for f in checks.findings(Site(system.stack, "tallyman", hub))}
    assert {found[check] for check in ("rules", "queues", "trail", "quotas")} == {"unknown"}
    assert found["applications"] == "unknown"  # nothing is known yet


EVERYBODY = {"Effect": "Allow", "Principal": "*", "Action": "ecr:BatchGetImage"}


@pytest.mark.parametrize(
    ("statement", "is_open"),
    [
        (EVERYBODY, True),
        ({**EVERYBODY, "Principal": {"AWS": "*"}}, True),
        ({**EVERYBODY, "Principal": {"AWS": ["arn:aws:iam::1:root", "*"]}}, True),
        ({"Effect": "Allow", "NotPrincipal": {"AWS": "1"}, "Action": "ecr:*"}, True),
        ({**EVERYBODY, "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}}, False),
        ({**EVERYBODY, "Effect": "Deny"}, False),
        ({**EVERYBODY, "Principal": {"AWS": "arn:aws:iam::111111111111:root"}}, False),
        ({**EVERYBODY, "Principal": {"Service": "lambda.amazonaws.com"}}, False),
    ],
)
def test_a_policy_open_to_everybody_is_recognized(statement: dict[str, Any], is_open: bool) -> None:
    assert open_to_all(json.dumps({"Statement": [statement]})) is is_open
    assert open_to_all(json.dumps({"Statement": statement})) is is_open
