"""Ctrl-C during a copy: it ends within two seconds, whatever does not answer."""

import os
import select
import signal
import threading
from contextlib import suppress

GRACE = 1.5
"""Seconds that threads get to end at their next piece. One that waits for a registry's answer, for an address or for a
connection can't be woken: the process ends without it. What was begun there is what a crash would leave."""

STATUS = 130
WORDS = "tallyman: interrupted; what was copied is kept; run it again to continue"

said = threading.Event()
"""Set once the words were printed by whoever caught the KeyboardInterrupt."""


def end_soon() -> None:
    """From now on the process ends at the second SIGINT, or GRACE after the first: a thread of its own waits for them.
    Python's own handler raises KeyboardInterrupt meanwhile, if the main thread is not stuck in a call of the system."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_end, args=(reader,), name="interrupt", daemon=True).start()


def _end(reader: int) -> None:
    while signal.SIGINT not in os.read(reader, 64):
        pass  # another signal
    select.select([reader], [], [], GRACE)
    if not said.is_set():
        with suppress(OSError):
            os.write(2, f"{WORDS}\n".encode())
    os._exit(STATUS)
