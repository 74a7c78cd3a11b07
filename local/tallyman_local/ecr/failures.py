"""Injected failures of registries: an error status, throttling, hanging or broken connections. They affect `/v2/` and
the ECR API, never the bus.

A request that fails changes nothing in the store, except where only its answer is cut off.
"""

import errno
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from tallyman.domain.names import EcrRegistry
from tallyman_local.ecr.identity import Api, Identity
from tallyman_local.server.http import Environ, StartResponse, WsgiApp

PATIENCE = 120.0
"""Seconds for which a hanging registry keeps a connection open: longer than our clients wait."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a registry fails; exactly one of: `status` (400 to 599) for every request; `throttle`; `hang`; `after_bytes`:
    connections break after so many bytes of a body, in either direction. `over` is set when the failure ends."""

    status: int | None = None
    throttle: bool = False
    hang: bool = False
    after_bytes: int | None = None
    over: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def __post_init__(self) -> None:
        chosen = [self.status is not None, self.throttle, self.hang, self.after_bytes is not None]
        if sum(chosen) != 1:
            raise ValueError("expected one of status, throttle, hang and after_bytes")
        if self.status is not None and not 400 <= self.status <= 599:
            raise ValueError(f"status {self.status}: expected 400 to 599")
        if self.after_bytes is not None and self.after_bytes < 0:
            raise ValueError(f"after_bytes {self.after_bytes}: expected 0 or more")

    @classmethod
    def of(cls, request: dict[str, Any]) -> "Failure":
        """The failure in a request to the control API. Raises ValueError, TypeError."""
        return cls(**{k: v for k, v in request.items() if v is not None and v is not False})

    @property
    def word(self) -> str:
        """The failure in words, after the registry's name."""
        if self.status is not None:
            return f"answers {self.status}"
        if self.after_bytes is not None:
            return f"breaks off after {self.after_bytes} bytes"
        return "is throttled" if self.throttle else "hangs"


class Failures:
    """The registries that fail now, and how. Thread-safe."""

    def __init__(self, variables: Mapping[str, EcrRegistry]) -> None:
        """`variables`: the registries by their `TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>`."""
        self._names = {name.removeprefix("TALLYMAN_REGISTRY_"): registry for name, registry in variables.items()}
        self._failing: dict[EcrRegistry, Failure] = {}
        self._lock = threading.Lock()

    def named(self, name: str) -> EcrRegistry:
        """The registry named `prod_2` (ENVIRONMENT_N, in any case). Raises ValueError with the known names."""
        found = self._names.get(re.sub(r"[^A-Z0-9]", "_", name.upper()))
        if found is None:
            there = ", ".join(known.lower() for known in self._names)
            raise ValueError(f"{name} is not a registry of the policy: expected one of {there}")
        return found

    def set(self, registry: EcrRegistry, failure: Failure) -> None:
        """Let the registry fail from now on. Connections that hang from an earlier failure are closed."""
        with self._lock:
            old = self._failing.get(registry)
            self._failing[registry] = failure
        if old is not None:
            old.over.set()

    def end(self, registry: EcrRegistry | None = None) -> list[EcrRegistry]:
        """End the failure of the registry (None: of all). Return those that failed. Hanging connections are
        closed."""
        with self._lock:
            ended = {r: self._failing.pop(r) for r in list(self._failing) if registry in (None, r)}
        for failure in ended.values():
            failure.over.set()
        return list(ended)

    def now(self) -> dict[str, str]:
        """The registries that fail, and how, in words."""
        with self._lock:
            return {str(registry): failure.word for registry, failure in self._failing.items()}

    def v2(self, registry: EcrRegistry, app: WsgiApp) -> WsgiApp:
        """The registry's application, with its failures."""

        def failing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            failure = self._failing.get(registry)
            if failure is None:
                return app(environ, start_response)
            if failure.after_bytes is not None:
                return _cut(app, environ, start_response, failure.after_bytes)
            self._hang(failure)
            status = 429 if failure.throttle else failure.status
            code, text = ("TOOMANYREQUESTS", "Rate exceeded") if failure.throttle else ("UNKNOWN", "injected failure")
            body = json.dumps({"errors": [{"code": code, "message": text}]}).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response(f"{status} Failed", headers)
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

        return failing

    def api(self, api: Api) -> Api:
        """The ECR API of all registries, with their failures."""

        def failing(
            operation: str, payload: bytes, caller: EcrRegistry, identity: Identity
        ) -> tuple[int, dict[str, str], bytes]:
            failure = self._failing.get(_concerned(payload, caller)) if self._failing else None
            if failure is None:
                return api(operation, payload, caller, identity)
            if failure.after_bytes is not None:
                if len(payload) > failure.after_bytes:
                    raise broken()
                answer = api(operation, payload, caller, identity)
                if len(answer[2]) > failure.after_bytes:
                    raise broken()
                return answer
            self._hang(failure)
            code, text = "ServiceUnavailable", "injected failure"
            if failure.throttle:
                code, text = "ThrottlingException", "Rate exceeded"
            elif failure.status and failure.status < 500:
                code = "ServerException"
            body = json.dumps({"__type": code, "message": text}).encode()
            return failure.status or 400, {"Content-Type": "application/x-amz-json-1.1"}, body

        return failing

    @staticmethod
    def _hang(failure: Failure) -> None:
        if failure.hang:
            failure.over.wait(PATIENCE)
            raise broken()


def broken() -> ConnectionResetError:
    """An error that makes the server close the connection without an answer."""
    return ConnectionResetError(errno.ECONNRESET, "injected failure: the connection breaks")


def _concerned(payload: bytes, caller: EcrRegistry) -> EcrRegistry:
    """The registry of a call: the account in its payload, or else the caller's; the region of the signature."""
    try:
        account = json.loads(payload or b"{}").get("registryId")
    except (ValueError, AttributeError):
        account = None
    return EcrRegistry(str(account), caller.region) if account else caller


@runtime_checkable
class Closeable(Protocol):
    """An answer that must be closed, as WSGI defines."""

    def close(self) -> object:
        """Called when the answer was sent, or its client has gone."""


class _Input:
    """The body of a request that breaks after some bytes."""

    def __init__(self, source: Any, left: int) -> None:
        self._source, self._left = source, left
        self.cut = False

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            self.cut = True
            raise broken()
        return data


def _cut(app: WsgiApp, environ: Environ, start_response: StartResponse, after: int) -> Iterable[bytes]:
    body = _Input(environ["wsgi.input"], after)
    try:
        answer = app({**environ, "wsgi.input": body}, start_response)
    finally:
        if body.cut:
            raise broken()  # instead of the application's answer or error
    return _first(answer, after)


def _first(answer: Iterable[bytes], left: int) -> Iterator[bytes]:
    with ExitStack() as ended:
        if isinstance(answer, Closeable):
            ended.callback(answer.close)
        for chunk in answer:
            if len(chunk) > left:
                yield chunk[:left]
                raise broken()
            left -= len(chunk)
            yield chunk
