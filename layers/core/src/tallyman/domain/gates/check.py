"""The gate `check`: results that other systems of a team have posted for the image: an end-to-end test, a ticket.

A result is of a digest, of the environment that the image is in, and of one name; the newest by the time at which SQS
took it counts. Roles are the policy's of now: a result of a role that is taken out of `from` does not count any more.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tallyman.domain.gates.case import FAILED, PASSED, WAITING, Case, Gate, GateResult
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Fact, Kind
from tallyman.domain.people import who
from tallyman.domain.policy import Promotion, format_duration
from tallyman.domain.policy.gates import GateConfig
from tallyman.domain.policy.shapes import Duration, Key, ListOf, Record, String, role_name
from tallyman.domain.times import format_time
from tallyman.values import value

CHECK_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@value
class Check:
    """One check: a holder of one of `roles` (`role/NAME`) posts its result. `max_age`: how old it may be; None: any."""

    name: str
    roles: tuple[str, ...]
    max_age: timedelta | None = None

    @property
    def words(self) -> Mapping[str, Any]:
        """As a policy writes it."""
        age = {} if self.max_age is None else {"max_age": format_duration(self.max_age)}
        return {"name": self.name, "from": list(self.roles), **age}

    def __str__(self) -> str:
        age = "" if self.max_age is None else f", not older than {format_duration(self.max_age)}"
        return f"{self.name} from {', '.join(self.roles)}{age}"


@value
class CheckGate(GateConfig):
    """Each of `checks` has passed; their names differ."""

    checks: tuple[Check, ...]

    @property
    def words(self) -> Mapping[str, Any]:
        return {"checks": [check.words for check in self.checks]}

    def __str__(self) -> str:
        return f"check ({'; '.join(map(str, self.checks))})"


def posters(promotions: Iterable[Promotion], name: str) -> tuple[str, ...]:
    """The roles that may post a result of this name for one of these promotions; empty: none asks for such a check."""
    gates = [promotion.gates.get("check") for promotion in promotions]
    checks = [check for gate in gates if isinstance(gate, CheckGate) for check in gate.checks if check.name == name]
    return tuple(dict.fromkeys(role for check in checks for role in check.roles))


def judge(config: CheckGate, case: Case) -> GateResult:
    """Failed where one failed, else waiting where one is missing or too old."""
    results = [_judge_one(check, case) for check in config.checks]
    for verdict in (FAILED, WAITING):
        bad = [result for result in results if result.verdict == verdict]
        if bad:
            break
    else:
        verdict, bad = PASSED, results
    facts = {"checks": [result.facts for result in results]}
    return GateResult("check", verdict, "; ".join(r.reason for r in bad), facts, held=verdict == WAITING)


def _judge_one(check: Check, case: Case) -> GateResult:
    evidence: dict[str, Any] = {**check.words, "result": None, "by": None, "at": None, "because": None}
    posted = [fact for fact in case.image.of(Kind.CHECKED) if _counts(fact, check, case)]
    if not posted:
        return GateResult(check.name, WAITING, f"no result of {check.name} yet from {', '.join(check.roles)}", evidence)
    newest = max(posted, key=_order)
    said, by, at = Said.parse(newest), who(newest), format_time(newest.at)
    result = said.result
    evidence |= {"result": result, "by": by, "at": at, "because": said.because}
    if check.max_age is not None and case.now - newest.at > check.max_age:
        reason = f"{check.name} {result} at {at}, which is older than {format_duration(check.max_age)}"
        return GateResult(check.name, WAITING, reason, evidence)
    verdict = PASSED if result == "passed" else FAILED
    return GateResult(check.name, verdict, f"{check.name} {result}, by {by}: {said.because}", evidence)


def _counts(fact: Fact, check: Check, case: Case) -> bool:
    said = Said.parse(fact)
    return (
        (said.environment, said.name) == (case.source.name, case.repository)
        and said.check == check.name
        and said.principal in check.roles
        and not said.refused
    )


def _order(fact: Fact) -> tuple[datetime, bool, str]:
    return fact.at, Said.parse(fact).result != "passed", fact.id  # of two in one instant, a failure is the later


def _checks(checks: tuple[Check, ...]) -> CheckGate:
    names = [check.name for check in checks]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"the check {twice[0]} is listed twice: list all its roles in one `from`")
    return CheckGate(checks)


GATE: Gate = Gate(
    ListOf(
        Record(
            {
                "name": Key(String(CHECK_NAME, "a name such as e2e"), "The name of the check.", required=True),
                "from": Key(ListOf(role_name(), least=1), "The roles that may post its result.", required=True),
                "max_age": Key(Duration(), "How old the result may be, such as 7d; without it, any age."),
            },
            Check,
            expected="a check, as in {name: e2e, from: [role/ci], max_age: 7d}",
            renamed={"from": "roles"},
        ),
        least=1,
        build=_checks,
    ),
    "Results that other systems post: each check of the list has passed.",
    judge,
)
