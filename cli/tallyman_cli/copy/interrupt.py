"""Ends a copy within two seconds of Ctrl-C, even if a registry does not answer."""

import os
import select
import signal
import threading
from contextlib import suppress

GRACE = 1.5
"""Seconds for threads to end at their next piece. A thread that waits for a registry, a connection or a name can't be
woken: the process ends without it, and leaves what a crash would leave."""

STATUS = 130
WORDS = "tallyman: interrupted; what was copied is kept; run it again to continue"

said = threading.Event()
"""Set by whoever caught the KeyboardInterrupt and printed the words."""


def end_soon() -> None:
    """Start a thread that ends the process at the second SIGINT, or GRACE seconds after the first. Meanwhile Python's
    own handler raises KeyboardInterrupt, if the main thread is not blocked in a system call."""
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
