"""Lets one of several runs send a notice that all of them find due at one moment.

Services send a notice first and record it afterwards, so that it is never lost; what they find due is not recorded yet.
The run that begins to send a notice notes that in an item of the state table, and the others wait for it.
"""

import json
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import field
from datetime import timedelta

from tallyman.domain.names import Digest
from tallyman.errors import RevisionConflict, TallymanError, TransientError
from tallyman.ports.clocks import Clock
from tallyman.ports.messages import Notices
from tallyman.ports.records import State
from tallyman.state import notices
from tallyman.state.items import Entry
from tallyman.state.notices import SENDING, Sending
from tallyman.values import value

LONGEST = timedelta(seconds=5)
"""How long another run may take to send a notice; then this run sends it."""
RECENT = timedelta(minutes=1)
"""How long an equal notice is not sent again."""


@value
class OneSender:
    """`Notices` over others. Notices with the same subject, text and attributes are one notice."""

    notices: Notices
    state: State
    clock: Clock
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        """Send the notice unless it was sent within RECENT; at least once, and twice where a run dies while it sends
        it. While another run sends it, waits for that, LONGEST at most. Cost besides the sending: a read, two
        writes."""
        content = json.dumps([subject, text, dict(attributes)], sort_keys=True).encode()
        mine = self._begin(Digest.of(content))
        if mine is None:
            return
        try:
            self.notices.publish(subject, text, attributes)
        except TallymanError:
            with suppress(TransientError):  # the next run need not wait
                self.state.put(mine.remove(self.clock()))
            raise
        now = self.clock()
        with suppress(TransientError):  # at worst it is sent twice
            self.state.put(mine.write(Sending(now, sent=True), now + notices.KEPT))

    def _begin(self, notice: Digest) -> Entry[Sending] | None:
        """Note that this run sends the notice; return the entry of the note. None: another run has sent it."""
        waited = 0.0
        while True:
            entry, now = SENDING.read(self.state, notices.key(notice)), self.clock()
            other = entry.found
            if other is not None and other.sent and now - other.at < RECENT:
                return None
            is_over = other is None or other.sent or now - other.at >= LONGEST
            if is_over or waited >= LONGEST.total_seconds():  # clocks differ
                mine = Sending(now, sent=False)
                with suppress(RevisionConflict):  # another run was faster
                    self.state.put(entry.write(mine, now + notices.KEPT))
                    return entry.written(mine)
            self.sleep(0.1)
            waited += 0.1
