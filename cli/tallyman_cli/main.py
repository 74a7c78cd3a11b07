"""The `tallyman` command: a list of its commands, each in a module of its own."""

import typer

from tallyman_cli import local

app = typer.Typer(
    name="tallyman",
    help="Writes down every push to Amazon ECR, checks it, promotes what the policy allows, and never forgets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(local.app)


def main() -> None:
    """The console script."""
    app(prog_name="tallyman")


if __name__ == "__main__":
    main()
