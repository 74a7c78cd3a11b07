"""The entry point of `tallyman`: to `copy` by the short way, to everything else through typer.

A copy of a small image takes less time than the imports of all other commands.
"""

import sys


def main() -> None:
    """Runs the command of the arguments and exits with its status."""
    if sys.argv[1:2] == ["copy"]:
        from tallyman_cli.copy import run

        status = run(sys.argv[2:])
        sys.stdout.flush()
        raise SystemExit(status)
    from tallyman_cli.main import main as every

    every()


if __name__ == "__main__":
    main()
