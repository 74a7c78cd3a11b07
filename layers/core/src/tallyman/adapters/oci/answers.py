"""Translate a registry's error answers: OCI's codes, and what ECR does differently."""

import re
from dataclasses import field
from email.message import Message

from tallyman.adapters.errors.statuses import error_of, kind_of_status
from tallyman.domain.images.documents import loads_writable
from tallyman.errors import (
    BadInput,
    BadManifest,
    ContentMissing,
    DigestMismatch,
    NotAllowed,
    NotFound,
    TagTaken,
    TallymanError,
    Throttled,
    TransientError,
    Unreachable,
    Unsupported,
)
from tallyman.values import value

REGISTRY_CODES: dict[str, type[TallymanError]] = {
    "TOOMANYREQUESTS": Throttled,
    "DENIED": NotAllowed,
    "UNAUTHORIZED": NotAllowed,
    "NAME_UNKNOWN": NotFound,
    "MANIFEST_UNKNOWN": NotFound,
    "BLOB_UNKNOWN": NotFound,
    "BLOB_UPLOAD_UNKNOWN": Unreachable,  # the upload is gone: a new one may succeed
    "BLOB_UPLOAD_INVALID": Unreachable,
    "DIGEST_INVALID": DigestMismatch,
    "SIZE_INVALID": DigestMismatch,
    "MANIFEST_INVALID": BadManifest,
    "MANIFEST_UNVERIFIED": BadManifest,
    "MANIFEST_BLOB_UNKNOWN": ContentMissing,  # its blobs were there when it was staged: stage again
    "TAG_INVALID": TagTaken,
    "NAME_INVALID": BadInput,
    "UNSUPPORTED": Unsupported,
}

_PAGE = re.compile(r"\s*<(?:!doctype|html)\b(?:.*?<title[^>]*>([^<]*))?", re.IGNORECASE | re.DOTALL)


@value(slots=False)
class Answer:
    """An answer with its whole body."""

    status: int
    headers: Message
    body: bytes = field(repr=False)
    url: str = field(default="", repr=False)

    @property
    def code(self) -> str:
        """The registry's error code; empty where the body has none."""
        return self._error().get("code", "")

    @property
    def message(self) -> str:
        """The error's message, or the start of the body; of a page of HTML its title."""
        body = self.body[:2000].decode(errors="replace")
        if page := _PAGE.match(body):
            body = page[1] or ""
        return self._error().get("message") or " ".join(body.split())[:200]

    def error(self, what: str) -> TallymanError:
        """The error that this answer means; `what` names the action."""
        kind = kind_of_status(self.status)
        if not issubclass(kind, TransientError):  # whatever code a busy or broken registry gives
            kind = REGISTRY_CODES.get(self.code) or kind
        if self.code == "MANIFEST_INVALID" and "does not match the image digest" in self.message:
            kind = DigestMismatch
        if 300 <= self.status < 400:
            return Unreachable(f"{what}: the registry answers with an unexpected redirect ({self.status})")
        return error_of(kind, f"{what}: {self.message or 'refused'} ({self.code or self.status})", self.headers)

    def _error(self) -> dict[str, str]:
        try:
            first = loads_writable(self.body)["errors"][0]
            return {k: str(v) for k, v in first.items() if v is not None}
        except (ValueError, LookupError, TypeError, AttributeError):
            return {}
