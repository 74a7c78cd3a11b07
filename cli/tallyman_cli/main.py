"""The `tallyman` command."""

import os
import sys
from collections.abc import Sequence
from itertools import takewhile
from typing import Annotated, Any

import typer

from tallyman import __version__
from tallyman.domain.text import LINES, visible
from tallyman.errors import BadInput, TallymanError
from tallyman_cli.shared import completing, output
from tallyman_cli.shared.chosen import choose_region, chosen, read_files
from tallyman_cli.shared.lazy import Entry, LazyGroup
from tallyman_cli.shared.options import PolicyFile, Stack, option

NO, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Exit statuses: no or failed; bad input; ended by Ctrl-C. 0 is done, or yes."""

COMMANDS = {
    "demo": Entry("local.demo:demo", "Run the whole flow on a local cloud.", alone=True),
    "history": Entry("registry.history:history", "Show what happened to a tag, image or repository."),
    "show": Entry("registry.show:show", "Show what an image is, where it is, what is known."),
    "verify": Entry("registry.verify:verify", "Verify the bytes of an image now."),
    "why": Entry("promotion.why:why", "Explain why an image is, or is not, promoted."),
    "promote": Entry("promotion.promote:promote", "Request a promotion, and wait for it."),
    "pending": Entry("promotion.pending:pending", "List pending promotions."),
    "approve": Entry("promotion.approve:approve", "Approve an image for an environment."),
    "deny": Entry("promotion.approve:deny", "Deny an image for an environment."),
    "freeze": Entry("promotion.freeze:freeze", "Stop promotions into an environment."),
    "thaw": Entry("promotion.freeze:thaw", "End a freeze."),
    "check": Entry("promotion.check:app", "Post results of checks of your own."),
    "recall": Entry("promotion.recall:recall", "Block an image everywhere, permanently."),
    "reconcile": Entry("registry.reconcile:reconcile", "Compare the registries with the ledger now."),
    "build": Entry("build.command:build", "Build the image of a commit."),
    "init": Entry("setup.init:init", "Write a policy, and print how to deploy.", alone=True),
    "doctor": Entry("doctor.command:doctor", "Check the deployed stack."),
    "copy": Entry("copy.command:copy", "Copy images between registries.", alone=True),
    "list": Entry("desk.list_command:list_", "List environments, repositories or images."),
    "find": Entry("desk.find_command:find", "Find images by CVE, package, commit, tag, person …"),
    "tree": Entry("desk.tree:tree", "Show what an image consists of."),
    "diff": Entry("desk.diff_command:diff", "Compare two images."),
    "watch": Entry("desk.watch:watch", "Follow what happens.", alone=True),
    "cost": Entry("desk.cost_command:cost", "Show what storage costs a month."),
    "ui": Entry("ui.command:ui", "Serve the page on localhost.", alone=True),
    "completion": Entry("setup.completion:completion", "Print the completion script for your shell."),
    "repository": Entry("registry.repository:app", "Create repositories with the policy's settings."),
    "release": Entry("promotion.release:app", "Show what environments run and ran; roll back."),
    "audit": Entry("audit.command:app", "Find what differs from policy and good practice."),
    "letters": Entry("letters.command:app", "Read, replay or discard dead letters."),
    "policy": Entry("setup.policy:app", "Check a policy; fetch its trust roots."),
    "retention": Entry("retention.commands:app", "Plan and apply retention; prove and undo removals."),
    "tag": Entry("build.tag:app", "Suggest the tags of a build."),
    "event": Entry("events.command:app", "Make the event payloads of the functions."),
    "local": Entry("local.commands:app", "Run and control a whole cloud in one process.", alone=True),
}


class Commands(LazyGroup):
    """Turns every error into one message and an exit status; no traceback, unless TALLYMAN_DEBUG asks for it."""

    entries = COMMANDS

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Read the options before the command."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except typer.TyperException as error:
            _clarify(error, self.params)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command on the line."""
        output.reset()
        asked = [*ctx._protected_args, *ctx.args]  # a group empties both when it runs
        try:
            entry = COMMANDS.get(ctx._protected_args[0]) if ctx._protected_args else None
            with output.patience(entry is not None and not entry.alone):
                return super().invoke(ctx)
        except TallymanError as error:
            _show(error, str(error))
            raise typer.Exit(BAD_INPUT if isinstance(error, BadInput) else NO) from error
        except KeyboardInterrupt:
            output.trouble("tallyman: interrupted")
            raise typer.Exit(INTERRUPTED) from None
        except typer.TyperException as error:  # typer prints it on stderr; the command has not read its `--json` yet
            _clarify(error, self.params)
            if "--json" in takewhile(lambda word: word != "--", asked):
                output.data({"error": error.format_message()})
            raise
        except (typer.Exit, typer.Abort, EOFError):
            raise
        except Exception as error:
            if output.debugging() or output.is_broken(error):
                raise
            if isinstance(error, ModuleNotFoundError) and not str(error.name).startswith("tallyman"):
                _show(error, f"{error.name} is not installed: pip install 'tallyman-ecr[local]'")
                raise typer.Exit(BAD_INPUT) from error
            if isinstance(error, OSError) and error.filename is not None:  # a file or folder that the person named
                _show(error, f"{error.filename}: {error.strerror}")
                raise typer.Exit(BAD_INPUT) from error
            _show(error, f"a fault in tallyman: {type(error).__name__}: {error} (TALLYMAN_DEBUG=1 shows where)")
            raise typer.Exit(NO) from error


def _clarify(error: typer.TyperException, before: Sequence[Any]) -> None:
    """Show control characters in what the message quotes. `before`: the options that have their place before the
    command, which the message says of them."""
    message = visible(error.message, LINES).removeprefix("Value error, ")
    for name in (name for parameter in before for name in parameter.opts):
        if message == f"No such option: {name}":
            message = f"No such option here: {name} comes before the command, as in `tallyman {name} …`"
    error.message = message


def _show(error: Exception, text: str) -> None:
    if output.debugging():
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if output.is_json():
        output.data({"error": text})
    output.trouble(f"tallyman: {text}")


app = typer.Typer(
    cls=Commands,
    help="Records every push to Amazon ECR, checks it, promotes what the policy allows, and never forgets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog="Exit status: 0 done or yes; 1 no or failed; 2 bad input. Documentation: docs/commands.md.",
)


def _version(value: bool) -> None:
    if value:
        output.line(f"tallyman {__version__}")
        raise typer.Exit


@app.callback()
def options(  # noqa: PLR0913 - each argument is an option of the command
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
    stack: Stack = None,
    policy: PolicyFile = None,
    region: Annotated[
        str | None,
        option("--region REGION", "The stack's region (or AWS_REGION, AWS_DEFAULT_REGION).", default="the profile's"),
    ] = None,
    utc: Annotated[bool, option("--utc", "Show times in UTC on a terminal too.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print no notes and no progress, only results, warnings and errors.")
    ] = False,
    no_pager: Annotated[bool, option("--no-pager", "Print long tables without a pager.")] = False,
) -> None:
    """Records every push to Amazon ECR, checks it, promotes what the policy allows, and never forgets."""
    chosen.stack, chosen.policy = stack, policy
    chosen.utc, chosen.quiet, chosen.paged = utc, quiet, not no_pager
    read_files()
    choose_region(region)


def main() -> None:
    """The entry point: runs the command of the arguments and exits with its status."""
    if completing.LINE in os.environ:
        completing.answer(typer.main.get_command(app))
        return
    app(prog_name="tallyman")


if __name__ == "__main__":
    main()
