"""Invokes the Lambda functions that a policy's checks name, and records their answers about an image."""

from collections.abc import Mapping
from typing import Any

from tallyman.domain.decide import PROMOTED, Decision
from tallyman.domain.gates import WAITING
from tallyman.domain.history.details.base import new_fact
from tallyman.domain.history.details.commands import Said
from tallyman.domain.history.facts import Kind, Via
from tallyman.domain.names import Digest
from tallyman.domain.policy import Policy
from tallyman.domain.times import whole_millis
from tallyman.errors import TallymanError
from tallyman.ports.checks import CheckFunctions
from tallyman.ports.clocks import Clock
from tallyman.ports.records import Ledger
from tallyman.services.deciding.evaluator import Evaluator
from tallyman.values import value

RESULTS = ("passed", "failed", "waiting")
LONGEST = 500
"""The most characters that are kept of the reason in an answer."""


@value
class AskChecks:
    """Asks the functions of checks. docs/gates.md has the forms; a missing or invalid answer counts as `waiting`."""

    policy: Policy
    ledger: Ledger
    functions: CheckFunctions
    evaluator: Evaluator
    clock: Clock

    def ask(self, digest: Digest) -> int:
        """Invoke the function of each check that the image waits for; return the number of invocations.

        Cost: an evaluation of the image, and an invocation and at most a write for each check. An answer `waiting` with
        the same reason as the last writes nothing. Evaluate the image again after new answers.
        """
        asked, news = 0, False
        for decision in self.evaluator.image(digest):
            gate = next((g for g in decision.gates if g.name == "check"), None)
            if gate is None or not decision.is_candidate or decision.verdict == PROMOTED:
                continue
            for waiting in gate.facts["checks"]:
                if waiting["verdict"] == WAITING and "lambda" in waiting:
                    asked += 1
                    news = self._ask(decision, waiting["name"], waiting["lambda"]) or news
        if news:
            self.evaluator.digest(digest)
        return asked

    def _ask(self, decision: Decision, name: str, function: str) -> bool:
        try:
            answer = self.functions.ask(function, _question(decision, name))
        except TallymanError as error:
            answer = {"result": WAITING, "because": f"its function could not be invoked: {error}"}
        return self._record(decision, name, function, *_understood(answer))

    def _record(self, decision: Decision, name: str, function: str, result: str, because: str) -> bool:
        answers = [
            fact
            for fact in self.ledger.of_digest(decision.digest)
            if fact.kind is Kind.CHECKED
            and (said := Said.parse(fact)).principal == function
            and (said.environment, said.name, said.check) == (decision.source, decision.repository, name)
        ]
        last = max(answers, key=lambda f: (f.at, f.id), default=None)
        if last is not None and result == WAITING:
            before = Said.parse(last)
            if (before.result, before.because) == (result, because):
                return False
        said = Said(
            command="check",
            principal=function,
            because=because,
            name=decision.repository,
            environment=decision.source,
            check=name,
            result=result,
        )
        now = whole_millis(self.clock())
        key = (function, decision.source, decision.repository, name, now)
        fact = new_fact(Kind.CHECKED, key, said, now, via=Via.EVENT, digest=decision.digest, actor=function)
        self.ledger.append(fact)
        return True


def _question(decision: Decision, name: str) -> dict[str, Any]:
    return {
        "version": 1,
        "check": name,
        "repository": decision.repository,
        "digest": decision.digest,
        "tags": list(decision.tags),
        "from": decision.source,
        "to": decision.target,
        "policy": decision.policy,
        "gates": [{"name": g.name, "verdict": g.verdict, "reason": g.reason} for g in decision.gates],
    }


def _understood(answer: object) -> tuple[str, str]:
    """The result and the reason in an answer; `waiting` where it has another form."""
    given = answer if isinstance(answer, Mapping) else {}
    result, because = given.get("result"), given.get("because")
    if result not in RESULTS or not isinstance(because, str) or not because.strip():
        return WAITING, "its answer is not {result: passed, failed or waiting, because: TEXT}"
    return str(result), because.strip()[:LONGEST]
