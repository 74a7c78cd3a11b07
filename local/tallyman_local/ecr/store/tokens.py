"""Authorization tokens and presigned URLs of layers: signed, not stored, so that they survive a restart.

A token is base64 of `AWS:<password>`, like ECR's, and valid for every local registry for 12 hours. A layer's URL is
valid for one hour, and only for GET.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from urllib.parse import urlencode

from tallyman.domain.names import Digest, Repository
from tallyman_local.ecr.identity import Identity

TOKEN_LIFE = timedelta(hours=12)
URL_LIFE = timedelta(hours=1)


class BadToken(Exception):
    """The token was not issued here."""


class ExpiredToken(Exception):
    """The token is older than 12 hours."""


class Tokens:
    """Issues and checks tokens and URLs."""

    def __init__(self, clock: Callable[[], datetime], secret: bytes) -> None:
        self._clock, self._secret = clock, secret

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def issue(self, identity: Identity) -> tuple[str, datetime]:
        """A token and the time when it expires."""
        expires = self._clock() + TOKEN_LIFE
        claims = [identity.account, identity.arn, identity.principal_id, expires.timestamp()]
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
        return base64.b64encode(f"AWS:{body}.{self._sign(body)}".encode()).decode(), expires

    def check(self, authorization: str | None) -> Identity:
        """The identity of an `Authorization` header. Raises BadToken or ExpiredToken."""
        scheme, _, encoded = (authorization or "").partition(" ")
        if scheme.lower() != "basic":
            raise BadToken
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
        except ValueError as error:  # not base64, not ASCII or not UTF-8
            raise BadToken from error
        body, _, signature = password.rpartition(".")
        if user != "AWS" or not hmac.compare_digest(signature.encode(), self._sign(body).encode()):
            raise BadToken
        account, arn, principal_id, expires = json.loads(base64.urlsafe_b64decode(body))
        if self._clock().timestamp() >= expires:
            raise ExpiredToken
        return Identity(account, arn, principal_id)

    def layer_path(self, repository: Repository, digest: Digest) -> str:
        """Path and query of a layer's presigned URL, with S3's parameter names."""
        path = f"/_layers/{repository.registry}/{digest.hex}"
        date = self._clock().strftime("%Y%m%dT%H%M%SZ")
        query = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Date": date,
            "X-Amz-Expires": str(int(URL_LIFE.total_seconds())),
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": self._sign(f"GET {path} {date}"),
        }
        return f"{path}?{urlencode(query)}"

    def layer_refusal(self, path: str, query: Mapping[str, str]) -> tuple[int, str, str] | None:
        """S3's error (status, code, message) for an invalid URL of a layer; None: the URL is valid."""
        date = query.get("X-Amz-Date", "")
        given, right = query.get("X-Amz-Signature", ""), self._sign(f"GET {path} {date}")
        if not hmac.compare_digest(given.encode(), right.encode()):
            text = "The request signature we calculated does not match the signature you provided."
            return 403, "SignatureDoesNotMatch", text
        signed = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=self._clock().tzinfo)
        if self._clock() >= signed + URL_LIFE:
            return 403, "AccessDenied", "Request has expired"
        return None
