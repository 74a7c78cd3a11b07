"""The checks of `tallyman doctor`: each reports what it found, and what to do where something is wrong."""

from collections.abc import Callable, Collection, Iterator

from tallyman.adapters.aws.paging import items
from tallyman.adapters.errors.translate import translated
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.history.fold import Row
from tallyman.domain.names import EcrRegistry, Repository
from tallyman.errors import TallymanError
from tallyman.state import active, sweeps
from tallyman_cli.doctor import content_checks, quotas, replication, repositories, rollouts, round_trip, usage
from tallyman_cli.doctor.finding import BAD, OK, UNKNOWN, WARN, Finding, Site
from tallyman_cli.shared import rows
from tallyman_cli.shared.context import Stack
from tallyman_cli.shared.stack_names import LETTERS, RULES, is_of, messages

LOOKED_AT = 50
"""Repositories, and rows of the history of each, that are searched for the last push."""


_CREATE_AGAIN = (
    "if the stack is older than this command: make deploy; if they were deleted: aws cloudformation create-change-set "
    "--deployment-mode REVERT_DRIFT --use-previous-template …, then execute it"
)

Check = tuple[str, Callable[[Site], Iterator[Finding]]]
"""Its name, and the function that makes it."""

_SETTINGS: tuple[Check, ...] = (
    (quotas.TITLE, quotas.rates_and_counts),
    (quotas.TITLE, quotas.concurrency),
    (rollouts.TITLE, rollouts.rollouts),
    (replication.TITLE, replication.replications),
)


def findings(site: Site) -> Iterator[Finding]:
    """The findings of every check. A check that can't be made is unknown; the others go on."""
    contents = content_checks.Contents(site)
    return _made(
        site,
        ("rules", rules),
        ("queues", queues),
        (round_trip.TITLE, round_trip.round_trip),
        ("registries", registries),
        ("events", events),
        (repositories.TITLE, repositories.repositories),
        (content_checks.APPLICATIONS, lambda _: contents.applications()),
        (content_checks.BASES, lambda _: contents.base_images()),
        ("trail", trail),
        *_SETTINGS,
        (usage.USAGE, usage.usage),
        (usage.CLUSTERS, usage.clusters),
    )


def read_only(site: Site) -> Iterator[Finding]:
    """The checks that send no test event and ask no function for anything."""
    checks = ("rules", rules), ("events", events), (repositories.TITLE, repositories.repositories), *_SETTINGS
    return _made(site, *checks)


def _made(site: Site, *checks: Check) -> Iterator[Finding]:
    for title, check in checks:
        try:
            yield from check(site)
        except TallymanError as error:
            todo = "run the doctor with credentials that may read it, or look at it yourself"
            yield Finding(title, UNKNOWN, str(error), todo)


def rules(site: Site) -> Iterator[Finding]:
    """All of the stack's rules exist and are enabled, on the default bus and on its own."""
    events, found, off = site.hub("events"), set[str](), dict[str, str]()
    for bus in ("default", site.name):
        request, what = {"EventBusName": bus, "NamePrefix": f"{site.name}-"}, f"list the rules of the bus {bus}"
        listed = items(events.list_rules, request, "Rules", what, ("NextToken", "NextToken"))
        ours = [rule for rule in listed if is_of(site.name, rule["Name"], RULES)]
        found |= {rule["Name"] for rule in ours}
        off |= {rule["Name"]: bus for rule in ours if rule["State"] != "ENABLED"}
    missing = _missing(site, RULES, found)
    if off:
        todo = "; ".join(f"aws events enable-rule --event-bus-name {bus} --name {name}" for name, bus in off.items())
        yield Finding("rules", BAD, f"disabled: {', '.join(off)}", todo)
    if not found:
        yield Finding("rules", BAD, "there are none", "deploy the stack again: make deploy")
    elif missing:
        yield Finding("rules", BAD, f"missing: {', '.join(missing)}", _CREATE_AGAIN)
    elif not off:
        yield Finding("rules", OK, f"{len(found)} rules are enabled")


def _missing(site: Site, expected: Collection[str], found: Collection[str]) -> list[str]:
    """The names of the stack that are expected and not found."""
    return sorted({f"{site.name}-{name}" for name in expected} - set(found))


def queues(site: Site) -> Iterator[Finding]:
    """Queues of dead letters and undelivered events exist and are empty, in spokes too (the stack's own role reads
    those)."""
    found = list(messages(site.hub("sqs"), site.name, LETTERS))
    full, count = [f"{name} ({waiting})" for name, waiting in found if waiting], len(found)
    missing = _missing(site, LETTERS, [name for name, _ in found])
    for way in round_trip.ways(site):
        if way["registry"] == str(site.stack.hub) or way["error"] is not None:
            continue  # read above; or the round trip reports it
        count += 1
        if way["undelivered"]:
            full.append(f"{site.name}-spoke-undelivered in {way['registry']} ({way['undelivered']})")
    if full:
        todo = "see the reasons: tallyman letters list; fix the cause; then: tallyman letters replay"
        yield Finding("queues", BAD, f"not empty: {', '.join(full)}", todo)
    if missing:
        yield Finding("queues", BAD, f"missing: {', '.join(missing)}", _CREATE_AGAIN)
    elif not full:
        yield Finding("queues", OK, f"{count} dead-letter queues are empty")


def registries(site: Site) -> Iterator[Finding]:
    """The functions can read every registry: they can assume their roles there. Runs `reconcile`."""
    site.say("reconcile looks at every registry: a large one takes minutes")
    answer = site.stack.reconcile({})
    for each in answer["registries"]:
        if error := each.get("error"):
            todo = (
                f"if the role is missing there, deploy spoke.yaml in {each['registry']}, "
                f"with HubAccount={site.stack.hub.account}; if the registry did not answer, run the doctor again"
            )
            yield Finding("registries", BAD, f"{each['registry']}: {error}", todo)
        else:
            yield Finding("registries", OK, f"{each['registry']}: read by the stack's own role")


def events(site: Site) -> Iterator[Finding]:
    """Events arrive from every registry: an event reported the last push, and no sweep had to find it.

    The round trip proves the way of a test event; only a real push proves that ECR's own events take it.
    """
    for registry in site.stack.policy.registries():
        via = _last_push_via(site.stack, registry)
        if via is None:
            todo = "push an image there, then run the doctor again"
            yield Finding("events", UNKNOWN, f"{registry}: no push is known yet", todo)
        elif via is Via.RECONCILED:
            todo = f"check the rules in {registry} (spoke.yaml), and its queue of undelivered events"
            yield Finding("events", BAD, f"{registry}: a sweep found the last push, no event reported it", todo)
        else:
            yield Finding("events", OK, f"{registry}: an event reported the last push")


def _last_push_via(stack: Stack, registry: EcrRegistry) -> Via | None:
    """How the last push to the registry became known: in its active repositories, else in the first of those that
    were swept. None: no push is known."""
    newest: Row | None = None
    for known, most in ((active.repositories, None), (sweeps.repositories, LOOKED_AT)):
        places = [place for place in known(stack.state) if place.registry == registry]
        for place in places[:most]:
            row = _last_push(stack, place)
            if row is not None and (newest is None or row.at > newest.at):
                newest = row
        if newest is not None:
            return newest.via
    return None


def _last_push(stack: Stack, place: Repository) -> Row | None:
    """The newest push of a tag: not every registry reports pushes of referrers and children."""
    history = rows.of_repository(stack.ledger, place, limit=LOOKED_AT)
    return next((row for row in history if row.kind == Kind.PUSHED and row.tag), None)


def trail(site: Site) -> Iterator[Finding]:
    """A trail of CloudTrail is on: it keeps calls longer than LookupEvents (90 days), and delivers them sooner."""
    cloudtrail = site.hub("cloudtrail")
    with translated("describe the trails"):
        trails = cloudtrail.describe_trails()["trailList"]
    logging = []
    for each in trails:
        with translated(f"ask whether the trail {each['Name']} is on"):
            if cloudtrail.get_trail_status(Name=each["TrailARN"])["IsLogging"]:
                logging.append(each["Name"])
    if logging:
        yield Finding("trail", OK, f"CloudTrail writes to {', '.join(sorted(logging))}")
    elif trails:
        names = ", ".join(sorted(each["Name"] for each in trails))
        yield Finding("trail", WARN, f"every trail is off: {names}", "aws cloudtrail start-logging --name …")
    else:
        todo = "create a trail: without one, CloudTrail keeps calls for only 90 days and reports them later"
        yield Finding("trail", WARN, "there is no CloudTrail trail", todo)
