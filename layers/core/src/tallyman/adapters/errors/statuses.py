"""The error for an HTTP status, where the answer says nothing more precise."""

from email.message import Message

from tallyman.adapters.http.headers import retry_after
from tallyman.errors import (
    NotAllowed,
    NotFound,
    Refused,
    TallymanError,
    Throttled,
    TransientError,
    Unreachable,
    Unsupported,
)


def kind_of_status(status: int) -> type[TallymanError]:
    """The kind of error; Refused for a status that has no kind of its own."""
    if status == 429:
        return Throttled
    if status in (405, 413, 501):  # 413: a layer that is too large
        return Unsupported
    if status >= 500 or status in (408, 425):
        return Unreachable
    if status in (401, 403):
        return NotAllowed
    if status == 404:
        return NotFound
    return Refused


def error_of(kind: type[TallymanError], text: str, headers: Message) -> TallymanError:
    """An error of this kind; a transient one has the pause that the answer asks for (`Retry-After`)."""
    error = kind(text)
    if isinstance(error, TransientError):
        error.after = retry_after(headers)
    return error
