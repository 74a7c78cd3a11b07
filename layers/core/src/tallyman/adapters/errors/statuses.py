"""The kind of error for an HTTP status, where the answer says nothing more precise."""

from tallyman.errors import NotAllowed, NotFound, Refused, TallymanError, Throttled, Unreachable, Unsupported


def kind_of_status(status: int) -> type[TallymanError]:
    """The kind of error; Refused for a status that has no kind of its own."""
    if status == 429:
        return Throttled
    if status >= 500 or status == 408:
        return Unreachable
    if status in (401, 403):
        return NotAllowed
    if status == 404:
        return NotFound
    if status == 405:
        return Unsupported
    return Refused
