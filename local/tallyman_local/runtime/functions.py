"""The functions of the hub's stack: their workers, their event source mappings, and Lambda's Invoke."""

import json
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from tallyman_local.runtime.lambdas import FunctionRunner, environment_of
from tallyman_local.runtime.own_functions import OwnFunctions
from tallyman_local.runtime.pollers import Pollers
from tallyman_local.server.answers import Answer, json_answer
from tallyman_local.stack.deploy import HUB, Function, Stack
from tallyman_local.stack.template import BadTemplate

log = logging.getLogger("tallyman.local")

UNFED = 2  # the most workers of a function without an event source mapping

RoleMay = Callable[[str, str, str], bool]
_RECEIVING = ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


def _may_log(function: Function, role_may: RoleMay) -> bool:
    group = f"arn:aws:logs:{HUB.region}:{HUB.account}:log-group:/aws/lambda/{function.name}:log-stream:local"
    return all(role_may(function.role, action, group) for action in ("logs:CreateLogStream", "logs:PutLogEvents"))


class Functions:
    """The functions of the hub's stack. `url` is the AWS endpoint that they see, `policy` the policy file in force.

    Lambda writes the log and receives messages with the function's role, which must have the permissions (`role_may`).
    Raises BadTemplate for a queue from which the role may not receive: on AWS the creation of the mapping fails.
    """

    def __init__(self, hub: Stack, pollers: Pollers, role_may: RoleMay, *, url: str, policy: Path, logs: Path) -> None:
        self._pollers, self._url, self._policy = pollers, url, policy
        self._own = OwnFunctions(logs.parent / "functions", url)
        self.runners: dict[str, FunctionRunner] = {}
        for function in hub.functions.values():
            fed = sum(mapping.concurrency for mapping in hub.mappings if mapping.function == function.logical_id)
            self.runners[function.logical_id] = FunctionRunner(
                function,
                limit=fed or UNFED,
                environment=lambda function=function: self._environment(function),  # type: ignore[misc]
                logs=logs / f"{function.name}.log" if _may_log(function, role_may) else Path(os.devnull),
            )
        for mapping in hub.mappings:
            role = hub.functions[mapping.function].role
            for action in _RECEIVING:
                if not role_may(role, action, mapping.queue_arn):
                    raise BadTemplate(f"{role} may not call {action} on {mapping.queue_arn}")
            pollers.add(mapping, self.runners[mapping.function])

    def start_workers(self) -> None:
        """Start a worker of each function in the background, one after the other."""

        def start() -> None:
            for runner in self.runners.values():
                runner.start_one()

        threading.Thread(target=start, name="start-workers", daemon=True).start()

    def stop(self) -> None:
        """Kill every worker; invocations under way end as failed."""
        for runner in self.runners.values():
            runner.stop()
        self._own.stop()

    def runner(self, name: str) -> FunctionRunner:
        """By name, ARN (with or without `:$LATEST`) or logical id. Raises KeyError."""
        name = name.removesuffix(":$LATEST")
        name = name.rpartition(":function:")[2] or name
        for runner in self.runners.values():
            if name in (runner.function.name, runner.function.logical_id):
                return runner
        raise KeyError(name)

    def invoke_later(self, arn: str, payload: str) -> None:
        """Invoke asynchronously, as EventBridge does."""
        try:
            runner = self.runner(arn)
        except KeyError:
            log.warning("no function %s", arn)
            return
        self._pollers.invoke_later(runner, json.loads(payload))

    def answer(self, name: str, kind: str, body: bytes, where: str) -> Answer | None:
        """Lambda's Invoke of type `kind`, called in `where` (account/region); None: there is no such function."""
        runner = self._find(name, where)
        if runner is None:
            return None
        event: Any = json.loads(body) if body else {}
        if kind == "DryRun":
            return Answer(204)
        if kind == "Event":
            self._pollers.invoke_later(runner, event)
            return Answer(202)
        outcome = self._pollers.invoke(runner, event)
        if outcome.ok:
            return json_answer(outcome.result, headers={"X-Amz-Executed-Version": "$LATEST"})
        return json_answer(outcome.error, headers={"X-Amz-Function-Error": "Unhandled"})

    def _find(self, name: str, where: str) -> FunctionRunner | None:
        try:
            runner = self.runner(name)
        except KeyError:
            return self._own.runner(name, where)
        return runner if where == str(HUB) else None

    def _environment(self, function: Function) -> dict[str, str]:
        declared = dict(function.environment)
        if "TALLYMAN_POLICY" in declared:
            declared["TALLYMAN_POLICY"] = str(self._policy)
        # The local trail has no quota; at AWS's rate a reconcile would take a minute for each registry.
        declared["TALLYMAN_TRAIL_RATE"] = "0"
        return environment_of(replace(function, environment=declared), self._url, HUB.region)
