"""The checks of `tallyman doctor`: each says what it found, and what to do where that is not well."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallyman.adapters.errors.translate import translated
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.history.fold import Row
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.errors import TallymanError
from tallyman.state import active, sweeps
from tallyman_cli.doctor.content_checks import APPLICATIONS, BASES, Contents
from tallyman_cli.doctor.finding import BAD, OK, UNKNOWN, WARN, Finding, Site
from tallyman_cli.doctor.quotas import Quotas
from tallyman_cli.doctor.replication import TITLE as REPLICATION
from tallyman_cli.doctor.replication import Replications
from tallyman_cli.doctor.repositories import Repositories
from tallyman_cli.doctor.rollouts import TITLE as ROLLOUTS
from tallyman_cli.doctor.rollouts import Rollouts
from tallyman_cli.doctor.round_trip import Trip, ways
from tallyman_cli.shared import rows
from tallyman_cli.shared.stack_names import LETTERS, RULES, is_of

LOOKED_AT = 50
"""Repositories, and rows of each, that are looked at for a last push."""


@dataclass(frozen=True, slots=True)
class Doctor:
    """All checks of one stack; those of the stack itself are here."""

    site: Site

    def findings(self) -> Iterator[Finding]:
        """Every check, one after the other; one that can't be made is unknown, and the others go on."""
        contents = Contents(self.site)
        return _each(
            ("rules", self.rules),
            ("queues", self.queues),
            ("round trip", Trip(self.site).findings),
            ("registries", self.registries),
            ("events", self.events),
            ("repositories", Repositories(self.site).findings),
            (APPLICATIONS, contents.applications),
            (BASES, contents.base_images),
            ("trail", self.trail),
            ("quotas", Quotas(self.site).findings),
            ("quotas", Quotas(self.site).concurrency),
            (ROLLOUTS, Rollouts(self.site).findings),
            (REPLICATION, Replications(self.site).findings),
        )

    def read_only(self) -> Iterator[Finding]:
        """The checks that send no test event and ask no function for anything."""
        return _each(
            ("rules", self.rules),
            ("events", self.events),
            ("repositories", Repositories(self.site).findings),
            ("quotas", Quotas(self.site).findings),
            ("quotas", Quotas(self.site).concurrency),
            (ROLLOUTS, Rollouts(self.site).findings),
            (REPLICATION, Replications(self.site).findings),
        )

    def rules(self) -> Iterator[Finding]:
        """The stack's rules are enabled, on the default bus and on its own."""
        events, count, off = self.site.hub("events"), 0, []
        for bus in ("default", self.site.name):
            with translated(f"list the rules of the bus {bus}"):
                listed = events.list_rules(EventBusName=bus, NamePrefix=f"{self.site.name}-")["Rules"]
            rules = [rule for rule in listed if is_of(self.site.name, rule["Name"], RULES)]
            count += len(rules)
            off += [rule["Name"] for rule in rules if rule["State"] != "ENABLED"]
        if off:
            yield Finding("rules", BAD, f"disabled: {', '.join(off)}", "aws events enable-rule --name …")
        elif not count:
            yield Finding("rules", BAD, "there are none", "deploy the stack again: make deploy")
        else:
            yield Finding("rules", OK, f"{count} rules are enabled")

    def queues(self) -> Iterator[Finding]:
        """No dead letters, nothing undelivered, in the spokes neither: those queues the stack's own role reads."""
        sqs, full, count = self.site.hub("sqs"), [], 0
        with translated("list the queues"):
            urls = sqs.list_queues(QueueNamePrefix=f"{self.site.name}-").get("QueueUrls", [])
        for url in urls:
            name = url.rpartition("/")[2]
            if not is_of(self.site.name, name, LETTERS):
                continue
            with translated(f"read the queue {name}"):
                answer = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])
            count += 1
            if waiting := int(answer["Attributes"]["ApproximateNumberOfMessages"]):
                full.append(f"{name} ({waiting})")
        for way in ways(self.site):
            if way["registry"] == str(self.site.stack.hub) or way["error"] is not None:
                continue  # seen above; or for the round trip to report
            count += 1
            if way["undelivered"]:
                full.append(f"{self.site.name}-spoke-undelivered in {way['registry']} ({way['undelivered']})")
        if full:
            todo = "see why: tallyman letters list; mend the cause; tallyman letters replay"
            yield Finding("queues", BAD, f"not empty: {', '.join(full)}", todo)
        else:
            yield Finding("queues", OK, f"{count} queues of dead letters are empty")

    def registries(self) -> Iterator[Finding]:
        """The functions can read every registry: their roles can be assumed."""
        self.site.say("reconcile looks at every registry: a large one takes minutes")
        answer = self.site.stack.reconcile({})
        for each in answer["registries"]:
            if error := each.get("error"):
                todo = f"deploy spoke.yaml in {each['registry']}, with HubAccount={self.site.stack.hub.account}"
                yield Finding("registries", BAD, f"{each['registry']}: {error}", todo)
            else:
                yield Finding("registries", OK, f"{each['registry']}: read by the stack's own role")

    def events(self) -> Iterator[Finding]:
        """Events arrive from every registry: an event reported the last push there; a sweep did not have to find it.

        A test event proves the way; that ECR's own events are taken is proved by the last real push.
        """
        for registry in self.site.stack.policy.registries():
            via = self._last_told(registry)
            if via is None:
                todo = "push something there, then ask again"
                yield Finding("events", UNKNOWN, f"{registry}: no push is known yet", todo)
            elif via is Via.RECONCILED:
                todo = f"see the rules of {registry} (spoke.yaml) and the queues of what was not delivered"
                yield Finding("events", BAD, f"{registry}: the last push was found by a sweep, no event came", todo)
            else:
                yield Finding("events", OK, f"{registry}: an event reported the last push")

    def _last_told(self, registry: EcrRegistry) -> Via | None:
        """By the repositories where something happened of late; where it is quiet, by some of the others."""
        state, newest = self.site.stack.state, None
        for known, most in ((active.repositories, None), (sweeps.repositories, LOOKED_AT)):
            places = [place for place in known(state) if place.registry == registry]
            for place in places[:most]:
                row = self._last_push(place)
                if row is not None and (newest is None or row.at > newest.at):
                    newest = row
            if newest is not None:
                return newest.via
        return None

    def _last_push(self, place: Repository) -> Row | None:
        """Only what has a tag: not every registry reports referrers and children."""
        history = rows.of_repository(self.site.stack.ledger, place, limit=LOOKED_AT)
        return next((row for row in history if row.kind == Kind.PUSHED and row.tag), None)

    def trail(self) -> Iterator[Finding]:
        """CloudTrail: LookupEvents always answers for 90 days; a trail keeps longer, and delivers at once."""
        cloudtrail = self.site.hub("cloudtrail")
        with translated("describe the trails"):
            trails = cloudtrail.describe_trails()["trailList"]
        logging = []
        for trail in trails:
            with translated(f"ask whether the trail {trail['Name']} is on"):
                if cloudtrail.get_trail_status(Name=trail["TrailARN"])["IsLogging"]:
                    logging.append(trail["Name"])
        if logging:
            yield Finding("trail", OK, f"CloudTrail writes to {', '.join(sorted(logging))}")
        elif trails:
            names = ", ".join(sorted(trail["Name"] for trail in trails))
            yield Finding(
                "trail", WARN, f"every trail is switched off: {names}", "aws cloudtrail start-logging --name …"
            )
        else:
            todo = "create a trail: who did what is known for 90 days only, and not at once"
            yield Finding("trail", WARN, "there is no trail", todo)


def _each(*checks: tuple[str, Callable[[], Iterator[Finding]]]) -> Iterator[Finding]:
    for title, check in checks:
        try:
            yield from check()
        except TallymanError as error:
            yield Finding(title, UNKNOWN, str(error), "look with credentials that may, or by hand")
