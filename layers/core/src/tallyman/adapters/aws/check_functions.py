"""Invoke Lambda functions that return the result of a check."""

import json
from collections.abc import Mapping
from typing import Any

from tallyman.adapters.aws.clients import Clients
from tallyman.adapters.errors.translate import translated
from tallyman.domain.images.documents import loads_writable
from tallyman.domain.names import EcrRegistry
from tallyman.domain.permissions import permissions
from tallyman.errors import TransientError

LARGEST = 64 * 1024
"""Bytes that an answer may have."""


class LambdaChecks:
    """Invokes functions of any account with the process's own role; in another account the function's resource policy
    must allow it. An attempt ends after eight seconds; there are at most three."""

    PERMISSIONS: tuple[str, ...] = permissions("lambda:Invoke")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def ask(self, function: str, question: Mapping[str, Any]) -> Any:
        """The JSON that the function of that ARN returns. Raises TransientError where it fails or returns no JSON."""
        region = function.split(":")[3]
        client = self._clients.get("lambda", EcrRegistry(self._clients.hub.account, region))
        with translated(f"ask {function}"):
            answer = client.invoke(FunctionName=function, Payload=json.dumps(question).encode())
            raw = answer["Payload"].read(LARGEST + 1)
        if answer.get("FunctionError"):
            raise TransientError(f"{function} failed ({answer['FunctionError']}): {raw[:300].decode(errors='replace')}")
        if len(raw) > LARGEST:
            raise TransientError(f"{function} answered more than {LARGEST} bytes")
        try:
            return loads_writable(raw)
        except ValueError:
            raise TransientError(f"{function} answered no JSON") from None
