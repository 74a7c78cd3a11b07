"""`tallyman ui`: the page on localhost."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tallyman.errors import BadInput
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.chosen import chosen
from tallyman_cli.shared.options import option

if TYPE_CHECKING:
    from tallyman_cli.ui.desk import Desk

NEEDED = ("cheroot", "jinja2", "werkzeug")
"""Packages that the page needs besides the command's own."""

AllowChanges = Annotated[
    bool,
    option(
        "--allow-changes",
        "Add buttons: approve, deny, freeze, thaw, promote, roll back, recall, reconcile, doctor, and replay and "
        "discard of dead letters.",
    ),
]


Port = Annotated[int, option("--port N", "The port on 127.0.0.1.", default="a free one", min=0, max=65535)]


@options.by_policy
def ui(
    port: Port = 0,
    allow_changes: AllowChanges = False,
    export: Annotated[Path | None, option("--export DIR", "Write the pages to files instead, and exit.")] = None,
) -> None:
    """Serve the page on localhost with your own credentials: board, repositories, images, gates, retention, health.

    The page is read-only, open to this machine only, and protected by a random token in its address. Nothing is
    deployed, and nothing is loaded from other hosts. With --allow-changes the page has buttons; each asks for
    confirmation and runs the command of its name.

    Exit status: 0 stopped by Ctrl-C, or exported; 1 a page could not be exported; 2 bad input, or the port is taken.
    """
    if export is not None and allow_changes:
        raise BadInput("--export writes files, which have no buttons: leave --allow-changes out")
    if output.is_json() and export is None:
        raise BadInput("--json is for --export: each page has a JSON twin at its own address, with .json after it")
    opened = context.connect()
    file = chosen.policy_file()
    desk = desk_of(opened, chosen.stack_name(), str(file) if file else None, allow_changes)
    if export is not None:
        _export(desk, export)
        return
    with served(desk, port) as address:
        output.line(address)
        output.say("open it in a browser on this machine; Ctrl-C ends it")
        wait()


@contextmanager
def served(desk: "Desk", port: int = 0) -> Iterator[str]:
    """Serve the page while the block runs; give its address, with the token. Raises BadInput if the port is taken."""
    from tallyman_cli.ui.server import PageServer

    try:
        server = PageServer(desk, port)
    except OSError as error:
        raise BadInput(f"port {port} can't be used: {error}") from None
    server.start()
    try:
        yield server.address
    finally:
        server.stop()


def wait() -> None:
    """Wait for Ctrl-C."""
    with suppress(KeyboardInterrupt):
        while True:
            time.sleep(0.5)


def desk_of(opened: context.Stack, name: str, policy_file: str | None, allow_changes: bool = False) -> "Desk":
    """The data and rights of the pages. Raises BadInput where the packages of the page are missing."""
    for package in NEEDED:
        if find_spec(package) is None:
            raise BadInput(f"the page is not installed ({package} is missing): pip install 'tallyman-ecr[ui]'")
    from tallyman_cli.ui.actions import runner
    from tallyman_cli.ui.desk import Desk

    return Desk(opened, name, run=runner(name, policy_file) if allow_changes else None)


def _export(desk: "Desk", folder: Path) -> None:
    from tallyman_cli.ui.export import export

    done = export(desk, folder, output.say)
    if output.is_json():
        output.data(done)
    else:
        output.line(f"{output.counted(done['pages'], 'page')} in {folder}: open {folder / 'index.html'}")
    for each in done["failed"]:
        output.say(f"not exported: {each['page']}: {each['error']}")
    if done["failed"]:
        raise typer.Exit(1)
