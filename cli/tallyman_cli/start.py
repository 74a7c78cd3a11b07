"""The entry point of `tallyman`: runs `copy` directly, and every other command through typer.

A copy of a small image takes less time than importing all other commands, or a third of what `copy` itself imports. A
stream that can't be written, and Ctrl-C at any time, end without a traceback.
"""

import _signal  # type: ignore[import-not-found]  # signal itself without its enums: nothing else comes before it

_INTERRUPTIBLE = _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler
if _INTERRUPTIBLE:  # while modules are loaded Ctrl-C ends the process at once: there is nothing to tidy up
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

import gc  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def main() -> None:
    """Run the command of the arguments and exit with its status."""
    _streams()
    if sys.argv[1:2] == ["copy"]:
        _copy(sys.argv[2:])
    from tallyman_cli.main import main as every

    _interruptible()
    try:
        try:
            every()
        finally:
            sys.stdout.flush()
    except OSError as error:
        _unwritten(error)
    except KeyboardInterrupt:
        sys.exit(130)


def _streams() -> None:
    """Replace closed streams by /dev/null; characters that an encoding lacks are replaced instead of failing."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the end
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if stream.encoding.lower() not in ("utf-8", "utf8"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]


def _interruptible() -> None:
    if _INTERRUPTIBLE:
        _signal.signal(_signal.SIGINT, _signal.default_int_handler)


def _unwritten(error: OSError) -> "NoReturn":
    """Exit with 1, because the output can't be written; say so, unless its reader closed the pipe."""
    if not isinstance(error, BrokenPipeError):
        try:
            sys.stderr.write(f"tallyman: the output can't be written: {error.strerror or error}\n")
            sys.stderr.flush()
        except OSError:
            pass  # this can't be written either
    for stream in (1, 2):  # the interpreter would fail again on what it still holds
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    sys.exit(1)


def _copy(arguments: list[str]) -> "NoReturn":
    """Copy and exit with the command's status."""
    gc.disable()  # while modules are loaded there is no garbage
    from tallyman_cli.copy.copy import run

    gc.freeze()
    gc.enable()
    _interruptible()
    if _INTERRUPTIBLE:
        from tallyman_cli.copy.interrupt import end_soon

        end_soon()
    try:
        status = run(arguments)
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError as error:
        _unwritten(error)
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
