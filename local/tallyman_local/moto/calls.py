"""Call moto's handlers in this process, without a web framework.

moto is not thread-safe (SQS rebuilds its list of messages while another thread appends; DynamoDB checks a condition and
writes in two steps), so every access to it holds `LOCK`. `CHANGED` is a condition of that lock, notified whenever a
queue may have changed. moto's state belongs to the process: there can be only one cloud at a time.
"""

import re
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import cache
from typing import Any

# isort: split
from tallyman_local.moto import imported as imported  # before moto's own names

# isort: split
import moto.backends as moto_backends
import moto.core.responses as moto_responses
from moto.backend_index import backend_url_patterns
from moto.core.base_backend import BackendDict
from moto.core.request import Request
from moto.iam.exceptions import NotFoundException
from moto.iam.models import Role, iam_backends
from moto.sqs import models as moto_sqs
from moto.sqs.models import DEFAULT_SENDER_ID, Message, Queue, sqs_backends
from moto.sts.models import sts_backends
from werkzeug.exceptions import HTTPException

from tallyman_local.ecr.identity import Identity
from tallyman_local.moto import dynamodb as moto_dynamodb  # noqa: F401 - for its effect on moto
from tallyman_local.moto import instances as moto_instances  # noqa: F401 - for its effect on moto

LOCK = threading.RLock()
CHANGED = threading.Condition(LOCK)
STOPPING = threading.Event()  # long waits end when it is set: a port closes only after its last answer
SENDER: ContextVar[str | None] = ContextVar("sender", default=None)

Handler = Callable[[Request, str, Any], tuple[int, dict[str, Any], str | bytes]]
Answer = tuple[int, dict[str, str], bytes]
PARTITION = "aws"
FILLS_QUEUES = ("sqs", "sns", "events", "s3")
"""The services whose calls can change a queue: of most calls, those of DynamoDB, nobody who waits needs to know."""

# moto lists the methods of a service's class, and splits names into words, anew for each request.
moto_responses.method_names_from_class = cache(moto_responses.method_names_from_class)
moto_responses.camelcase_to_underscores = cache(moto_responses.camelcase_to_underscores)
moto_sqs.camelcase_to_underscores = cache(moto_sqs.camelcase_to_underscores)


class NotServed(Exception):
    """moto does not have the service or the call."""


def call(service: str, region: str, account: str, environ: dict[str, Any], body: bytes) -> Answer:
    """moto's answer to a WSGI request, as if sent to `<service>.<region>.amazonaws.com`. `service`: the name in the
    signature. Raises NotServed, or any exception of moto's.
    """
    host = f"{service}.{region}.amazonaws.com"
    raw = environ.get("REQUEST_URI") or environ["PATH_INFO"]
    handler = _handler(host, raw.split("?", 1)[0])
    request = Request({
        **environ,
        "HTTP_HOST": host,
        "SERVER_NAME": host,
        "SERVER_PORT": "443",
        "wsgi.url_scheme": "https",
        "wsgi.input": _Body(body),
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": str(len(body)),
        "RAW_URI": raw,
        "HTTP_X_MOTO_ACCOUNT_ID": account,
        "HTTP_TRANSFER_ENCODING": "",
    })  # fmt: skip
    with LOCK:
        try:
            status, headers, content = handler(request, request.raw_url, request.headers)
        except HTTPException as error:
            status, headers, content = error.code or 400, dict(error.get_headers()), error.get_body()
        if service in FILLS_QUEUES:
            CHANGED.notify_all()
    if isinstance(content, str):
        content = content.encode()
    return int(status), {name: str(value) for name, value in dict(headers).items()}, bytes(content)


class _Body:
    """A body in memory as WSGI's input: like io.BytesIO, but without a copy for each of werkzeug's wrappers."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int | None = -1) -> bytes:
        end = len(self._data) if size is None or size < 0 else self._at + size
        part, self._at = self._data[self._at : end], min(end, len(self._data))
        return part


def _handler(host: str, path: str) -> Handler:
    url = f"https://{host}{path}"
    for pattern, handler in _urls(host):
        if pattern.match(url):
            return handler
    raise NotServed(f"{host}{path}")


@cache
def _urls(host: str) -> list[tuple[re.Pattern[str], Handler]]:
    """moto's handlers for a host name, as patterns of whole URLs."""
    for service, pattern in backend_url_patterns:
        if pattern.match(f"https://{host}"):
            backends = moto_backends.get_backend(service)
            if isinstance(backends, BackendDict):
                regions = backends["123456789012"]
                backend = regions["us-east-1"] if "us-east-1" in regions else regions[PARTITION]
            else:
                backend = backends["global"]
            return [(re.compile(url), handler) for url, handler in backend.urls.items()]
    return []


def reset() -> None:
    """Remove all of moto's state in this process."""
    with LOCK:
        BackendDict.reset()
        _known.clear()


_known: dict[str, Identity] = {}  # by access key: a look-up in moto reads all sessions of all accounts


def identify(access_key: str) -> Identity | None:
    """The principal of an access key that moto issued; None: it is unknown."""
    if access_key not in _known and (found := _look_up(access_key)):
        _known[access_key] = found
    return _known.get(access_key)


def _look_up(access_key: str) -> Identity | None:
    with LOCK:
        for account, partitions in list(sts_backends.items()):
            if session := partitions[PARTITION].get_assumed_role_from_access_key(access_key):
                return Identity(account, session.arn, session.user_id)
        for account, partitions in list(iam_backends.items()):
            if user := partitions[PARTITION].get_user_from_access_key_id(access_key):
                return Identity(account, user.arn, user.id)
    return None


def role(arn: str) -> Role | None:
    """The role with this ARN; None: there is none."""
    with LOCK, suppress(NotFoundException):
        found: Role = iam_backends[arn.split(":")[4]][PARTITION].get_role_by_arn(arn)
        return found
    return None


def queue(url: str, account: str, region: str) -> Queue | None:
    """The queue of a QueueUrl or name in this account and region; None: there is none."""
    found: Queue | None = sqs_backends[account][region].queues.get(url.rsplit("/", 1)[-1])
    return found


def ensure_role(arn: str) -> None:
    """Create the role where it does not exist, with a trust policy for its own account."""
    account, name = arn.split(":")[4], arn.rsplit("/", 1)[-1]
    path = arn.split(":role", 1)[1].removesuffix(name)
    trust = f'{{"Version": "2012-10-17", "Statement": [{{"Effect": "Allow", "Principal": {{"AWS": "{account}"}}, '
    with LOCK:
        if role(arn) is None:
            iam_backends[account][PARTITION].create_role(
                name, trust + '"Action": "sts:AssumeRole"}]}', path or "/", None, "local", [], "43200"
            )


def assume_role(arn: str, session: str, region: str) -> dict[str, str]:
    """The keys of a new session of the role, as `AWS_…` variables. They do not expire."""
    with LOCK:
        backend = sts_backends[arn.split(":")[4]][PARTITION]
        assumed = backend.assume_role(region, session, arn, "", 43200, "")
    return {
        "AWS_ACCESS_KEY_ID": assumed.access_key_id,
        "AWS_SECRET_ACCESS_KEY": assumed.secret_access_key,
        "AWS_SESSION_TOKEN": assumed.session_token,
    }


def _add_message(queue: Queue, message: Message) -> None:
    """moto's Queue.add_message with the real SenderId; moto's is always the same. A message that moves to a dead-letter
    queue keeps its sender."""
    sender = SENDER.get()
    if sender and message.sender_id == DEFAULT_SENDER_ID:
        message.sender_id = sender
    with LOCK:
        _moto_add_message(queue, message)
        CHANGED.notify_all()


if Queue.add_message is not _add_message:
    _moto_add_message = Queue.add_message
    Queue.add_message = _add_message
