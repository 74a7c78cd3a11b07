"""The entry point of `tallyman`: to `copy` by the short way, to everything else through typer.

A copy of a small image takes less time than the imports of all other commands, and than a third of its own.
"""

import gc
import os
import sys


def main() -> None:
    """Runs the command of the arguments and exits with its status."""
    if sys.argv[1:2] == ["copy"]:
        _copy(sys.argv[2:])
    from tallyman_cli.main import main as every

    every()


def _copy(arguments: list[str]) -> None:
    """Does not return. The interpreter is not taken down piece by piece, which takes as long as many a request: all
    threads are done, what they wrote is flushed."""
    gc.disable()  # while modules are loaded there is no garbage
    from tallyman_cli.copy.copy import run

    gc.freeze()
    gc.enable()
    status = run(arguments)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:  # nobody reads it any more
            status = status or 1
    os._exit(status)


if __name__ == "__main__":
    main()
