"""Checks that events come from every registry: sends a test event from each, and names what stops one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tallyman.adapters.errors.translate import translated
from tallyman.domain.events.eventbridge import TRIP_SOURCE
from tallyman.domain.names import EcrRegistry
from tallyman.errors import NotFound, TallymanError
from tallyman.state import trips
from tallyman.state.trips import TRIPS
from tallyman_cli.doctor.finding import BAD, OK, UNKNOWN, Finding, Site
from tallyman_cli.doctor.repositories import as_list, statements
from tallyman_cli.shared import output
from tallyman_cli.shared.waiting import wait_for

TITLE = "round trip"


def round_trip(site: Site) -> Iterator[Finding]:
    """One for each registry of the policy. `reconcile` sends the test events, since it alone has the roles;
    `record_push` writes arrivals into the state. Waits once for all of them, at most the site's patience."""
    sent = site.stack.reconcile({"repositories": [], "round_trip": True}).get("trips")
    if sent is None:
        yield Finding(TITLE, UNKNOWN, "the stack's functions know of no test event", "deploy the hub again")
        return
    under_way = {each["registry"]: each["nonce"] for each in sent if each["error"] is None}
    if under_way:
        site.say(
            f"sent test events to {output.counted(len(under_way), 'registry', 'registries')}; "
            f"waiting at most {site.patience:g} s"
        )
    took = _wait(site, under_way)
    lost = [registry for registry in under_way if registry not in took]
    causes = Causes.look(site) if lost else None
    for each in sent:
        registry = each["registry"]
        if each["error"] is not None:
            todo = f"deploy spoke.yaml again in {registry}, with HubAccount={site.stack.hub.account}"
            if EcrRegistry.parse(registry).account == site.stack.hub.account:
                todo = "deploy the hub again: make deploy"
            yield Finding(TITLE, BAD, f"{registry}: no test event could be sent: {each['error']}", todo)
        elif registry in took:
            yield Finding(TITLE, OK, f"{registry}: a test event arrived in {took[registry]:.2f} s")
        elif causes is not None:
            why, todo = causes.of(EcrRegistry.parse(registry))
            found = f"{registry}: no test event arrived in {site.patience:g} s: {why}"
            yield Finding(TITLE, BAD, found, todo)


def _wait(site: Site, under_way: dict[str, str]) -> dict[str, float]:
    """The seconds that each test event took, by registry; those that did not arrive in time are missing."""
    keys = [trips.key(nonce, registry) for registry, nonce in under_way.items()]
    took: dict[str, float] = {}

    def look() -> bool | None:
        for (_, registry), trip in TRIPS.get_many(site.stack.state, keys).items():
            if trip.arrived is not None:
                seconds = (trip.arrived - trip.sent).total_seconds()
                took[registry] = max(0.0, seconds)  # clocks of two machines differ
        return True if len(took) == len(keys) else None

    if keys:
        wait_for(site.stack, look, site.patience)
    return took


@dataclass(frozen=True, slots=True)
class Causes:
    """Every link between a registry and `record_push`, read once after an event did not arrive. None: can't be read.

    `ways`: by registry, what the stack's own role reads there; `policy`: the statements of the bus's policy; `rules`:
    whether each of the hub's two rules for pushes is enabled; `waiting`, `undelivered`: messages in the hub's queues.
    """

    site: Site
    ways: dict[str, dict[str, Any]]
    policy: list[dict[str, Any]] | None
    rules: dict[str, bool]
    waiting: int | None
    undelivered: int | None

    @classmethod
    def look(cls, site: Site) -> "Causes":
        """Read the links: those of spokes through `reconcile`, those of the hub with the person's own credentials."""
        rules = {f"{site.name}-image-own": "default", f"{site.name}-image-spoke": site.name}
        found = {rule: enabled for rule, bus in rules.items() if (enabled := _enabled(site, rule, bus)) is not None}
        return cls(
            site,
            {each["registry"]: each for each in ways(site)},
            _statements(site),
            found,
            _messages(site, f"{site.name}-push"),
            _messages(site, f"{site.name}-undelivered"),
        )

    def of(self, registry: EcrRegistry) -> tuple[str, str]:
        """The first link that is broken, and what to do."""
        name, hub = self.site.name, self.site.stack.hub
        own = registry == hub
        way = self.ways.get(str(registry), {})
        template = "template.yaml" if own else "spoke.yaml"
        rule = way.get("rule") or f"{name}-{'image-own' if own else 'spoke-image'}"
        if way and way.get("error") is None and way["enabled"] is None:
            return f"there is no rule {rule} there", f"deploy {template} again in {registry}"
        if way.get("enabled") is False:
            return (
                f"the rule {rule} is disabled there",
                f"aws events enable-rule --name {rule} --region {registry.region} (in account {registry.account})",
            )
        if registry.account != hub.account and self.policy is not None and not _lets_in(self.policy, registry.account):
            return (
                f"the policy of the bus {name} in {hub} does not let account {registry.account} in",
                f"deploy the hub again with {registry.account} among SpokeAccounts",
            )
        if not own and self.rules.get(f"{name}-image-spoke") is False:
            return (
                f"the rule {name}-image-spoke of the bus {name} in {hub} is disabled",
                f"aws events enable-rule --name {name}-image-spoke --event-bus-name {name} --region {hub.region}",
            )
        if self.waiting:
            return (
                f"it waits in the queue {name}-push, and record_push does not process it",
                f"check that the event source mapping of {name}-record-push is enabled, and see its log group",
            )
        if way.get("undelivered"):
            queue = f"{name}-{'' if own else 'spoke-'}undelivered"
            return (
                f"{output.counted(way['undelivered'], 'event')} could not be forwarded: see the queue {queue} there",
                f"read their attributes ERROR_CODE and ERROR_MESSAGE: the role {name}-spoke-forward-{registry.region}, "
                f"or the bus",
            )
        if self.undelivered:
            return (
                f"{output.counted(self.undelivered, 'event')} could not be delivered to a queue: "
                f"see {name}-undelivered in {hub}",
                "read their attributes ERROR_CODE and ERROR_MESSAGE: a queue's policy, or its key",
            )
        return (
            "every link that can be seen looks well",
            f"run the doctor with a longer --timeout; see the log group of {name}-record-push, and in {registry} the "
            f"rule {rule} and its metrics Invocations and FailedInvocations",
        )


def ways(site: Site) -> list[dict[str, Any]]:
    """How events leave each registry's account, as the stack's own roles read it: its rule, and its queue of
    undelivered events. Empty where `reconcile` can't be run."""
    try:
        return site.stack.reconcile({"repositories": [], "ways": True}).get("ways") or []
    except TallymanError:
        return []


def _enabled(site: Site, rule: str, bus: str) -> bool | None:
    try:
        with translated(f"describe the rule {rule}"):
            return bool(site.hub("events").describe_rule(Name=rule, EventBusName=bus)["State"] == "ENABLED")
    except NotFound:
        return False
    except TallymanError:
        return None


def _statements(site: Site) -> list[dict[str, Any]] | None:
    try:
        with translated(f"describe the bus {site.name}"):
            text = site.hub("events").describe_event_bus(Name=site.name).get("Policy")
        return statements(text)
    except TallymanError:
        return None


def _messages(site: Site, queue: str) -> int | None:
    """Messages that wait in the queue or are being handled; None: it can't be read."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    sqs = site.hub("sqs")
    try:
        with translated(f"read the queue {queue}"):
            url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
            answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    except TallymanError:
        return None
    return sum(int(answer[name]) for name in names)


def _lets_in(policy: list[dict[str, Any]], account: str) -> bool:
    """Whether these statements let the account send test events. Knows the form that template.yaml writes."""
    for statement in policy:
        principal = statement.get("Principal", [])
        who = as_list(principal.get("AWS", []) if isinstance(principal, dict) else principal)
        sources = (statement.get("Condition") or {}).get("StringEquals", {}).get("events:source", TRIP_SOURCE)
        if (
            statement.get("Effect") == "Allow"
            and any(w == "*" or w == account or f"::{account}:" in w for w in who)
            and TRIP_SOURCE in as_list(sources)
        ):
            return True
    return False
