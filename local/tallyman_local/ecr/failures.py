"""Registries that fail on purpose: down, throttled, hanging or cut off. `/v2/` and the ECR API, never the bus.

A request that is failed does nothing in the store; only an answer that is cut off belongs to work that was done.
"""

import errno
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from tallyman.domain.names import EcrRegistry
from tallyman_local.ecr.identity import Identity
from tallyman_local.server.http import Environ, StartResponse, WsgiApp

PATIENCE = 120.0
"""Seconds that a hanging registry keeps a connection open: longer than our clients wait, but bounded."""

Api = Callable[[str, bytes, EcrRegistry, Identity], tuple[int, dict[str, str], bytes]]


@dataclass(frozen=True, slots=True)
class Failure:
    """One way to fail: a `status` (400 to 599) for everything, `throttle`, `hang`, or `after_bytes`: a connection
    breaks after so many bytes of a body, in either direction."""

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
            raise ValueError(f"after_bytes {self.after_bytes}: expected a number from 0 on")

    @classmethod
    def of(cls, request: dict[str, Any]) -> "Failure":
        """From the control API's words. Raises ValueError, TypeError."""
        return cls(**{k: v for k, v in request.items() if v is not None and v is not False})

    @property
    def word(self) -> str:
        """The text for people."""
        if self.status is not None:
            return f"answers {self.status}"
        if self.after_bytes is not None:
            return f"breaks off after {self.after_bytes} bytes"
        return "is throttled" if self.throttle else "hangs"


class Failures:
    """Which registries fail now, and how. Thread-safe."""

    def __init__(self, variables: Mapping[str, EcrRegistry]) -> None:
        """The registries by their `TALLYMAN_REGISTRY_<ENVIRONMENT>_<N>`."""
        self._names = {name.removeprefix("TALLYMAN_REGISTRY_"): registry for name, registry in variables.items()}
        self._failing: dict[EcrRegistry, Failure] = {}
        self._lock = threading.Lock()

    def named(self, name: str) -> EcrRegistry:
        """The registry of `prod_2` (ENVIRONMENT_N, in any case). Raises ValueError with the names that there are."""
        found = self._names.get(re.sub(r"[^A-Z0-9]", "_", name.upper()))
        if found is None:
            there = ", ".join(known.lower() for known in self._names)
            raise ValueError(f"{name} is not a registry of the policy: expected one of {there}")
        return found

    def set(self, registry: EcrRegistry, failure: Failure) -> None:
        """From now on; what hung before is let go."""
        self._replace({**self._failing, registry: failure}, registry)

    def end(self, registry: EcrRegistry | None = None) -> list[EcrRegistry]:
        """The registry (None: all) works again; which ones failed. What hangs has its connection closed."""
        with self._lock:
            ended = [r for r in self._failing if registry in (None, r)]
        for each in ended:
            self._replace({r: f for r, f in self._failing.items() if r != each}, each)
        return ended

    def now(self) -> dict[str, str]:
        """What fails, and how, for people."""
        return {str(registry): failure.word for registry, failure in self._failing.items()}

    def v2(self, registry: EcrRegistry, app: WsgiApp) -> WsgiApp:
        """The registry's application, which fails while it is to."""

        def failing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
            failure = self._failing.get(registry)
            if failure is None:
                return app(environ, start_response)
            if failure.after_bytes is not None:
                return _cut(app, environ, start_response, failure.after_bytes)
            self._hang(failure)
            status = 429 if failure.throttle else failure.status
            code, text = (
                ("TOOMANYREQUESTS", "Rate exceeded") if failure.throttle else ("UNKNOWN", "it was made to fail")
            )
            body = json.dumps({"errors": [{"code": code, "message": text}]}).encode()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
            start_response(f"{status} Failed", headers)
            return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

        return failing

    def api(self, api: Api) -> Api:
        """The ECR API of all registries, which fails for those that are to."""

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
            code, text = "ServiceUnavailable", "it was made to fail"
            if failure.throttle:
                code, text = "ThrottlingException", "Rate exceeded"
            elif failure.status and failure.status < 500:
                code = "ServerException"
            body = json.dumps({"__type": code, "message": text}).encode()
            return failure.status or 400, {"Content-Type": "application/x-amz-json-1.1"}, body

        return failing

    def _replace(self, failing: dict[EcrRegistry, Failure], registry: EcrRegistry) -> None:
        with self._lock:
            old = self._failing.get(registry)
            self._failing = failing
        if old is not None:
            old.over.set()

    @staticmethod
    def _hang(failure: Failure) -> None:
        if failure.hang:
            failure.over.wait(PATIENCE)
            raise broken()


def broken() -> ConnectionResetError:
    """Raised through the server, it closes the connection without a word."""
    return ConnectionResetError(errno.ECONNRESET, "a connection that was made to break")


def _concerned(payload: bytes, caller: EcrRegistry) -> EcrRegistry:
    """A call is for the account that it names, else for the caller's own; the region is the signature's."""
    try:
        account = json.loads(payload or b"{}").get("registryId")
    except (ValueError, AttributeError):
        account = None
    return EcrRegistry(str(account), caller.region) if account else caller


@runtime_checkable
class Closeable(Protocol):
    """An answer that wants to know when it has been sent."""

    def close(self) -> object:
        """It was sent, or its client is gone."""


class _Input:
    """A request's body that breaks off."""

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
            raise broken()  # whatever the application made of it: nobody hears its answer
    return _first(answer, after)


def _first(answer: Iterable[bytes], left: int) -> Iterator[bytes]:
    with ExitStack() as ended:
        if isinstance(answer, Closeable):  # as WSGI asks for
            ended.callback(answer.close)
        for chunk in answer:
            if len(chunk) > left:
                yield chunk[:left]
                raise broken()
            left -= len(chunk)
            yield chunk
