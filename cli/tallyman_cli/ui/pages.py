"""The pages: what each shows, its JSON twin, and whether it is updated when something is recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tallyman.domain.gates.scan import asks_for_approvals
from tallyman.domain.names import Digest
from tallyman.domain.times import format_time, parse_moment, parse_time
from tallyman.errors import BadInput, TallymanError
from tallyman_cli.shared import addresses, naming
from tallyman_cli.shared.addresses import Named
from tallyman_cli.shared.context import Stack
from tallyman_cli.ui import charts
from tallyman_cli.ui.desk import Desk
from tallyman_cli.ui.links import Links
from tallyman_cli.views import board as board_view
from tallyman_cli.views import diff as diff_view
from tallyman_cli.views import find as find_view
from tallyman_cli.views import image as image_view
from tallyman_cli.views import places
from tallyman_cli.views import repository as repository_view
from tallyman_cli.views import retention as retention_view
from tallyman_cli.views import timeline as timeline_view
from tallyman_cli.views import why as why_view

Arguments = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """`data`: the JSON twin; `context`: what only the template needs; `live`: the page is rendered again when something
    was recorded."""

    template: str
    title: str
    data: Any
    context: Mapping[str, Any] = field(default_factory=dict)
    live: bool = False


def board(desk: Desk, to: Links, given: Arguments) -> Page:
    """Environments as columns, repositories as rows."""
    data = board_view.board(
        desk.stack, given.get("q"), number(given, "page", 1), attention=given.get("show") == "attention"
    )
    targets = {p.target for rule in desk.stack.policy.repositories for p in rule.promotions}
    return Page("board.html", "Board", data, {"targets": targets}, live=True)


def repository(desk: Desk, to: Links, given: Arguments, environment: str, name: str) -> Page:
    """Images and the tags over time; as of a moment with `at` (or `t`, in seconds since 1970)."""
    at, before = moment(given), repository_view.Cursor.parse(given["before"]) if given.get("before") else None
    data = repository_view.repository(desk.stack, _place(desk, environment, name), at, before)
    timeline = data["timeline"]
    chart = (
        charts.tag_timeline(timeline, lambda digest: to.image(environment, name, digest)) if timeline["lanes"] else None
    )
    context = {
        "chart": chart,
        "moves": timeline_view.moves(timeline)[:60],
        "slider": _slider(parse_time(timeline["from"]), desk.now(), at),
        "targets": {p.target for p in desk.stack.policy.repository(data["repository"]).promotions},
        "address": environment,
    }
    return Page("repository.html", f"{environment}/{name}", data, context, live=at is None and before is None)


def image(desk: Desk, to: Links, given: Arguments, environment: str, name: str, digest: str) -> Page:
    """Everything about one image."""
    named = _place(desk, environment, name)
    found = Digest.parse(digest)
    data = image_view.image(
        desk.stack, replace(named, text=f"{named.text}@{found}", tag=None, digest=found), found, desk.prices
    )
    ways = desk.stack.policy.promotions_from(environment.partition("[")[0], named.canonical or name)
    compare = [
        {"environment": e, "digest": release.digest, "tags": list(release.tags)}
        for e, release in places.releases(desk.stack, named.canonical or name).items()
        if release.digest != digest
    ]
    context = {"ways": list(dict.fromkeys(p.target for p in ways)), "compare": compare, "address": environment}
    if not to.live:
        context["uses"] = _uses(desk, named, found)
    return Page("image.html", f"{name}@{digest[:19]}", data, context, live=True)


def image_uses(desk: Desk, to: Links, given: Arguments, environment: str, name: str, digest: str) -> Page:
    """What runs the image: a part of its page that is loaded afterwards, because it reads every source of usage."""
    found = _uses(desk, _place(desk, environment, name), Digest.parse(digest))
    return Page("uses.html", "What runs it", found, {"uses": found})


def by_tag(desk: Desk, environment: str, name: str, tag: str) -> Digest:
    """The digest that a tag points to now."""
    return naming.digest_of(desk.stack, addresses.image(desk.stack.policy, f"{environment}/{name}:{tag}"))


def why(  # noqa: PLR0913 - the parts of the page's address, by name
    desk: Desk, to: Links, given: Arguments, environment: str, name: str, digest: str, target: str, policy: str = ""
) -> Page:
    """The gates of a promotion: now, at a moment, or by another policy (`policy`: its text)."""
    other, wrong = _pasted(desk, policy)
    stack = other or desk.stack
    at = moment(given)
    text = f"{environment}/{name}@{Digest.parse(digest)}"
    data = why_view.why(stack, text, target, at)
    data["judged_by"] = "pasted" if other else "in_force"
    tag = data["tags"][0] if data["tags"] else None
    line = f"{environment}/{name}:{tag}" if tag else text
    context = {
        "address": environment,
        "line": line,
        "pasted": policy,
        "wrong": wrong,
        "commands": _commands(data, line, target),
        "approvable": any(
            asks_for_approvals(each)
            for each in stack.policy.promotions_from(data["from"], data["repository"])
            if each.target == target
        ),
        "policy_now": desk.stack.policy.raw.decode("utf-8", "replace"),
        "now_text": format_time(desk.now()),
        "sentence": data["sentence"].replace(text, line),
        "gates": sorted(data["gates"], key=lambda gate: ("failed", "waiting", "passed").index(gate["verdict"])),
        "slider": _slider(_first(desk, data["digest"]), desk.now(), at),
    }
    return Page("why.html", f"Why {name} → {target}", data, context, live=at is None and not policy)


def find(desk: Desk, to: Links, given: Arguments) -> Page:
    """The images that a CVE, package, commit, digest, tag or person concerns."""
    query = given.get("q", "").strip()
    data = find_view.find(desk.stack, query, desk.readings()) if query else {"query": "", "images": [], "unread": []}
    return Page("find.html", f"Find {query}" if query else "Find", data)


def compare(desk: Desk, to: Links, given: Arguments) -> Page:
    """Two images compared; without both of them a form."""
    first, second = given.get("a", "").strip(), given.get("b", "").strip()
    data: dict[str, Any] = {}
    if first and second:
        data = diff_view.diff(desk.stack, *(diff_view.Side.named(desk.stack, text) for text in (first, second)))
    return Page("compare.html", "Compare", data, {"a": first, "b": second})


def retention(desk: Desk, to: Links, given: Arguments) -> Page:
    """Every repository with its rules and its last run."""
    return Page("retention.html", "Retention", {"repositories": retention_view.overview(desk.stack)})


def retention_plan(desk: Desk, to: Links, given: Arguments, environment: str, name: str, policy: str = "") -> Page:
    """The plan of one repository, with that of another policy (`policy`: its text), and a replay of the past since a
    day."""
    named = _place(desk, environment, name)
    other, wrong = _pasted(desk, policy)
    data = retention_view.plan(desk.stack, named.place, desk.prices, other.given if other else None)
    context: dict[str, Any] = {
        "address": environment,
        "name": name,
        "pasted": policy,
        "wrong": wrong,
        "policy_now": desk.stack.policy.raw.decode("utf-8", "replace"),
        "since": given.get("since", ""),
        "suggested": f"{desk.now() - timedelta(days=90):%Y-%m-%d}",
        "chart": None,
    }
    if given.get("since"):
        since = parse_time(given["since"])
        data["replay"] = retention_view.replay(other or desk.stack, named.place, since, desk.now())
        context["chart"] = charts.replay(data["replay"]["points"], data["replay"]["removed"])
    return Page("plan.html", f"Retention of {environment}/{name}", data, context)


def _pasted(desk: Desk, text: str) -> tuple[Stack | None, str | None]:
    """The stack with the policy that a form gave as text, and what is wrong with the text; both None without one."""
    try:
        return why_view.with_policy(desk.stack, text) if text else None, None
    except TallymanError as error:
        return None, str(error)


def moment(given: Arguments) -> datetime | None:
    """The moment that a page is asked for, as RFC 3339 text or as seconds since 1970; None: now."""
    if text := given.get("at", "").strip():
        return parse_moment(text)
    if text := given.get("t", "").strip():
        try:
            return parse_moment(datetime.fromtimestamp(int(text), UTC).isoformat())
        except (ValueError, OverflowError, OSError):
            raise BadInput(f"t={text}: expected seconds since 1970") from None
    return None


def number(given: Arguments, name: str, otherwise: int) -> int:
    """An argument of the address as a number. Raises BadInput."""
    text = given.get(name, "")
    if not text:
        return otherwise
    if not text.isdecimal() or len(text) > 9:
        raise BadInput(f"{name}={text}: expected a number")
    return int(text)


def _place(desk: Desk, environment: str, name: str) -> Named:
    return addresses.anywhere(desk.stack.policy, f"{environment}/{name}")


def _uses(desk: Desk, named: Named, digest: Digest) -> dict[str, Any]:
    digests, tags = image_view.related(desk.stack, named.place, digest)
    return image_view.uses(desk.readings(), named.place, digests, tags)


def _slider(first: datetime, now: datetime, at: datetime | None) -> dict[str, int]:
    """The range of a slider over time, in seconds since 1970."""
    end = int(now.timestamp()) + 1
    return {
        "min": int(first.timestamp()) - 1,
        "max": end,
        "value": int(at.timestamp()) if at else end,
    }


def _first(desk: Desk, digest: str) -> datetime:
    """When the first fact of the image was recorded."""
    return min((fact.seen for fact in desk.stack.ledger.of_digest(Digest(digest))), default=desk.now())


def _commands(data: Mapping[str, Any], line: str, target: str) -> list[str]:
    """The commands that a person may want to run, by the gates that wait."""
    found = [f"tallyman why {line} --to {target}"]
    shut = {gate["name"]: gate for gate in data["gates"] if gate["verdict"] != "passed"}
    if "approvals" in shut:
        found.append(f"tallyman approve {line} --to {target} --because '…'")
    for freeze in shut["freeze"]["facts"].get("freezes", ()) if "freeze" in shut else ():
        found.append(
            f"tallyman thaw {target}/{freeze['repository']}" if freeze["repository"] else f"tallyman thaw {target}"
        )
    if data["verdict"] in ("waiting", "passed", "failed"):
        found.append(f"tallyman promote {line} --to {target}")
    if data["released_instead"]:
        found.append(f"tallyman release roll-back {target}/{data['repository']} --to {data['tags'][0]} --because '…'")
    return found
