"""Lambda functions that somebody created in the local cloud (CreateFunction with a zip file): invoked, they run.

moto keeps what was created; each function's code runs in a worker process of its own, as the stack's do.
"""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tallyman_local.moto import calls as moto_calls
from tallyman_local.runtime.lambdas import FunctionRunner, Outcome, environment_of
from tallyman_local.server.answers import Answer, json_answer
from tallyman_local.stack.deploy import Function

Invoke = Callable[[FunctionRunner, Any], Outcome]


class OwnFunctions:
    """`folder`: where code is unpacked; `invoke` runs a handler and lets the cloud settle only after it."""

    def __init__(self, folder: Path, url: str, invoke: Invoke) -> None:
        self._folder, self._url, self._invoke = folder, url, invoke
        self._runners: dict[tuple[str, str], FunctionRunner] = {}

    def answer(self, name: str, body: bytes, where: str) -> Answer | None:
        """A synchronous Invoke asked in `where` (account/region); None: nobody created such a function."""
        account, _, region = where.partition("/")
        if name.startswith("arn:"):
            account, name = name.split(":")[4], name.partition(":function:")[2]
        created = moto_calls.zipped_function(account, region, name.partition(":")[0])
        if created is None:
            return None
        runner = self._runners.get((created.arn, created.code_sha_256))
        if runner is None:
            runner = self._runners[created.arn, created.code_sha_256] = self._runner(created, region)
        outcome = self._invoke(runner, json.loads(body) if body else {})
        if outcome.ok:
            return json_answer(outcome.result)
        return json_answer(outcome.error, headers={"X-Amz-Function-Error": "Unhandled"})

    def stop(self) -> None:
        """Kill every worker."""
        for runner in self._runners.values():
            runner.stop()

    def _runner(self, created: moto_calls.Created, region: str) -> FunctionRunner:
        folder = self._folder / created.code_sha_256.replace("/", "_").rstrip("=")
        with zipfile.ZipFile(io.BytesIO(created.code)) as archive:
            archive.extractall(folder)
        function = Function(
            logical_id=created.name,
            name=created.name,
            arn=created.arn,
            handler=created.handler,
            environment=created.environment,
            timeout=created.timeout,
            memory=created.memory,
            role=created.role,
            folders=(folder,),
        )
        moto_calls.ensure_role(created.role)
        environment = environment_of(function, self._url, region)
        return FunctionRunner(function, limit=2, environment=lambda: environment, logs=folder.with_suffix(".log"))
