"""`tallyman copy` among the other commands: copy.py parses its arguments, and start.py reaches that without typer."""

from typing import Any

import typer

from tallyman_cli import context
from tallyman_cli.copy import run

PASSED_ON: dict[str, Any] = {
    "ignore_unknown_options": True,
    "allow_extra_args": True,
    "allow_interspersed_args": False,
    "help_option_names": [],
}


def copy(ctx: typer.Context) -> None:
    """Copy images by their digests: between ECR, other registries and OCI layouts, to several targets at once.

    `tallyman copy --help` tells its arguments.
    """
    status = run(ctx.args, stack=context.chosen.stack, policy=context.chosen.policy)
    if status:
        raise typer.Exit(status)
