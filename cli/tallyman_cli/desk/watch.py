"""`tallyman watch`: prints facts as they are recorded."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain
from typing import Annotated, Any

from tallyman.domain.history.details.decisions import Decided
from tallyman.domain.history.details.gist import Gist
from tallyman.domain.history.details.scans import Scanned
from tallyman.domain.history.details.upkeep import Missed
from tallyman.domain.history.details.verifications import Verified
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.people import person_of
from tallyman.domain.times import format_time
from tallyman.errors import BadInput, NotFound, TallymanError
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import argument, option
from tallyman_cli.views.places import canonical, chosen, sweeps

LATE = timedelta(seconds=30)
"""The longest time until a fact becomes visible: clocks of functions differ, and the index lags."""
PAUSE = 1.0
"""Seconds between two Queries."""
EARLIEST = timedelta(days=366)
"""How long ago the first fact may have been recorded: each day takes a Query."""

QUIET = frozenset({Kind.CHILD_OF, Kind.REFERRED, Kind.INTENDED, Kind.TARGET_SEEN, Kind.SIGNING})
"""Kinds that record relations between images, or what a function is about to do: shown with --all."""


@options.by_policy
def watch(
    match: Annotated[
        str | None,
        argument(
            "REPOSITORY",
            "Only repositories whose [ENVIRONMENT/]NAME contains this text or matches a pattern (team/*).",
            default="all",
        ),
    ] = None,
    since: Annotated[
        str | None, option("--since TIME", "Start with the facts recorded since then.", default="now")
    ] = None,
    for_: Annotated[
        float | None,
        option("--for SECONDS", "Stop after this many seconds.", default="never", callback=options.seconds),
    ] = None,
    every: Annotated[bool, option("--all", "Show every kind of fact, and pushes of platform images.")] = False,
) -> None:
    """Follow what happens: pushes, verdicts, scans, decisions, promotions, releases, people's commands, removals.

    Prints one line for each fact as it is recorded, until Ctrl-C; with --json, one JSON object a line. Makes one Query
    a second.

    Exit status: 0 ended; 1 there is no such repository.
    """
    opened = context.connect()
    now = opened.clock()
    begin = options.beginning(since, now) if since is not None else now
    if begin < now - EARLIEST:
        raise BadInput(
            f"--since {since}: at most {EARLIEST.days} days ago; `tallyman history` and `tallyman audit ledger "
            "--export` show what is older"
        )
    must_match(opened, match)
    with suppress(KeyboardInterrupt):
        for fact in follow(opened, begin, for_):
            row = as_data(opened, fact)
            if (not every and is_quiet(fact)) or not is_chosen(row["environment"], row["repository"], match):
                continue
            if output.is_json():
                output.json_line(row)
            else:
                output.line(sentence(row, is_one_of_several(opened, row["environment"])))


def follow(opened: context.Stack, since: datetime, seconds: float | None) -> Iterator[Fact]:
    """Facts in the order in which they were written, each once. A Query a second; ends after `seconds` (None:
    never)."""
    ends = None if seconds is None else opened.monotonic() + seconds
    known: dict[tuple[str, str], datetime] = {}
    mark = since
    while True:
        for fact in opened.ledger.written_since(mark):
            key = fact.partition, fact.id
            if key not in known and fact.seen >= since:
                known[key] = fact.seen
                yield fact
        mark = max(since, opened.clock() - LATE)
        known = {key: seen for key, seen in known.items() if seen >= mark}
        if ends is not None and opened.monotonic() >= ends:
            return
        opened.sleep(PAUSE)


def must_match(opened: context.Stack, match: str | None) -> None:
    """Raise NotFound if no repository matches: nothing would ever be shown. Read the state, then each registry; one
    that can't be read may hold such a repository."""
    if not (match or "").strip():
        return
    registries = {
        registry for environment in opened.policy.environments.values() for registry in environment.registries
    }
    listed = (found.repository for each in sorted(registries) for found in opened.registries.repositories(each))
    try:
        if any(is_chosen(*canonical(opened.policy, place), match) for place in chain(sweeps(opened), listed)):
            return
    except TallymanError:
        return
    raise NotFound(f"no repository of {', '.join(opened.policy.environments)} has '{match}' in its name")


def is_chosen(environment: str | None, name: str | None, match: str | None) -> bool:
    """Whether `match` matches the repository, by its name or by `environment/name`."""
    return bool(chosen([name or "", f"{environment}/{name}"], match))


def is_quiet(fact: Fact) -> bool:
    """Whether it is shown only with --all."""
    return fact.kind in QUIET or (fact.kind in PUSHES and not fact.tag)


def as_data(opened: context.Stack, fact: Fact) -> dict[str, Any]:
    """`{at, seen, kind, environment, registry, repository, tag, digest, who, via, what}`."""
    environment, name = canonical(opened.policy, fact.repository) if fact.repository else (None, None)
    gist = Gist.parse(fact)
    return {
        "at": format_time(fact.at),
        "seen": format_time(fact.seen),
        "kind": str(fact.kind),
        "environment": environment or gist.target or gist.environment or fact.environment,
        "registry": str(fact.repository.registry) if fact.repository else None,
        "repository": name or gist.name or gist.repository,
        "tag": fact.tag or next(iter(gist.tags or ()), None),
        "digest": fact.digest,
        "who": person_of(fact.actor or "") or None,
        "via": str(fact.via),
        "what": _what(fact),
    }


def is_one_of_several(opened: context.Stack, environment: str | None) -> bool:
    """Whether the environment has several registries, so that its name alone does not say which one is meant."""
    found = opened.policy.environments.get(environment or "")
    return found is not None and len(found.registries) > 1


def sentence(row: dict[str, Any], names_registry: bool = False) -> str:
    """A fact as a line."""
    image = row["repository"] or ""
    if row["tag"]:
        image += f":{row['tag']}"
    elif row["digest"]:
        image += f"@{output.digest(row['digest'])}"
    where = f"{row['environment']}/" if row["environment"] else ""
    place = f" in {row['registry']}" if names_registry and row["registry"] else ""
    by = f" by {row['who']}" if row["who"] else ""
    what = f": {row['what']}" if row["what"] else ""
    return f"{output.when(row['at'])}  {row['kind'].replace('_', ' '):<12}  {where}{image}{place}{by}{what}"


def _what(fact: Fact) -> str:
    """What else a fact says, in a few words."""
    if fact.kind is Kind.VERIFIED:
        return Verified.parse(fact).verdict
    if fact.kind is Kind.DECIDED:
        decided = Decided.parse(fact)
        gate = decided.deciding
        return decided.verdict + (f" ({gate['name']}: {gate['reason']})" if gate else "")
    if fact.kind is Kind.SCANNED:
        scan = Scanned.parse(fact)
        found = ", ".join(f"{number} {severity}" for severity, number in scan.counts.items())
        return found or scan.outcome.replace("_", " ")
    if fact.kind is Kind.MISSED:
        return output.counted(Missed.parse(fact).count, "event")
    gist = Gist.parse(fact)
    return gist.refused or gist.because or gist.reason or gist.outcome or ""
