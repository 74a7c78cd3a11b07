"""The gate `check`: results of the team's own checks, which other systems post or Lambda functions return.

A result belongs to a digest, the environment that the image is in, and the name of a check. The newest one counts, by
the time at which SQS received it or the function was invoked. The present policy decides: a result of a role that is no
longer in `from`, or of another function, does not count.
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
from tallyman.domain.policy.shapes import Duration, Key, ListOf, OneOf, OneOrMore, Record, String, role_name
from tallyman.domain.times import format_time
from tallyman.values import value

_EXPECTED = "a check, as in {name: e2e, from: [role/ci], max_age: 7d} or {lambda: 'arn:aws:lambda:…'}"
CHECK_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


@value
class Check:
    """One check. Its result is posted by a principal in `roles` (`role/NAME`, or `event/ACCOUNT/SOURCE` for a sender of
    events), or returned by the Lambda function with the ARN `function`. `max_age`: how old it may be; None: any age."""

    name: str
    roles: tuple[str, ...] = ()
    max_age: timedelta | None = None
    function: str | None = None

    @property
    def words(self) -> Mapping[str, Any]:
        """The check as a policy writes it."""
        age = {} if self.max_age is None else {"max_age": format_duration(self.max_age)}
        by = {"from": list(self.roles)} if self.function is None else {"lambda": self.function}
        return {"name": self.name, **by, **age}

    @property
    def by(self) -> str:
        """The sources whose result counts, for people."""
        return f"the function {_short(self.function)}" if self.function else ", ".join(self.roles)

    def __str__(self) -> str:
        age = "" if self.max_age is None else f", not older than {format_duration(self.max_age)}"
        return f"{self.name} from {self.by}{age}"


@value
class CheckGate(GateConfig):
    """Requires each of `checks` to have passed; their names are different."""

    checks: tuple[Check, ...]

    @property
    def words(self) -> Mapping[str, Any]:
        return {"checks": [check.words for check in self.checks]}

    def __str__(self) -> str:
        return f"check ({'; '.join(map(str, self.checks))})"


def posters(promotions: Iterable[Promotion], name: str) -> tuple[str, ...]:
    """The principals that may post results of the check with this name for these promotions; empty: none."""
    gates = [promotion.gates.get("check") for promotion in promotions]
    checks = [check for gate in gates if isinstance(gate, CheckGate) for check in gate.checks if check.name == name]
    return tuple(dict.fromkeys(role for check in checks for role in check.roles))


def functions_of(promotions: Iterable[Promotion]) -> dict[str, str]:
    """The ARN of the function of each check with a function in these promotions, by the check's name."""
    gates = [promotion.gates.get("check") for promotion in promotions]
    checks = [check for gate in gates if isinstance(gate, CheckGate) for check in gate.checks]
    return {check.name: check.function for check in checks if check.function}


def judge(config: CheckGate, case: Case) -> GateResult:
    """Failed where a check failed, else waiting where a result is missing or too old, else passed."""
    results = [_judge_one(check, case) for check in config.checks]
    for verdict in (FAILED, WAITING):
        bad = [result for result in results if result.verdict == verdict]
        if bad:
            break
    else:
        verdict, bad = PASSED, results
    facts = {"checks": [{**result.facts, "verdict": result.verdict} for result in results]}
    return GateResult("check", verdict, "; ".join(r.reason for r in bad), facts, held=verdict == WAITING)


def _judge_one(check: Check, case: Case) -> GateResult:
    evidence: dict[str, Any] = {**check.words, "result": None, "by": None, "at": None, "because": None}
    posted = [fact for fact in case.image.of(Kind.CHECKED) if _counts(fact, check, case)]
    if not posted:
        return GateResult(check.name, WAITING, f"no result of {check.name} yet from {check.by}", evidence)
    newest = max(posted, key=_order)
    said, at = Said.parse(newest), format_time(newest.at)
    by = who(newest) if check.function is None else check.by
    result = said.result
    evidence |= {"result": result, "by": by, "at": at, "because": said.because}
    if check.max_age is not None and case.now - newest.at > check.max_age:
        reason = f"{check.name} {result} at {at}, which is older than {format_duration(check.max_age)}"
        return GateResult(check.name, WAITING, reason, evidence)
    if result == "waiting":
        return GateResult(check.name, WAITING, f"{check.name} waits, says {by}: {said.because}", evidence)
    verdict = PASSED if result == "passed" else FAILED
    return GateResult(check.name, verdict, f"{check.name} {result}, by {by}: {said.because}", evidence)


def _counts(fact: Fact, check: Check, case: Case) -> bool:
    said = Said.parse(fact)
    return (
        (said.environment, said.name) == (case.source.name, case.repository)
        and said.check == check.name
        and said.principal in (check.roles if check.function is None else (check.function,))
        and not said.refused
    )


def _order(fact: Fact) -> tuple[datetime, bool, str]:
    return fact.at, Said.parse(fact).result != "passed", fact.id  # of two at one time, the one that did not pass wins


def _short(arn: str | None) -> str:
    """The name of a function with its version or alias: the end of its ARN."""
    return (arn or "").partition(":function:")[2]


def _asked(function: str, name: str | None = None, max_age: timedelta | None = None) -> Check:
    return Check(name or _short(function).partition(":")[0], (), max_age, function)


def _checks(checks: tuple[Check, ...]) -> CheckGate:
    names = [check.name for check in checks]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise ValueError(f"the check {twice[0]} is listed twice: list all its roles in one `from`")
    return CheckGate(checks)


_NAME = String(CHECK_NAME, "a name such as e2e")
_POSTER = String(
    rf"{role_name().pattern}|event/[0-9]{{12}}/(?!aws\.|tallyman)[A-Za-z0-9._/-]{{1,256}}",
    "a role such as role/ci, or event/ACCOUNT/SOURCE such as event/111111111111/acme.ci",
)
_AGE = Key(Duration(), "The maximum age of the result, such as 7d (default: any age).")
_FUNCTION = String(
    r"arn:[a-z-]+:lambda:[a-z0-9-]+:[0-9]{12}:function:[A-Za-z0-9_-]{1,64}(:[A-Za-z0-9_$-]+)?",
    "the ARN of a Lambda function",
)
GATE: Gate = Gate(
    OneOrMore(
        ListOf(
            OneOf(
                {
                    "from": Record(
                        {
                            "name": Key(_NAME, "The name of the check.", required=True),
                            "from": Key(
                                ListOf(_POSTER, least=1),
                                "Who may post its result: roles, or event/ACCOUNT/SOURCE (events on the stack's bus).",
                                required=True,
                            ),
                            "max_age": _AGE,
                        },
                        Check,
                        expected=_EXPECTED,
                        renamed={"from": "roles"},
                    ),
                    "lambda": Record(
                        {
                            "name": Key(_NAME, "The name of the check; default: the function's name."),
                            "lambda": Key(_FUNCTION, "The function that returns the result.", required=True),
                            "max_age": _AGE,
                        },
                        _asked,
                        expected=_EXPECTED,
                        renamed={"lambda": "function"},
                    ),
                },
                _EXPECTED,
            ),
            least=1,
            build=_checks,
        ),
        Mapping,
    ),
    "The checks that must have passed: other systems post their results, or Lambda functions return them.",
    judge,
)
