"""The `tallyman` command."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from tallyman import __version__
from tallyman.errors import BadInput, TallymanError
from tallyman_cli.build import tag
from tallyman_cli.build.command import build
from tallyman_cli.copy.command import copy
from tallyman_cli.doctor.command import doctor
from tallyman_cli.events import command as event
from tallyman_cli.local import commands as local
from tallyman_cli.local.demo import demo
from tallyman_cli.promotion import release
from tallyman_cli.promotion.approve import approve, deny
from tallyman_cli.promotion.freeze import freeze, thaw
from tallyman_cli.promotion.pending import pending
from tallyman_cli.promotion.promote import promote
from tallyman_cli.promotion.recall import recall
from tallyman_cli.promotion.why import why
from tallyman_cli.registry import repository as repositories
from tallyman_cli.registry.history import history
from tallyman_cli.registry.reconcile import reconcile
from tallyman_cli.registry.show import show
from tallyman_cli.registry.verify import verify
from tallyman_cli.retention import commands as retention
from tallyman_cli.setup import policy
from tallyman_cli.setup.init import init
from tallyman_cli.shared import context, output

NO, BAD_INPUT = 1, 2
"""Exit statuses: no, not or failed; and bad input. 0 is done, or yes."""


class Commands(TyperGroup):
    """Turns every error into one message and an exit status; no traceback, unless TALLYMAN_DEBUG asks for it."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that was asked for."""
        output.reset()
        try:
            return super().invoke(ctx)
        except TallymanError as error:
            _tell(error, str(error))
            raise typer.Exit(BAD_INPUT if isinstance(error, BadInput) else NO) from error
        except (typer.Exit, typer.Abort, typer.TyperException, OSError, EOFError):
            raise
        except Exception as error:
            if debugging():
                raise
            _tell(error, f"a fault in tallyman: {type(error).__name__}: {error} (TALLYMAN_DEBUG=1 shows where)")
            raise typer.Exit(NO) from error


def debugging() -> bool:
    """Whether TALLYMAN_DEBUG asks for tracebacks."""
    return os.environ.get("TALLYMAN_DEBUG", "") not in ("", "0")


def _tell(error: Exception, text: str) -> None:
    if debugging():
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if output.is_json():
        output.data({"error": text})
    output.say(f"tallyman: {text}")


app = typer.Typer(
    cls=Commands,
    help="Writes down every push to Amazon ECR, checks it, promotes what the policy allows, and never forgets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit status: 0 done or yes, 1 no, not or failed, 2 bad input. Documentation: docs/commands.md.",
)
app.command(short_help="The whole story on a local cloud, each step checked.")(demo)
app.command(short_help="What happened to a tag, image or repository.")(history)
app.command(short_help="What an image is, where it is, what is known.")(show)
app.command(short_help="Have an image's bytes checked now.")(verify)
app.command(short_help="Why an image is, or is not, let in.")(why)
app.command(short_help="Ask for a promotion, and wait for it.")(promote)
app.command(short_help="What waits, for what, until when.")(pending)
app.command(short_help="Approve that an image goes.")(approve)
app.command(short_help="Deny that an image goes.")(deny)
app.command(short_help="Let nothing into an environment.")(freeze)
app.command(short_help="End a freeze.")(thaw)
app.command(short_help="Block an image everywhere, for ever.")(recall)
app.command(short_help="Compare registries and ledger now.")(reconcile)
app.command(short_help="From a commit to an image.")(build)
app.command(short_help="Write a policy, and how to deploy.")(init)
app.command(short_help="Whether the stack is well.")(doctor)
app.command(short_help="Copy images between registries.")(copy)
app.add_typer(repositories.app, name="repository")
app.add_typer(release.app, name="release")
app.add_typer(policy.app, name="policy")
app.add_typer(retention.app, name="retention")
app.add_typer(tag.app, name="tag")
app.add_typer(event.app, name="event")
app.add_typer(local.app, name="local", short_help="A whole cloud in one process.")


def _version(value: bool) -> None:
    if value:
        output.line(f"tallyman {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    stack: Annotated[
        str | None,
        typer.Option("--stack", metavar="NAME", help="The stack (or TALLYMAN_STACK).", show_default="tallyman"),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="FILE",
            help="Judge by this policy (or TALLYMAN_POLICY).",
            show_default="the one in force",
        ),
    ] = None,
) -> None:
    """Writes down every push to Amazon ECR, checks it, promotes what the policy allows, and never forgets."""
    context.chosen.stack, context.chosen.policy = stack, policy


def main() -> None:
    """The entry point: runs the command of the arguments and exits with its status."""
    app(prog_name="tallyman")


if __name__ == "__main__":
    main()
