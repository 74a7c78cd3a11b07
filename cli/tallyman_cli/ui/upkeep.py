"""The pages about the stack itself: Health, and the pages below it."""

from collections.abc import Mapping

from tallyman.errors import BadInput
from tallyman_cli.ui.desk import Desk
from tallyman_cli.ui.links import Links
from tallyman_cli.ui.pages import Page, number
from tallyman_cli.views import cost as cost_view
from tallyman_cli.views import health as health_view
from tallyman_cli.views import upkeep

Arguments = Mapping[str, str]
MONTHS = 6
MOST_MONTHS = 36


def health(desk: Desk, to: Links, given: Arguments) -> Page:
    """The health of the stack."""
    return Page("health.html", "Health", health_view.health(desk.stack, desk.name, desk.prices), live=True)


def letters(desk: Desk, to: Links, given: Arguments) -> Page:
    """Every dead letter with its body. It does not update itself: reading hides letters from others for a moment."""
    if desk.shared:
        return _by_hand("Dead letters", "tallyman letters list")
    return Page("letters.html", "Dead letters", upkeep.letters(desk.stack))


def audit(desk: Desk, to: Links, given: Arguments) -> Page:
    """The findings of an audit."""
    if desk.shared:
        return _by_hand("Audit", "tallyman audit")
    return Page("audit.html", "Audit", upkeep.audit(desk.stack, desk.name))


def checks(desk: Desk, to: Links, given: Arguments) -> Page:
    """The checks of the doctor that only read."""
    if desk.shared:
        return _by_hand("Checks", "tallyman doctor")
    return Page("checks.html", "Checks", upkeep.checks(desk.stack, desk.name))


def cost(desk: Desk, to: Links, given: Arguments) -> Page:
    """What storage cost at the end of each of the last months."""
    months = number(given, "months", MONTHS)
    if not 1 <= months <= MOST_MONTHS:
        raise BadInput(f"months={months}: expected 1 to {MOST_MONTHS}")
    data = cost_view.cost(desk.stack, desk.prices, given.get("match"), months)
    return Page("cost.html", "Cost", data, {"totals": _by_month(data["repositories"])})


def _by_hand(title: str, command: str) -> Page:
    """A page with the command to run, for what the page's own credentials may not read: `{command}`."""
    return Page("by_hand.html", title, {"command": command}, {"part": command.split()[1]})


def _by_month(rows: list[dict[str, list[dict[str, float]]]]) -> list[dict[str, float]]:
    """The months of all repositories together: `{at, bytes, usd_per_month}`."""
    return [
        {
            "at": some[0]["at"],
            "bytes": sum(each["bytes"] for each in some),
            "usd_per_month": sum(each["usd_per_month"] or 0 for each in some),
        }
        for some in zip(*(row["months"] for row in rows), strict=True)
    ]
