"""The gate `approvals`: enough different people of the right roles have approved, none of them who pushed it.

A denial closes the gate: what was approved before it no longer counts, and it stays failed until as many people as
the policy asks for approve after it.
"""

from collections.abc import Mapping
from typing import Any

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.history.fold import PUSHES
from tallyman.domain.people import person_of_arn, person_of_sender, who
from tallyman.domain.policy import Policy, Promotion
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Integer, Key, ListOf, Record, role_name
from tallyman.domain.times import format_time
from tallyman.values import value


@value
class ApprovalsGate(GateConfig):
    """`number` different people who hold one of `roles` (`role/NAME`) approve."""

    number: int
    roles: tuple[str, ...]

    @property
    def words(self) -> Mapping[str, Any]:
        return {"count": self.number, "from": list(self.roles)}

    def __str__(self) -> str:
        return f"approvals ({self.number} of {', '.join(self.roles)})"


@value
class Tally:
    """`people`: who approved, as text, by person; `denied`: the denial that no approval followed, or "";
    `barred`: whose approvals don't count, for a reason that follows."""

    people: Mapping[str, str]
    denied: str
    barred: str
    facts: tuple[Fact, ...]


def approvers(policy: Policy, promotion: Promotion) -> tuple[str, ...]:
    """The roles whose approvals count: the gate's, or where the promotion has none (an image that can't be scanned),
    those of `people.approve`."""
    config = promotion.gates.get("approvals")
    return config.roles if isinstance(config, ApprovalsGate) else policy.people.approve or ()


def count(case: Case, roles: tuple[str, ...]) -> Tally:
    """Who of these roles has approved, and still counts."""
    said = [
        fact
        for fact in case.image.of(Kind.APPROVED, Kind.DENIED)
        if case.said_here(fact) and Said.parse(fact).principal in roles
    ]
    said.sort(key=_order)
    denials = [fact for fact in said if fact.kind is Kind.DENIED]
    valid = [f for f in said if f.kind is Kind.APPROVED and (not denials or _order(f) > _order(denials[-1]))]
    # wherever it was pushed: of an image that comes from staging, who brought it to dev
    pushers = {person_of_arn(fact.actor) for fact in case.image.of(*PUSHES) if fact.actor}
    by_person = {person_of_sender(fact.actor or ""): who(fact) for fact in valid}
    barred = [text for person, text in by_person.items() if person in pushers]
    reason = f"; {', '.join(barred)} pushed it, and does not count" if barred else ""
    people = {person: text for person, text in by_person.items() if person and person not in pushers}
    denied = f"denied by {who(denials[-1])}: {Said.parse(denials[-1]).because}" if denials else ""
    return Tally(people, denied, reason, tuple(said))


def _order(fact: Fact) -> tuple[object, ...]:
    return fact.at, fact.kind is Kind.DENIED, fact.id  # of two in one instant, the denial is the later


def judge(config: ApprovalsGate, case: Case) -> GateResult:
    """Waits for people; failed from a denial until enough of them approve after it."""
    tally = count(case, config.roles)
    given, names = len(tally.people), ", ".join(tally.people.values())
    facts = {
        "count": config.number,
        "from": list(config.roles),
        "approved": list(tally.people.values()),
        "said": [
            {"kind": str(f.kind), "by": who(f), "at": format_time(f.at), "because": Said.parse(f).because}
            for f in tally.facts
        ],
    }
    if given >= config.number:
        return GateResult("approvals", PASSED, f"approved by {names}", facts)
    if tally.denied:
        again = f"; approved again by {names}, {config.number} are needed" if given else ""
        return GateResult("approvals", FAILED, tally.denied + again + tally.barred, facts)
    so_far = f", {given} given by {names}" if given else ""
    needed = f"{config.number} approval{'' if config.number == 1 else 's'} of {', '.join(config.roles)}"
    reason = f"needs {needed}{so_far}{tally.barred}"
    return GateResult("approvals", WAITING, reason, facts, held=True)


GATE: Gate = Gate(
    Record(
        {
            "count": Key(Integer(minimum=1), "How many different people must approve.", required=True),
            "from": Key(ListOf(role_name(), least=1), "The roles whose holders may approve.", required=True),
        },
        ApprovalsGate,
        expected='approvals, as in {count: 1, from: ["role/release-managers"]}',
        renamed={"count": "number", "from": "roles"},
    ),
    "How many different people of which roles must approve; never who pushed it.",
    judge,
)
