"""Notices that are being sent or were just sent, so that two runs at one moment do not both send the same one."""

from datetime import datetime, timedelta

from tallyman.domain.names import Digest
from tallyman.state.base import StateValue
from tallyman.state.items import ItemKind, Key
from tallyman.values import value

KEPT = timedelta(days=1)
"""How long the item stays, so that its revision continues."""


@value
class Sending(StateValue):
    """When a run began to send the notice (`sent` False), or had sent it."""

    at: datetime
    sent: bool


def key(notice: Digest) -> Key:
    """The key of a notice, by the digest of its content."""
    return f"N#{notice}", "sending"


SENDING = ItemKind(Sending, "N#<digest>", "sending", "a notice with this content is being sent, or was just sent")
