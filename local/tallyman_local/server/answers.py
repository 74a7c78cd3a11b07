"""Build answers in the protocol of a service: JSON, query XML or S3's XML."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.client import responses
from typing import Any
from xml.sax.saxutils import escape

from tallyman_local.server.http import Environ, StartResponse

# The services with the query protocol: Action=… in the request, XML in the answer.
_QUERY = {"sts", "iam", "sns", "cloudformation", "autoscaling", "ec2", "elasticloadbalancing", "rds", "monitoring"}
_REST_JSON = {"lambda", "batch", "inspector2", "eks", "scheduler", "apigateway", "xray"}


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response with its body in memory."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    def send(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Send the answer through WSGI."""
        headers = {name.title(): value for name, value in self.headers.items() if name.lower() != "date"}
        headers.setdefault("Content-Type", "application/json")
        if environ["REQUEST_METHOD"] != "HEAD" or "Content-Length" not in headers:
            headers["Content-Length"] = str(len(self.body))
        start_response(f"{self.status} {responses.get(self.status, 'Status')}", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self.body]


def json_answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """A JSON document as an answer of AWS's JSON protocols."""
    return Answer(status, json.dumps(value).encode(), {"Content-Type": "application/x-amz-json-1.1", **(headers or {})})


def error(service: str, code: str, message: str, *, status: int = 400, target: bool = False) -> Answer:
    """An error in the protocol of `service`. `target`: the request has X-Amz-Target, and so uses JSON."""
    if service in _REST_JSON or target or service not in {*_QUERY, "s3", "sqs"}:
        return json_answer({"__type": code, "message": message}, status, {"x-amzn-ErrorType": code})
    body = f"<Error><Type>Sender</Type><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error>"
    if service != "s3":
        body = f"<ErrorResponse>{body}<RequestId>local</RequestId></ErrorResponse>"
    return Answer(status, f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode(), {"Content-Type": "text/xml"})
