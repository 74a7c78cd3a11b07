"""The checks of `tallyman doctor`: each says what it found, and what to do where that is not well."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import botocore.session

from tallyman.adapters.translate import translated
from tallyman.domain.facts import Kind, Via
from tallyman.domain.history import Row
from tallyman.domain.names import Registry, Repository
from tallyman.errors import NotFound, TallymanError
from tallyman.services.targets import settings_of
from tallyman_cli import rows
from tallyman_cli.context import Stack
from tallyman_cli.creation import differences

OK, WARN, BAD, UNKNOWN = "ok", "warning", "failed", "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """`verdict`: ok, warning, failed or unknown; `todo`: None where there is nothing to do."""

    check: str
    verdict: str
    found: str
    todo: str | None = None


@dataclass(frozen=True, slots=True)
class Checkup:
    """What the checks look at: the stack, its name, and clients of the hub's account by (service, region)."""

    stack: Stack
    name: str
    client: Callable[[str, str], Any]

    def findings(self) -> Iterator[Finding]:
        """Every check, one after the other; one that can't be made is unknown, and the others go on."""
        for title, check in (
            ("rules", self.rules),
            ("queues", self.queues),
            ("registries", self.registries),
            ("events", self.events),
            ("repositories", self.repositories),
            ("trail", self.trail),
            ("quotas", self.quotas),
        ):
            try:
                yield from check()
            except TallymanError as error:
                yield Finding(title, UNKNOWN, str(error), "look with credentials that may, or by hand")

    def rules(self) -> Iterator[Finding]:
        """The stack's rules are enabled, on the default bus and on its own."""
        events, count, off = self.client("events", self.stack.hub.region), 0, []
        for bus in ("default", self.name):
            with translated(f"list the rules of the bus {bus}"):
                rules = events.list_rules(EventBusName=bus, NamePrefix=f"{self.name}-")["Rules"]
            count += len(rules)
            off += [rule["Name"] for rule in rules if rule["State"] != "ENABLED"]
        if off:
            yield Finding("rules", BAD, f"disabled: {', '.join(off)}", "aws events enable-rule --name …")
        elif not count:
            yield Finding("rules", BAD, "there are none", "deploy the stack again: make deploy")
        else:
            yield Finding("rules", OK, f"{count} rules are enabled")

    def queues(self) -> Iterator[Finding]:
        """No dead letters, nothing undelivered."""
        sqs, full, count = self.client("sqs", self.stack.hub.region), [], 0
        with translated("list the queues"):
            urls = sqs.list_queues(QueueNamePrefix=f"{self.name}-").get("QueueUrls", [])
        for url in urls:
            name = url.rpartition("/")[2]
            if not name.endswith(("dead-letters", "undelivered")):
                continue
            with translated(f"read the queue {name}"):
                answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            count += 1
            if waiting := int(answer["Attributes"]["ApproximateNumberOfMessages"]):
                full.append(f"{name} ({waiting})")
        if full:
            todo = "read their attributes Reason and Error, mend the cause, redrive them"
            yield Finding("queues", BAD, f"not empty: {', '.join(full)}", todo)
        else:
            yield Finding("queues", OK, f"{count} queues of dead letters are empty")

    def registries(self) -> Iterator[Finding]:
        """The functions can read every registry: their roles can be assumed."""
        answer = self.stack.reconcile({})
        for each in answer["registries"]:
            if error := each.get("error"):
                todo = f"deploy spoke.yaml in {each['registry']}, with HubAccount={self.stack.hub.account}"
                yield Finding("registries", BAD, f"{each['registry']}: {error}", todo)
            else:
                yield Finding("registries", OK, f"{each['registry']}: read by the stack's own role")

    def events(self) -> Iterator[Finding]:
        """Events arrive from every registry: what was pushed last there was told by one, not found by a sweep.

        EventBridge lets nobody send an event as `aws.ecr`, so the proof is the last real push.
        """
        for registry in self.stack.policy.registries():
            via = self._last_told(registry)
            if via is None:
                todo = "push something there, then ask again"
                yield Finding("events", UNKNOWN, f"{registry}: no push is known yet", todo)
            elif via is Via.RECONCILED:
                todo = f"see the rules of {registry} (spoke.yaml) and the queues of what was not delivered"
                yield Finding("events", BAD, f"{registry}: the last push was found by a sweep, no event came", todo)
            else:
                yield Finding("events", OK, f"{registry}: the last push was told by an event")

    def _last_told(self, registry: Registry) -> Via | None:
        newest: Row | None = None
        for item in self.stack.state.list("A#active"):
            place = Repository.parse(item.sk)
            if place.registry != registry:
                continue
            # Only what has a tag: of referrers and children not every registry tells.
            told = rows.of_repository(self.stack.ledger, place)
            row = next((r for r in told if r.kind == Kind.PUSHED and r.tag), None)
            if row is not None and (newest is None or row.at > newest.at):
                newest = row
        return newest.via if newest else None

    def repositories(self) -> Iterator[Finding]:
        """Repositories of the hub's account: as the policy says, and as good practice asks."""
        mine = [r for r in self.stack.policy.registries() if r.account == self.stack.hub.account]
        for registry in mine:
            ecr = self.client("ecr", registry.region)
            for found in self.stack.registries.repositories(registry):
                place = found.repository
                problems = []
                for environment, canonical in self.stack.policy.environments_of(registry, place.name):
                    wanted = settings_of(self.stack.policy.repository(canonical).create, place)
                    for d in differences(wanted, found):
                        problems.append(f"{d['setting']} is {d['found']}, {environment.name} wants {d['wanted']}")
                if not found.scan_on_push and not problems:
                    problems.append("images are not scanned on push")
                problems += self._open_to_all(ecr, place)
                if not self._has(ecr.get_lifecycle_policy, place):
                    problems.append("no lifecycle policy cleans up what retention does not know")
                if problems:
                    yield Finding("repositories", WARN, f"{place}: {'; '.join(problems)}", _MEND)
                else:
                    yield Finding("repositories", OK, f"{place}: as the policy says")
        if others := [str(r) for r in self.stack.policy.registries() if r not in mine]:
            yield Finding("repositories", OK, f"{', '.join(others)}: watched by reconcile, which tells differences")

    def _open_to_all(self, ecr: Any, place: Repository) -> list[str]:
        try:
            with translated(f"read the policy of {place}"):
                text = ecr.get_repository_policy(registryId=place.registry.account, repositoryName=place.name)
        except NotFound:
            return []
        statements = json.loads(text["policyText"]).get("Statement", [])
        everybody = [s for s in statements if s.get("Effect") == "Allow" and s.get("Principal") in ("*", {"AWS": "*"})]
        return ["its policy lets everybody in"] if any(not s.get("Condition") for s in everybody) else []

    def _has(self, ask: Callable[..., Any], place: Repository) -> bool:
        try:
            with translated(f"read the lifecycle policy of {place}"):
                ask(registryId=place.registry.account, repositoryName=place.name)
        except TallymanError as error:
            if "LifecyclePolicyNotFoundException" not in str(error):
                raise
            return False
        return True

    def trail(self) -> Iterator[Finding]:
        """CloudTrail: LookupEvents always answers for 90 days; a trail keeps longer, and tells at once."""
        with translated("describe the trails"):
            trails = self.client("cloudtrail", self.stack.hub.region).describe_trails()["trailList"]
        if trails:
            yield Finding("trail", OK, f"CloudTrail writes to {len(trails)} trails")
        else:
            todo = "create a trail: who did what is known for 90 days only, and not at once"
            yield Finding("trail", WARN, "there is no trail", todo)

    def quotas(self) -> Iterator[Finding]:
        """What ECR allows a second: promotions share it with the owner's own pushes."""
        with translated("list ECR's quotas"):
            answer = self.client("service-quotas", self.stack.hub.region).list_service_quotas(ServiceCode="ecr")
        for quota in answer["Quotas"]:
            if "PutImage" in quota["QuotaName"]:
                yield Finding("quotas", OK, f"{quota['QuotaName']}: {quota['Value']:g}")


_MEND = "mend the repository, or change `create` in the policy"


def clients(session: Any = None) -> Callable[[str, str], Any]:
    """Clients with the caller's own credentials."""
    found = session or botocore.session.get_session()

    def client(service: str, region: str) -> Any:
        return found.create_client(service, region_name=region)

    return client
