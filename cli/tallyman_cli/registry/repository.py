"""`tallyman repository`: creates repositories as the policy says."""

import json
from typing import Annotated, Any

import typer

from tallyman.domain.names import parse_repository_name
from tallyman_cli.registry.creation import CREATED, DIFFERS, FAILED, create_in, in_words, planned
from tallyman_cli.shared import context, options, output
from tallyman_cli.shared.options import argument, option

app = typer.Typer(help="Create repositories with the policy's settings.", no_args_is_help=True)


@app.command("create")
@options.by_policy
def create(
    name: Annotated[str, argument("NAME", "The repository's name, such as rocketseat/widget-server.")],
    environment: Annotated[str, option("--in ENVIRONMENT", "The environment to create it in.")],
) -> None:
    """Create a repository in every registry of an environment, with the policy's settings.

    ECR creates none on the first push. An existing repository is not changed: if its settings differ, each difference
    is listed. Uses your own credentials (in other accounts, the stack's role for people who change things).

    Exit status: 0 it exists as the policy says; 1 it differs or could not be created.
    """
    parse_repository_name(name)  # before any call to AWS
    opened = context.connect()
    for place, document in planned(opened, name, environment):
        output.say(f"the repository policy of {place}:")
        output.say(json.dumps(document, indent=2))
    found = create_in(opened, name, environment)
    if output.is_json():
        output.data(found)
    else:
        for each in found:
            _show(each)
    if any(each["state"] in (DIFFERS, FAILED) for each in found):
        raise typer.Exit(1)


def _show(each: dict[str, Any]) -> None:
    where = f"{each['repository']} in {each['registry']}"
    if each["state"] == FAILED:
        output.line(f"{where}: {each['error']}")
    elif each["state"] == DIFFERS:
        output.line(f"{where}: exists, but differs from the policy")
        for d in each["differences"]:
            output.line(f"  {d['setting']}: wanted {in_words(d['wanted'])}, found {in_words(d['found'])}")
        if each["problem"]:
            output.line(f"  {each['problem']}")
    elif each["state"] == CREATED:
        output.line(f"{where}: created ({each['uri']})")
    else:
        output.line(f"{where}: exists as the policy says ({each['uri']})")
