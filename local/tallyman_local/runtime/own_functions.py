"""Run Lambda functions that were created in the local cloud by CreateFunction with a zip file.

moto keeps what was created; each function's code runs in worker processes of its own, as the stack's do.
"""

import io
import zipfile
from pathlib import Path

from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.models import LambdaFunction, lambda_backends

from tallyman_local.moto import calls as moto_calls
from tallyman_local.runtime.lambdas import FunctionRunner, environment_of
from tallyman_local.stack.deploy import Function


class OwnFunctions:
    """The runners of these functions. Code is unpacked in `folder`; `url` is the AWS endpoint that functions see."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder, self._url = folder, url
        self._runners: list[FunctionRunner] = []

    def runner(self, name: str, where: str) -> FunctionRunner | None:
        """The runner of a function by ARN, or by name in `where` (account/region); None where there is no function, or
        where it is a container image, which does not run here."""
        account, _, region = where.partition("/")
        if name.startswith("arn:"):
            account, name = name.split(":")[4], name.partition(":function:")[2]
        with moto_calls.LOCK:
            try:
                created = lambda_backends[account][region].get_function(name.partition(":")[0])
            except UnknownFunctionException:
                return None
            if created.package_type != "Zip" or not created.handler:
                return None
            function = self._function(created)
            for runner in self._runners:  # a changed function is another one: invocations under way may finish
                if runner.function == function:
                    return runner
            self._runners.append(self._new_runner(function, created))
            return self._runners[-1]

    def stop(self) -> None:
        """Kill every worker."""
        for runner in self._runners:
            runner.stop()

    def _function(self, created: LambdaFunction) -> Function:
        return Function(
            logical_id=created.function_name,
            name=created.function_name,
            arn=created.function_arn,
            handler=created.handler,
            environment={str(key): str(value) for key, value in created.environment_vars.items()},
            timeout=int(created.timeout),
            memory=int(created.memory_size),
            role=created.role,
            folders=(self._folder / created.code_sha_256.replace("/", "_").rstrip("="),),
        )

    def _new_runner(self, function: Function, created: LambdaFunction) -> FunctionRunner:
        (folder,) = function.folders
        with zipfile.ZipFile(io.BytesIO(created.code_bytes)) as archive:
            archive.extractall(folder)
        moto_calls.ensure_role(function.role)
        environment = environment_of(function, self._url, created.region)
        return FunctionRunner(function, limit=2, environment=lambda: environment, logs=folder.with_suffix(".log"))
