"""The checks of `tallyman doctor`: each reports what it found, and what to do where something is wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tallyman.adapters.errors.translate import translated
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.history.fold import Row
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.errors import TallymanError
from tallyman.state import active, sweeps
from tallyman_cli.doctor.content_checks import APPLICATIONS, BASES, Contents
from tallyman_cli.doctor.eks import TITLE as CLUSTERS
from tallyman_cli.doctor.eks import Clusters
from tallyman_cli.doctor.finding import BAD, OK, UNKNOWN, WARN, Finding, Site
from tallyman_cli.doctor.quotas import Quotas
from tallyman_cli.doctor.replication import TITLE as REPLICATION
from tallyman_cli.doctor.replication import Replications
from tallyman_cli.doctor.repositories import Repositories
from tallyman_cli.doctor.rollouts import TITLE as ROLLOUTS
from tallyman_cli.doctor.rollouts import Rollouts
from tallyman_cli.doctor.round_trip import Trip, ways
from tallyman_cli.shared import rows
from tallyman_cli.shared.stack_names import LETTERS, RULES, is_of, messages

LOOKED_AT = 50
"""Repositories, and rows of the history of each, that are searched for the last push."""


@dataclass(frozen=True, slots=True)
class Doctor:
    """All checks of one stack; those of the stack itself are here."""

    site: Site

    def findings(self) -> Iterator[Finding]:
        """The findings of every check. A check that can't be made is unknown; the others go on."""
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
            (CLUSTERS, Clusters(self.site).findings),
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
        """Queues of dead letters and undelivered events are empty, in spokes too (the stack's own role reads those)."""
        found = list(messages(self.site.hub("sqs"), self.site.name, LETTERS))
        full, count = [f"{name} ({waiting})" for name, waiting in found if waiting], len(found)
        for way in ways(self.site):
            if way["registry"] == str(self.site.stack.hub) or way["error"] is not None:
                continue  # read above; or the round trip reports it
            count += 1
            if way["undelivered"]:
                full.append(f"{self.site.name}-spoke-undelivered in {way['registry']} ({way['undelivered']})")
        if full:
            todo = "see why: tallyman letters list; mend the cause; tallyman letters replay"
            yield Finding("queues", BAD, f"not empty: {', '.join(full)}", todo)
        else:
            yield Finding("queues", OK, f"{count} queues of dead letters are empty")

    def registries(self) -> Iterator[Finding]:
        """The functions can read every registry: they can assume their roles there. Runs `reconcile`."""
        self.site.say("reconcile looks at every registry: a large one takes minutes")
        answer = self.site.stack.reconcile({})
        for each in answer["registries"]:
            if error := each.get("error"):
                todo = f"deploy spoke.yaml in {each['registry']}, with HubAccount={self.site.stack.hub.account}"
                yield Finding("registries", BAD, f"{each['registry']}: {error}", todo)
            else:
                yield Finding("registries", OK, f"{each['registry']}: read by the stack's own role")

    def events(self) -> Iterator[Finding]:
        """Events arrive from every registry: an event reported the last push, and no sweep had to find it.

        The round trip proves the way of a test event; only a real push proves that ECR's own events take it.
        """
        for registry in self.site.stack.policy.registries():
            via = self._last_push_via(registry)
            if via is None:
                todo = "push an image there, then run the doctor again"
                yield Finding("events", UNKNOWN, f"{registry}: no push is known yet", todo)
            elif via is Via.RECONCILED:
                todo = f"check the rules in {registry} (spoke.yaml), and its queue of undelivered events"
                yield Finding("events", BAD, f"{registry}: the last push was found by a sweep, no event came", todo)
            else:
                yield Finding("events", OK, f"{registry}: an event reported the last push")

    def _last_push_via(self, registry: EcrRegistry) -> Via | None:
        """How the last push to the registry became known: in its active repositories, else in the first of those that
        were swept. None: no push is known."""
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
        """The newest push of a tag: not every registry reports pushes of referrers and children."""
        history = rows.of_repository(self.site.stack.ledger, place, limit=LOOKED_AT)
        return next((row for row in history if row.kind == Kind.PUSHED and row.tag), None)

    def trail(self) -> Iterator[Finding]:
        """A trail of CloudTrail is on: it keeps calls longer than LookupEvents (90 days), and delivers them sooner."""
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
            todo = "create a trail: without one it is known late who did what, and only for 90 days"
            yield Finding("trail", WARN, "there is no trail", todo)


def _each(*checks: tuple[str, Callable[[], Iterator[Finding]]]) -> Iterator[Finding]:
    for title, check in checks:
        try:
            yield from check()
        except TallymanError as error:
            yield Finding(
                title, UNKNOWN, str(error), "run the doctor with credentials that may read it, or look at it yourself"
            )
