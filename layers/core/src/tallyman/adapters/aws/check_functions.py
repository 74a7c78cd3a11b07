"""Asks Lambda functions for the result of a check."""

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
"""Bytes of an answer that are read."""


class LambdaChecks:
    """Invokes functions of any account with the process's own role: in another account the function's own policy has to
    let it. A function has eight seconds, and is asked up to three times."""

    PERMISSIONS: tuple[str, ...] = permissions("lambda:Invoke")

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def ask(self, function: str, question: Mapping[str, Any]) -> Any:
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
