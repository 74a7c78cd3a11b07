"""The gate `approvals`: enough different people with the right roles have approved, without the person who pushed.

A denial closes the gate: earlier approvals no longer count, and the gate fails until as many people as the policy
requires approve after the denial.
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
from tallyman.domain.text import counted
from tallyman.domain.times import format_time
from tallyman.values import value


@value
class ApprovalsGate(GateConfig):
    """Requires `number` different people with one of `roles` (`role/NAME`) to approve."""

    number: int
    roles: tuple[str, ...]

    @property
    def words(self) -> Mapping[str, Any]:
        return {"count": self.number, "from": list(self.roles)}

    def __str__(self) -> str:
        return f"approvals ({self.number} of {', '.join(self.roles)})"


@value
class Tally:
    """The approvals and denials of a candidate. `people`: the text for each approval that counts, by person; `denied`:
    the last denial, or ""; `barred`: whose approvals do not count, as the end of a reason, or ""; `facts`: all of
    them."""

    people: Mapping[str, str]
    denied: str
    barred: str
    facts: tuple[Fact, ...]


def approvers(policy: Policy, promotion: Promotion) -> tuple[str, ...]:
    """The roles whose approvals count: the gate's, or, where the promotion has no such gate (for an image that can't be
    scanned), those of `people.approve`."""
    config = promotion.gates.get("approvals")
    return config.roles if isinstance(config, ApprovalsGate) else policy.people.approve or ()


def count(case: Case, roles: tuple[str, ...]) -> Tally:
    """Count the approvals and denials by people with these roles."""
    said = [
        fact
        for fact in case.image.of(Kind.APPROVED, Kind.DENIED)
        if case.said_here(fact) and Said.parse(fact).principal in roles
    ]
    said.sort(key=_order)
    denials = [fact for fact in said if fact.kind is Kind.DENIED]
    valid = [f for f in said if f.kind is Kind.APPROVED and (not denials or _order(f) > _order(denials[-1]))]
    # pushes to any environment count: an image in staging was pushed to dev by a person
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
    """Waiting until enough people approve; failed from a denial until enough people approve after it."""
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
    needed = f"{counted(config.number, 'approval')} of {', '.join(config.roles)}"
    reason = f"needs {needed}{so_far}{tally.barred}"
    return GateResult("approvals", WAITING, reason, facts, held=True)


GATE: Gate = Gate(
    Record(
        {
            "count": Key(Integer(minimum=1), "How many different people must approve.", required=True),
            "from": Key(ListOf(role_name(), least=1), "The roles that may approve.", required=True),
        },
        ApprovalsGate,
        expected='approvals, as in {count: 1, from: ["role/release-managers"]}',
        renamed={"count": "number", "from": "roles"},
    ),
    "How many different people with which roles must approve; an approval by the person who pushed does not count.",
    judge,
)
