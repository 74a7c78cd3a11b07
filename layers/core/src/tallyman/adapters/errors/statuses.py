"""What an HTTP status means where nothing more precise is known."""

from tallyman.errors import NotAllowed, NotFound, Refused, TallymanError, Throttled, Unreachable, Unsupported


def kind_of_status(status: int) -> type[TallymanError]:
    """The kind of error; a status that says nothing is a refusal."""
    if status == 429:
        return Throttled
    if status >= 500 or status == 408:
        return Unreachable
    if status in (401, 403):
        return NotAllowed
    if status == 404:
        return NotFound
    if status in (405, 501):
        return Unsupported
    return Refused
