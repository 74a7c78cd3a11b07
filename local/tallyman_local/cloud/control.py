"""The control API of a running local cloud, `/_tallyman/…` on its AWS endpoint: JSON in, JSON out.

The `tallyman local` commands and tests use it. Status 200: done; 409: refused, with the reason; 422: invalid input.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs

from tallyman.domain.names import Digest, EcrRegistry, Repository
from tallyman.errors import BadName
from tallyman_local.cloud.environments import Place
from tallyman_local.cloud.images import NoSuchImage, locate, platform_images
from tallyman_local.ecr import LocalEcr
from tallyman_local.ecr.errors import EcrError
from tallyman_local.ecr.failures import Failure, Failures
from tallyman_local.ecr.rules.scanner import SEVERITIES
from tallyman_local.events.bus import Bus
from tallyman_local.events.chaos import Settings
from tallyman_local.moto import rollouts
from tallyman_local.runtime.lambdas import FunctionRunner
from tallyman_local.server.answers import Answer, json_answer
from tallyman_local.server.http import Environ, read_body
from tallyman_local.stack.deploy import Stack

Json = dict[str, Any]


class Controlled(Protocol):
    """The part of a cloud that the control API uses."""

    url: str
    policy: Path
    stack: str
    data_dir: Path
    places: list[Place]
    stacks: list[Stack]
    failures: Failures
    bus: Bus
    ecr: LocalEcr

    @property
    def functions(self) -> dict[str, FunctionRunner]:
        """The deployed functions' runners by logical id."""

    def endpoint_of(self, registry: EcrRegistry) -> str:
        """`http://localhost:PORT` of a registry."""

    def left(self) -> Json:
        """The events, messages and invocations that are not done."""

    def settle(self, timeout: float, *, until_due: bool) -> Json:
        """Wait until nothing is left. Return what is left at the timeout."""

    def kill(self, function: str) -> int:
        """Kill the function's workers. Return how many."""


class Control:
    """Answers control requests for one cloud."""

    def __init__(self, cloud: Controlled) -> None:
        self._cloud = cloud
        self._gets: dict[str, Callable[[Json], Any]] = {
            "status": self._status,
            "counts": lambda _: dict(cloud.bus.counts),
            "left": lambda _: cloud.left(),
            "logs": self._logs,
        }
        self._posts: dict[str, Callable[[Json], Any]] = {
            "settle": self._settle,
            "scan": self._scan,
            "chaos": self._chaos,
            "fail": self._fail,
            "kill": self._kill,
            "damage": self._damage,
            "deployments": self._deployments,
            "emit": self._emit,
        }

    def answer(self, path: str, environ: Environ) -> Answer:
        """The answer to one request below `/_tallyman/`."""
        if environ["REQUEST_METHOD"] == "GET":
            call = self._gets.get(path)
            request = {key: values[0] for key, values in parse_qs(environ["QUERY_STRING"]).items()}
        else:
            # A web page of another origin can send this type only after a preflight request, which fails here.
            if "json" not in environ.get("CONTENT_TYPE", ""):
                return json_answer({"error": "expected Content-Type: application/json"}, 415)
            call = self._posts.get(path)
            try:
                request = json.loads(read_body(environ) or b"{}")
            except ValueError as error:
                return json_answer({"error": f"not JSON: {error}"}, 422)
        if call is None:
            return json_answer({"error": f"no {environ['REQUEST_METHOD']} /_tallyman/{path}"}, 404)
        try:
            return json_answer(call(request))
        except EcrError as error:
            return json_answer({"error": error.message, "code": error.code}, 409)
        except NoSuchImage as error:
            return json_answer({"error": str(error)}, 409)
        except (BadName, ValueError, TypeError, KeyError) as error:
            text = f"missing or unknown: {error}" if isinstance(error, KeyError) else str(error)
            return json_answer({"error": text}, 422)

    def _status(self, _: Json) -> Json:
        cloud = self._cloud
        return {
            "pid": os.getpid(),
            "url": cloud.url,
            "policy": str(cloud.policy),
            "stack": cloud.stack,
            "data_dir": str(cloud.data_dir),
            "registries": [
                {
                    "environment": place.environment,
                    "number": place.number,
                    "registry": str(place.registry),
                    "address": cloud.endpoint_of(place.registry).removeprefix("http://"),
                    "variable": place.variable,
                }
                for place in cloud.places
            ],
            "functions": {
                runner.function.name: {"pids": runner.pids(), "log": str(runner.logs)}
                for runner in cloud.functions.values()
            },
            "stacks": [
                {"name": stack.name, "registry": str(stack.registry), "skipped": stack.skipped}
                for stack in cloud.stacks
            ],
            "chaos": dataclasses.asdict(cloud.bus.chaos) if cloud.bus.chaos else None,
            "failing": cloud.failures.now(),
            "counts": dict(cloud.bus.counts),
            "left": cloud.left(),
        }

    def _settle(self, request: Json) -> Json:
        left = self._cloud.settle(float(request.get("timeout", 60)), until_due=request.get("until_due") is True)
        return {"settled": not left, "left": left}

    def _scan(self, request: Json) -> Json:
        registry, repository, digest = locate(request["image"], self._cloud.places, self._cloud.ecr.api)
        findings = [dict(finding) for finding in request.get("findings", [])]
        for severity, count in (request.get("counts") or {}).items():
            if severity.upper() not in SEVERITIES:
                raise ValueError(f"{severity}: expected one of {', '.join(SEVERITIES).lower()}")
            findings += [
                {"name": f"LOCAL-{severity.upper()}-{n}", "severity": severity.upper()}
                for n in range(1, int(count) + 1)
            ]
        status = request.get("status", "COMPLETE")
        try:
            self._cloud.ecr.scanner.complete(registry, repository, digest, findings, status)
        except EcrError as error:
            listed = platform_images(self._cloud.ecr.store, Repository(registry, repository), digest)
            if error.code != "UnsupportedImageTypeException" or not listed:
                raise
            raise EcrError(error.code, f"{error.message} Scan its platform images: {', '.join(listed)}") from error
        return {"registry": str(registry), "repository": repository, "digest": digest, "findings": len(findings)}

    def _chaos(self, request: Json) -> Json:
        off = request.pop("off", False)
        self._cloud.bus.set_chaos(None if off else Settings.of(request))
        chaos = self._cloud.bus.chaos
        return {"chaos": dataclasses.asdict(chaos) if chaos else None, "counts": dict(self._cloud.bus.counts)}

    def _fail(self, request: Json) -> Json:
        name, off = request.pop("name", None), request.pop("off", False)
        failures = self._cloud.failures
        registry = failures.named(name) if name else None
        if off:
            return {"ended": [str(r) for r in failures.end(registry)], "failing": failures.now()}
        if registry is None:
            raise ValueError("no registry is named: expected a name such as prod_2")
        failures.set(registry, Failure.of(request))
        return {"ended": [], "failing": failures.now()}

    def _kill(self, request: Json) -> Json:
        return {"killed": self._cloud.kill(request["function"])}

    def _damage(self, request: Json) -> Json:
        registry, digest = EcrRegistry.parse(request["registry"]), Digest.parse(request["digest"])
        self._cloud.ecr.damage(registry, request["repository"], digest)
        return {"damaged": digest}

    def _deployments(self, request: Json) -> Json:
        """Let the deployments of a service fail with `reason`, or succeed again where it is null. `service`: an ECS
        `cluster/service` or a Lambda function, also with `region:` before it."""
        service, reason = str(request["service"]), request.get("reason")
        rollouts.FAILING.pop(service, None)
        if reason:
            rollouts.FAILING[service] = str(reason)
        return {"failing": dict(rollouts.FAILING)}

    def _emit(self, request: Json) -> Json:
        event = request["event"]
        self._cloud.bus.emit(event, event["account"], event["region"])
        return {"id": event["id"]}

    def _logs(self, request: Json) -> Json:
        lines = int(request.get("lines", 100))
        wanted = request.get("function")
        return {
            runner.function.name: runner.last_lines(lines)
            for runner in self._cloud.functions.values()
            if wanted in (None, runner.function.name, runner.function.logical_id)
        }
